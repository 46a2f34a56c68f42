"""Small scenarios with edges, and what stands beside them without."""

from __future__ import annotations

from typing import Any

#: A message of the model takes a second at 8 Mbit/s, framing included.
PARAMETERS = 250_000 - 16

TIMED = {"dataset": "none", "parameters": PARAMETERS, "examples": 10, "flops_per_example": 1.0}
LEARNT = {"dataset": "digits", "model": {"kind": "softmax"}}


def timed(inner: dict[str, Any], *edges: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Two devices that train for 3 s behind each cell; a second of transfer either way."""
    link = {"down_mbps": 8.0, "up_mbps": 8.0}
    group = {"count": 2, "compute": {"kind": "constant", "s": 3.0}, "network": link}
    strategy = {"kind": "hierarchical", "edge": inner, **more.pop("strategy", {})}
    return {
        "fleet": {"group": [{**group, "name": name, "cell": name} for name in ("a", "b")]},
        "network": {"cell": [{"name": "a"}, {"name": "b"}]},
        "edge": list(edges),
        "learning": TIMED,
        "strategy": strategy,
        "stop": {"versions": 2},
        **more,
    }


def flaky(**more: Any) -> dict[str, Any]:
    """Devices of two kinds that drop out and go away, and a model that is learnt."""
    slow = {
        "name": "slow",
        "count": 6,
        "compute": {"kind": "exponential", "mean_s": 4.0},
        "network": {"down_mbps": 0.5, "up_mbps": 0.2, "latency_s": 0.1},
        "faults": {"drop_probability": 0.2},
        "presence": {"kind": "onoff", "mean_on_s": 60.0, "mean_off_s": 20.0},
    }
    phones = {"device": "phone-mid", "network": "lte", "count": 4}
    return {
        "seed": 3,
        "fleet": {"group": [slow, phones]},
        "learning": LEARNT,
        "evaluate": {"every_versions": 2},
        "stop": {"versions": 8},
        **more,
    }


#: Strategies that run at an edge.
INNER: dict[str, dict[str, Any]] = {
    "fedavg": {"cohort": 3},
    "overselect": {"cohort": 3, "deadline_s": 10.0},
    "scaffold": {"cohort": 3},
    "fedbuff": {"concurrency": 5, "buffer": 2},
    "fedasync": {"concurrency": 5},
    "quafl": {"cohort": 3, "every_s": 1.0},
}


def inner(kind: str) -> dict[str, Any]:
    return {"kind": kind, **INNER[kind]}
