"""Which device holds which examples, and how that changes over time."""
