"""CHANGES: processes that alter devices, links and cells while a run lives."""

from __future__ import annotations

from simfl.registry import Registry

PROCESSES = Registry("process", "simfl.processes", {})
