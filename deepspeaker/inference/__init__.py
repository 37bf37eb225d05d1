"""A trained model in use: one file, a Python interface, a command."""
