"""Other projects: their traces and device data, Flower's apps, and the speed of this machine."""
