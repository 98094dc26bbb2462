"""A file becomes an array: the same code in training and in service, and no torch."""
