"""Small scenarios as tables, for the laws."""

from __future__ import annotations

from typing import Any

TIMING = {"dataset": "none", "parameters": 100, "examples": 10, "flops_per_example": 1.0}

DIGITS = {
    "dataset": "digits",
    "partition": {"kind": "dirichlet", "alpha": 0.3},
    "model": {"kind": "mlp", "hidden": [16]},
}


def group(count: int = 1, mean_s: float = 1.0, **more: Any) -> dict[str, Any]:
    """Devices with exponential training times and links that take no time."""
    return {"compute": {"kind": "exponential", "mean_s": mean_s}, "count": count, **more}


def same(count: int, s: float = 1.0, **more: Any) -> dict[str, Any]:
    """Devices that all take s seconds."""
    return {"compute": {"kind": "constant", "s": s}, "count": count, **more}


def scene(groups: list[dict], strategy: dict, *, learning: dict = TIMING, **more: Any) -> dict:
    """A whole scenario. more: further sections; `stop` is needed."""
    return {"fleet": {"group": groups}, "strategy": strategy, "learning": learning, **more}
