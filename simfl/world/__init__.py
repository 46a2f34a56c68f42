"""CHANGES: processes that alter devices, links and cells while a run lives."""

from __future__ import annotations

from simfl.registry import Registry

PROCESSES = Registry(
    "process",
    "simfl.processes",
    {
        "throttling": "simfl.world.throttling:Throttling",
        "congestion": "simfl.world.congestion:Congestion",
        "flashcrowd": "simfl.world.congestion:FlashCrowd",
        "maintenance": "simfl.world.maintenance:Maintenance",
        "churn": "simfl.world.churn:Churn",
        "mobility": "simfl.world.mobility:Mobility",
        "carbon": "simfl.world.carbon:Carbon",
    },
)
