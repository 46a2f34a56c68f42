"""What a real deployment of Flower adds to links and training: loops, processes and requests."""
