"""Tasks in flight: what chance decides about them, and how they go from phase to phase."""
