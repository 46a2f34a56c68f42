"""Checkpoints: a run's whole state as files, and how a run goes on from them."""
