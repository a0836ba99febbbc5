"""The database as one file: made, recorded, proven to restore."""
