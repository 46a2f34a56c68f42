"""Asynchronous methods that correct, weigh or learn from what comes late."""
