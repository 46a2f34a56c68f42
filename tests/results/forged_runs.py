"""Small honest runs, each of another kind, that forgers start from."""

from __future__ import annotations

from typing import Any

LINK = {"down_mbps": 0.5, "up_mbps": 0.2, "latency_s": 0.1}

LEARNS: dict[str, Any] = {
    "name": "ledger",
    "seed": 3,
    "fleet": {
        "group": [
            {
                "compute": {"kind": "exponential", "mean_s": 4.0},
                "network": LINK,
                "faults": {"drop_probability": 0.2},
                "count": 8,
            },
            {"device": "phone-mid", "network": "lte", "count": 2},
        ]
    },
    "learning": {"dataset": "digits", "model": {"kind": "softmax"}},
    "strategy": {"kind": "fedbuff", "concurrency": 6, "buffer": 3},
    "evaluate": {"every_versions": 2},
    "stop": {"versions": 12},
}

#: Batteries that charge, absences that lose tasks, hazards; nothing is learnt.
FAILS: dict[str, Any] = {
    "name": "failures",
    "seed": 1,
    "fleet": {
        "group": [
            {
                "compute": {"gflops": 0.001, "jitter_sigma": 0.3},
                "network": LINK,
                "presence": {"kind": "onoff", "mean_on_s": 60.0, "mean_off_s": 20.0},
                "faults": {"hazard_per_hour": 60.0},
                "power": {"train_w": 2.0, "radio_w": 1.0},
                "battery": {"capacity_j": 200.0, "start_low": 0.3, "charge_w": 0.5},
                "count": 10,
            }
        ]
    },
    "learning": {
        "dataset": "none", "parameters": 1000, "examples": 20, "flops_per_example": 1e6,
    },
    "strategy": {"kind": "fedasync", "concurrency": 6},
    "stop": {"versions": 20},
}  # fmt: skip

#: Rounds that cancel who is late, on links that all share.
SHARES: dict[str, Any] = {
    **FAILS,
    "name": "shared",
    "fleet": {
        "group": [{"compute": {"kind": "exponential", "mean_s": 4.0}, "network": LINK, "count": 10}]
    },
    "server": {"sharing": "max-min", "down_mbps": 0.8, "up_mbps": 0.3},
    "strategy": {"kind": "overselect", "cohort": 3, "over_select": 1.5},
    "stop": {"versions": 6},
}

RUNS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("learns", LEARNS, {}),
    ("fails", FAILS, {}),
    ("shares", SHARES, {}),
]
