"""Scenarios that once showed a difference, each as small as it could be made."""

from __future__ import annotations

from typing import Any

from reference.changing import Turn
from reference.worlds import PARAMETERS, Drawn


def case(
    *groups: dict[str, Any],
    exact: bool = False,
    script: tuple[int, ...] | None = None,
    cells: tuple[dict[str, Any], ...] = (),
    after_s: float = 20.0,
    turns: tuple[Turn, ...] = (),
    **more: Any,
) -> Drawn:
    """A scenario of FedAvg on one device at a time, unless more says otherwise."""
    table = {
        "seed": 0,
        "fleet": {"group": [{"count": 1, "compute": SECONDS, **group} for group in groups]},
        "network": {"cell": list(cells)},
        "learning": {
            "dataset": "none",
            "parameters": PARAMETERS,
            "examples": 1,
            "flops_per_example": 1.0,
        },
        "strategy": {"kind": "fedavg", "cohort": 1},
        "stop": {"after_s": after_s},
    }
    return Drawn({**table, **more}, script, exact, turns)


SECONDS = {"kind": "constant", "s": 0.5}
SLOW = {"down_mbps": 0.25, "up_mbps": 0.25}
FULL = {"capacity_j": 1.0, "charge_w": 1.0, "resume": 0.0625}
HUNGRY = {"train_w": 4.0, "radio_w": 2.0}
GRID = {"kind": "trace", "trace": "grid"}
SHARED = {"sharing": "max-min"}
CYCLIC = {"kind": "fedavg", "cohort": 1, "selection": {"kind": "cyclic"}}

#: By the fault that they show when it is put back: see `faults`.
FOUND = {
    "cell-after-full-server": case(
        {"network": {"down_mbps": 50.0, "up_mbps": 3.4}, "cell": "wide"},
        {"network": {"down_mbps": 50.0, "up_mbps": 1.8}, "cell": "narrow"},
        cells=({"name": "wide", "up_mbps": 6.3}, {"name": "narrow", "up_mbps": 1.0}),
        server={**SHARED, "up_mbps": 3.3},
        strategy=CYCLIC,
    ),
    "battery-full-on-charger": case(
        {"network": {"down_mbps": 1.0, "up_mbps": 1.0, "latency_s": 1.0},
         "battery": {"capacity_j": 4.0, "charge_w": 2.0, "resume": 0.0625},
         "power": {"train_w": 4.0, "radio_w": 1.0}, "compute": {"kind": "constant", "s": 3.0}},
        exact=True,
    ),
    "battery-paused-on-charger": case(
        {"network": SLOW, "battery": {"capacity_j": 9.0, "charge_w": 1.0, "resume": 0.0625},
         "power": {"train_w": 5.0, "radio_w": 3.0}, "presence": GRID,
         "faults": {"on_offline": "pause"}},
        exact=True,
    ),
    "battery-on-shared-uplink": case(
        {"count": 4, "network": {"down_mbps": 50.0, "up_mbps": 8.0}, "power": {"radio_w": 5.0},
         "battery": {"capacity_j": 5.0}},
        server={**SHARED, "up_mbps": 1.0}, strategy={"kind": "fedavg", "cohort": 4},
    ),
    "through-at-departure": case(
        {"network": {"down_mbps": 1.0, "up_mbps": 0.5}, "compute": {"kind": "constant", "s": 1.0},
         "presence": GRID, "faults": {"on_offline": "pause"}},
        server=SHARED,
    ),
    "failure-in-latency": case(
        {"network": {**SLOW, "latency_s": 2.0}, "faults": {"drop_probability": 0.6}}, server=SHARED
    ),
    "arrivals-one-by-one": case(
        {"count": 2}, exact=True, after_s=8.0,
        strategy={"kind": "overselect", "cohort": 1, "over_select": 1.5, "deadline_s": 0.5},
    ),
    "unwatched-losses": case(
        {"network": SLOW, "faults": {"hazard_per_hour": 600.0}}, server=SHARED
    ),
    "battery-never-empty": case(
        {"battery": {**FULL, "charge_w": 0.0}, "power": HUNGRY}, exact=True, after_s=8.0
    ),
    "speed-in-mid-task": case(
        {"compute": {"kind": "constant", "s": 4.0}}, exact=True,
        turns=(Turn(1.0, "set_speed", (0, 0.5)), Turn(2.0, "set_speed", (0, 4.0))),
    ),
    "link-in-mid-transfer": case(
        {"network": SLOW}, exact=True, turns=(Turn(1.0, "set_link", (0, 0.5, 1.0)),)
    ),
    "leave-in-mid-task": case(
        {"network": SLOW, "faults": {"on_offline": "pause"}}, exact=True,
        turns=(Turn(1.0, "leave", (0,)), Turn(3.0, "come_back", (0,))),
    ),
    "cell-in-mid-transfer": case(
        {"count": 2, "network": SLOW, "cell": "hall"}, cells=({"name": "hall"},), server=SHARED,
        strategy={"kind": "fedavg", "cohort": 2}, turns=(Turn(1.0, "set_cell", (0, 0.25, None)),),
    ),
}  # fmt: skip

