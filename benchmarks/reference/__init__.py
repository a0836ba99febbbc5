"""What the service is compared with: the same job, done with what everybody has."""
