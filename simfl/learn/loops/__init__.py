"""Training and evaluation written by the user, in the place of simfl's own."""
