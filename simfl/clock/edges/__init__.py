"""Edges: aggregators with models of their own between the devices and the cloud."""
