"""How a message leaves: one class a channel, their errors and accounts. Knows no models and no settings."""
