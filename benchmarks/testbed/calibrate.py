"""The constants of a deployment, from an empty task and one of 20 MB; nothing that is judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import log, sqrt
from operator import itemgetter
from statistics import mean, median, variance
from typing import Any

from cases import CLIENTS, KINDS

#: Serialised bytes of the arrays of the two calibration runs.
SIZES = {"empty": 4_000, "heavy": 20_000_000}
LAUNCH_ASK_S, REPLY_ASK_S = 1.0, 0.5  # Flower's, see simfl.interop.flower.deployment


def constants(empty: Mapping[str, Any], heavy: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `simfl.interop.flower.deployment`, and `setup_s` of each kind.

    empty, heavy: summaries of the two runs.
    """
    idle = median(empty["idle"] + heavy["idle"])
    bytes_per_mb, message_bytes = zip(*(_bytes(empty, heavy, way) for way in (0, 1)), strict=True)
    cores = {kind: client.cores - idle for kind, client in KINDS.items()}
    started_s = {name: _by_kind(run, _started) for name, run in (("e", empty), ("h", heavy))}
    replied_s = {name: _by_kind(run, _replied) for name, run in (("e", empty), ("h", heavy))}
    mb = (SIZES["heavy"] - SIZES["empty"]) / 1e6
    setup_s = {  # on a device without daemons
        kind: (started_s["e"][kind] - LAUNCH_ASK_S / 2) * cores[kind] / KINDS[kind].cores
        for kind in KINDS
    }
    copies = _copies(empty, heavy, cores, mb)
    request = [
        mean(cores[kind] * seconds for kind, seconds in _by_kind(empty, itemgetter(phase)).items())
        for phase in ("download_s", "upload_s")
    ]
    reply = mean(cores[k] * max(0.0, s - REPLY_ASK_S / 2) for k, s in replied_s["e"].items())
    return {
        "speed_s": round(mean(empty["speeds"] + heavy["speeds"]), 4),
        "setup_s": {kind: round(seconds, 3) for kind, seconds in setup_s.items()},
        "deployment": {
            "kind": "flower-1.42",
            "request_cpu_s": [round(s, 4) for s in request],
            "copy_cpu_s_per_mb": [round(s, 4) for s in copies],
            "reply_cpu_s": round(reply, 4),
            "launch_sigma": round(_sigma(empty), 4),
            "idle_share": round(idle, 5),
            "message_bytes": [round(n) for n in message_bytes],
            "header_share": round(mean(bytes_per_mb) - 1.0, 4),
        },
    }


def pooled(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs of one case as one."""
    found = {n: [one for run in runs for one in run[n]] for n in ("idle", "moved", "speeds")}
    tasks = [task | {"run": number} for number, run in enumerate(runs) for task in run["tasks"]]
    return found | {"tasks": tasks}


def at_speed(known: Mapping[str, Any], runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The constants for a machine as fast as this one was while these runs went."""
    factor = mean(s for run in runs for s in run["speeds"]) / known["speed_s"]

    def scaled(value: Any) -> Any:
        return [scaled(one) for one in value] if isinstance(value, list) else value * factor

    deployment = {k: scaled(v) if "cpu_s" in k else v for k, v in known["deployment"].items()}
    setup_s = {kind: scaled(seconds) for kind, seconds in known["setup_s"].items()}
    return {"speed_s": known["speed_s"] * factor, "setup_s": setup_s, "deployment": deployment}


def _bytes(empty: Mapping[str, Any], heavy: Mapping[str, Any], way: int) -> tuple[float, float]:
    """(bytes on the link for each byte of message, bytes beside it) of a task in one direction."""
    each = []
    for run in (empty, heavy):
        each.append(sum(pair[way] for pair in run["moved"]) / len(run["tasks"]))
    share = (each[1] - each[0]) / (SIZES["heavy"] - SIZES["empty"])
    return share, max(0.0, each[0] / share - SIZES["empty"])


def _by_kind(run: Mapping[str, Any], seconds: Any) -> dict[str, float]:
    return {kind: mean(map(seconds, _of(run, kind))) for kind in dict.fromkeys(CLIENTS)}


def _of(run: Mapping[str, Any], kind: str) -> Iterable[Mapping[str, Any]]:
    return [task for task in run["tasks"] if task["class"] == kind]


def _started(task: Mapping[str, Any]) -> float:
    return float(task["download_s"] + task["launch_s"])


def _replied(task: Mapping[str, Any]) -> float:
    return float(task["train_s"] + task["reply_s"])


def _sigma(empty: Mapping[str, Any]) -> float:
    """Spread of a process's start within a run, between tasks of a kind; looks aside."""
    alike = defaultdict(list)
    for task in empty["tasks"]:
        alike[task.get("run", 0), task["class"]].append(_started(task) - LAUNCH_ASK_S / 2)
    own = [LAUNCH_ASK_S**2 / 12 / mean(seconds) ** 2 for seconds in alike.values()]
    all_of_it = [variance(map(log, seconds)) for seconds in alike.values()]
    return sqrt(max(0.0, mean(all_of_it) - mean(own)))


def _copies(
    empty: Mapping[str, Any], heavy: Mapping[str, Any], cores: Mapping[str, float], mb: float
) -> list[float]:
    """CPU seconds a MB: while a process starts, before the training, and before the reply.

    On the slow clients, 20 MB take longer than a process does: what follows the download there is
    the process's own. On the others the process is ready later, and waits for both.
    """
    own = cores["slow"] * mean(task["launch_s"] for task in _of(heavy, "slow")) / mb
    e, h = _by_kind(empty, _started), _by_kind(heavy, _started)
    both = mean(cores[kind] * (h[kind] - e[kind]) / mb for kind in ("middle", "fast"))
    e, h = _by_kind(empty, _replied), _by_kind(heavy, _replied)
    reply = mean(cores[kind] * (h[kind] - e[kind]) / mb for kind in KINDS)
    return [max(0.0, both - own), own, max(0.0, reply)]
