"""When devices are reachable."""