#: Whatever else has differed.
CASES = {
    "devices without links of their own in a cell that was the server's": case(
        {"count": 6, "compute": {"kind": "constant", "s": 5.6}, "cell": "town"},
        {"count": 2, "network": {"down_mbps": 0.5, "up_mbps": 8.0}, "cell": "town"},
        cells=({"name": "town", "count": 2, "down_mbps": 10.0, "up_mbps": 1.9, "trace": "rates"},),
        server={**SHARED, "down_mbps": 12.0, "up_mbps": 37.0},
        strategy={"kind": "semisync", "cohort": 5, "deadline_s": 1.0},
        after_s=31.4,
    ),
    "an empty battery of a device that is away": case(
        {"battery": {**FULL, "charge_w": 0.0}, "power": HUNGRY,
         "presence": {"kind": "trace", "trace": "odd"}, "network": SLOW},
        server=SHARED, script=(1, 2, 0, 5), after_s=31.4,
    ),
    "a charge that is still lacking where no charger is": case(
        {"battery": {**FULL, "charge_w": 0.0}, "power": HUNGRY},
        {"presence": {"kind": "onoff", "mean_on_s": 2.0, "mean_off_s": 2.0},
         "battery": {**FULL, "charge_w": 0.0}, "power": HUNGRY},
    ),
    "a pause without end behind a cell that fails": case(
        {"count": 3, "network": SLOW, "presence": {"kind": "trace", "trace": "odd"},
         "cell": "weak", "faults": {"on_offline": "pause"}},
        cells=({"name": "weak", "outages": {"mean_up_s": 20.0, "mean_down_s": 5.0}},),
        strategy={"kind": "fedavg", "cohort": 3}, after_s=70.0,
    ),
    "a message that takes no time, while its device is away": case(
        {"presence": GRID, "faults": {"on_offline": "pause"}}, exact=True, script=(1, 2, 0, 5)
    ),
    "a message that takes no time, to a device that is away": case(
        {"count": 2, "presence": GRID, "faults": {"on_offline": "lost"}}, exact=True,
        server=SHARED, script=(0, 1, 0, 1, 0, 0, 0, 1, 0),
    ),
    "a request in a pause, when the mini-batch at hand is done": case(
        {"compute": {"kind": "constant", "s": 2.0, "per": "step"}, "presence": GRID,
         "faults": {"on_offline": "pause"}}, exact=True, after_s=5.0,
        script=(0, 1, 1, 1, 0, 2, 0, 7, 0, 1, 2, 1, 1, 0, 0, 0, 2, 0, 1, 1, 0, 1, 1, 0, 0, 0, 7, 0),
    ),
    "batteries that have enough at one instant, by different sums": case(
        {"count": 7, "compute": {"kind": "constant", "s": 1.0}, "power": {"radio_w": 7.5},
         "battery": {"capacity_j": 1.0, "charge_w": 1.0, "resume": 1.0}},
        server={**SHARED, "down_mbps": 1.0}, strategy={"kind": "fedasync", "concurrency": 6},
        after_s=70.2,
    ),
    "half a byte, but for a rounding error": case(
        {"count": 2}, {"count": 4, "compute": {"kind": "constant", "s": 0.875}, "cell": "town"},
        cells=({"name": "town", "down_mbps": 1.9},), server={**SHARED, "up_mbps": 1.0},
        script=(4, 40, 26, 50, 35, 45, 43, 8, 16, 11, 15, 24), after_s=70.2,
        seed=242,
        learning={"dataset": "none", "parameters": 100_001, "examples": 1,
                  "flops_per_example": 1.0},
    ),
}  # fmt: skip
