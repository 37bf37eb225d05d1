"""Stages 3 and 4: the training loop and all that one step of it needs."""
