"""Pilots: what a few real devices took becomes a fleet of as many as one likes."""
