"""A fleet fitted to a pilot: groups, speeds, links and overheads from a phase log.

Six phones of a pilot become a scenario whose groups train, start, send and receive as they did;
then `count` may be raised. Its fit is reported on tasks that were kept aside: the constants
come from every second task of each device, the errors from the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import erf, nan, sqrt
from typing import Any

import numpy as np

from simfl.errors import TraceError
from simfl.interop.pilots.phases import PHASES, Phases

#: Devices whose median training times are this near to each other are of one group.
NEAR = 1.15

#: Of a task, in GFLOP: only its ratio to the fleet's GFLOP/s counts.
GFLOP = 1.0
MBIT = 1e6 / 8


@dataclass(frozen=True)
class Loops:
    """What of a deployment's loops the fit must know; see `simfl.interop.flower.deployment`.

    launch_ask_s, reply_ask_s: seconds between two looks.
    beside: a process starts beside the download.
    asks: waits for work follow from a loop, and are no overhead.
    """

    launch_ask_s: float = 0.0
    reply_ask_s: float = 0.0
    beside: bool = False
    asks: bool = False


@dataclass(frozen=True)
class Judged:
    """A group's task, measured and as fitted to other tasks, in mean seconds.

    tasks: that were kept aside to judge by; where there is none, nothing is known of the fit, and
        `fitted_s` is nan.
    distance: between the training times and a log-normal law, as Kolmogorov and Smirnov have it.
    """

    name: str
    devices: int
    tasks: int
    measured_s: float
    fitted_s: float
    distance: float

    @property
    def error(self) -> float:
        return self.fitted_s / self.measured_s - 1.0


@dataclass(frozen=True)
class Calibration:
    """What a log says of a fleet.

    groups: tables for [[fleet.group]].
    judged: one for each of them.
    nbytes: mean length of a message, (down, up).
    """

    groups: list[dict[str, Any]]
    judged: list[Judged]
    nbytes: tuple[float, float]


def calibrate(
    log: Phases, down_bytes: float | None, up_bytes: float | None, loops: Loops
) -> Calibration:
    """Groups that take what the log's tasks took. Raises TraceError.

    down_bytes, up_bytes: of a message on the link, where the log has no such column.
    """
    sizes: dict[str, Any] = {"down_bytes": down_bytes, "up_bytes": up_bytes, **log.sizes}
    absent = [name for name, value in sizes.items() if value is None]
    if absent:
        option = "--" + absent[0].replace("_", "-")
        raise TraceError(
            f"the log has no column {absent[0]}: rates follow from bytes and seconds; give {option}"
        )
    known = {name: np.broadcast_to(value, len(log)) for name, value in sizes.items()}
    for name, values in known.items():
        if not (np.isfinite(values) & (values > 0.0)).all():
            raise TraceError(f"{name} = {values.min():g}: expected bytes of a message, above 0")
    log = Phases(log.device, log.group, log.seconds, known)
    groups, judged = [], []
    for name, members in _groups(log).items():
        mine = log.of(np.isin(log.device, members))
        groups.append(_fit(name, mine, loops))
        judged.append(_judge(name, mine, loops))
    down, up = (float(known[name].mean()) for name in ("down_bytes", "up_bytes"))
    return Calibration(groups, judged, (down, up))


def _groups(log: Phases) -> dict[str, list[str]]:
    """Devices by class; where the log has none, devices that train about as fast as each other."""
    pairs = set(zip(log.device.tolist(), log.group.tolist(), strict=True))
    classes = {name for _, name in pairs if name}
    several = [device for device, n in Counter(device for device, _ in pairs).items() if n > 1]
    if classes and several:
        raise TraceError(f"device {several[0]} is of several classes, or of none in some rows")
    unnamed = [device for device, name in pairs if not name]
    if classes and unnamed:
        raise TraceError(f"device {min(unnamed)} has no class: give all devices one, or none")
    if classes:
        return {name: sorted(d for d, c in pairs if c == name) for name in _in_order(log)}
    medians = sorted((_median(log, device), device) for device in set(log.device.tolist()))
    found: list[list[str]] = []
    for k, (seconds, device) in enumerate(medians):
        if k == 0 or seconds > NEAR * medians[k - 1][0]:
            found.append([])
        found[-1].append(device)
    return {f"group-{k}": sorted(devices) for k, devices in enumerate(found)}


def _in_order(log: Phases) -> list[str]:
    return list(dict.fromkeys(log.group.tolist()))


def _median(log: Phases, device: str) -> float:
    return float(np.median(log.seconds["train_s"][log.device == device]))


def _fit(name: str, log: Phases, loops: Loops) -> dict[str, Any]:
    """The table of a group."""
    devices = sorted(set(log.device.tolist()))
    medians = np.array([_median(log, device) for device in devices])
    own = np.array([_median(log, device) for device in log.device])
    down_s, down_rate = _link(log.sizes["down_bytes"], log.seconds["download_s"])
    up_s, up_rate = _link(log.sizes["up_bytes"], log.seconds["upload_s"])
    compute = {
        "gflops": GFLOP / np.exp(np.log(np.maximum(medians, 1e-6)).mean()),
        "setup_s": _setup_s(log, loops),
        "spread_sigma": np.log(np.maximum(medians, 1e-6)).std() if len(devices) > 2 else 0.0,
        "jitter_sigma": np.log(np.maximum(log.seconds["train_s"], 1e-6) / own).std(),
    }
    network = {
        "down_mbps": down_rate / MBIT,
        "up_mbps": up_rate / MBIT,
        "overhead_s": (down_s + up_s + _waits_s(log, loops)) / 2.0,
    }
    return {
        "name": name,
        "count": len(devices),
        "compute": {key: _rounded(value) for key, value in compute.items()},
        "network": {key: _rounded(value) for key, value in network.items()},
    }


def _link(sizes: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """(seconds of any transfer, bytes/s): a line through sizes, where they differ enough."""
    if sizes.max() > 1.5 * sizes.min():
        slope, start = np.polyfit(sizes, seconds, 1)
        if slope > 0.0:
            return max(0.0, float(start)), 1.0 / float(slope)
    return 0.0, float(sizes.mean() / max(seconds.mean(), 1e-6))


def _setup_s(log: Phases, loops: Loops) -> float:
    """Seconds that a process takes to start, as the group's `setup_s` says it."""
    seconds = log.seconds["launch_s"]
    if loops.beside:
        seconds = seconds + log.seconds["download_s"]
    return max(0.0, float(seconds.mean()) - loops.launch_ask_s / 2.0)


