"""The Flower that is installed: its types, and its own code brought onto the virtual grid."""
