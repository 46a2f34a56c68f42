"""Methods that choose whom to ask: by what devices teach, how quick they are, when they are there."""
