"""What a model is trained to do, and the numbers that say how well it does it."""
