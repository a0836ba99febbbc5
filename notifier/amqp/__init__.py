"""Jobs by RabbitMQ: what takes them from a queue, and what puts them there."""
