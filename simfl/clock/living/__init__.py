"""A world that changes while a run lives: what is played instead of the fixed parts."""
