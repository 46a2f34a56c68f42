"""Transfers: phases that move bytes, and how links, cells and the server share their rates."""
