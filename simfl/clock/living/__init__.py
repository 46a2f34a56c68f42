"""Runs with processes: the kernel's parts for a fleet and links that change meanwhile."""