def _waits_s(log: Phases, loops: Loops) -> float:
    """Seconds of a task beside its transfers and its training, that no loop accounts for."""
    reply_s = float(log.seconds["reply_s"].mean())
    wait_s = 0.0 if loops.asks else float(log.seconds["wait_s"].mean())
    return wait_s + max(0.0, reply_s - loops.reply_ask_s / 2.0)


def _judge(name: str, log: Phases, loops: Loops) -> Judged:
    """Every second task of a device is fitted, the others are measured."""
    order = np.zeros(len(log), int)
    for device in set(log.device.tolist()):
        mine = log.device == device
        order[mine] = np.arange(mine.sum())
    used = order % 2 == 0
    alone = bool(used.all())  # one task a device: there is none to judge by
    fitted, kept = log.of(used), log if alone else log.of(~used)
    phases = [p for p in PHASES if not (loops.asks and p == "wait_s")]
    measured_s = float(sum(kept.seconds[p] for p in phases).mean())  # type: ignore[union-attr]
    return Judged(
        name=name,
        devices=len(set(log.device.tolist())),
        tasks=0 if alone else len(kept),
        measured_s=measured_s,
        fitted_s=nan if alone else task_s(_fit(name, fitted, loops), kept, loops),
        distance=_distance(log),
    )


def task_s(group: Mapping[str, Any], log: Phases, loops: Loops) -> float:
    """Mean seconds of a task of this group with the log's sizes, by its options alone."""
    compute, network = group["compute"], group["network"]
    down_s = log.sizes["down_bytes"].mean() / (network["down_mbps"] * MBIT)
    up_s = log.sizes["up_bytes"].mean() / (network["up_mbps"] * MBIT)
    train_s = GFLOP / compute["gflops"] * np.exp(compute["jitter_sigma"] ** 2 / 2.0)
    ready_s = compute["setup_s"] + loops.launch_ask_s / 2.0
    start_s = max(down_s, ready_s) if loops.beside else down_s + ready_s
    overhead_s = 2.0 * network["overhead_s"]
    return float(start_s + train_s + loops.reply_ask_s / 2.0 + up_s + overhead_s)


def _distance(log: Phases) -> float:
    """The largest distance between the training times of the group and a log-normal law."""
    own = np.array([_median(log, device) for device in log.device])
    logs = np.sort(np.log(np.maximum(log.seconds["train_s"], 1e-6) / own))
    if len(logs) < 3 or logs.std() < 1e-9:
        return 0.0
    z = (logs - logs.mean()) / logs.std()
    law = np.array([_normal(value) for value in z])
    steps = np.arange(len(z) + 1) / len(z)
    return float(max(np.abs(law - steps[1:]).max(), np.abs(law - steps[:-1]).max()))


def _normal(z: float) -> float:
    return 0.5 * (1.0 + erf(z / sqrt(2.0)))


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
