"""A fleet in which two of eight devices answer late, for whole runs."""

from __future__ import annotations

from typing import Any

import simfl

HELD = {"cohort": 4, "epochs": 2, "selection": "cyclic"}


def scene(strategy: dict, versions: int = 10, **more: Any) -> dict:
    """Eight devices, of which two are late."""
    groups = [
        {"name": name, "compute": {"kind": "constant", "s": 1.0}, "count": count}
        for name, count in (("prompt", 6), ("late", 2))
    ]
    learning = {
        "dataset": "digits",
        "partition": {"kind": "dirichlet", "alpha": 0.5, "min_examples": 8},
        "intertwined": {"label": 8, "group": "late"},
        "model": {"kind": "mlp", "hidden": [8]},
        "batch_size": 100,
    }
    table = {"fleet": {"group": groups}, "learning": learning, "stop": {"versions": versions}}
    return {**table, "strategy": strategy, "evaluate": {"every_versions": 1}, **more}


def run(kind: str, **options: Any) -> simfl.Result:
    more = {name: options.pop(name) for name in ("server", "fleet", "learning") if name in options}
    return simfl.run(scene({"kind": kind, **HELD, **options}, **more), seed=1)
