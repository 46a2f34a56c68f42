"""Links, cells and rates that vary over time."""
