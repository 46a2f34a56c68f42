"""WHO: the devices, their speed, links, presence and faults. Knows no clock and no learning."""
