"""WHEN: the home of SimPy. Plays downloads, training and uploads on a virtual clock."""
