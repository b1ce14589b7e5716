"""What `legible.load` returns: a loaded pair with reading, steering and search in one object."""
