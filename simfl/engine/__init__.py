"""One run: the scenario's parts built, joined, played, saved and checked."""
