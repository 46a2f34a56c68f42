"""The same app folder on the virtual clock, with the constants of the calibration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from cases import CLIENTS, KINDS, Case

import simfl
from simfl.fleet.traces import Trace, write_trace

APP = Path(__file__).parent / "app"
WORK = 0.8  # CPU seconds of a task, as the app's default

#: Effects, in the order in which they are added.
STEPS = ("links and training", "process start", "loops", "requests, copies, bytes")


def scenario(
    case: Case, constants: Mapping[str, Any], folder: Path, steps: int = len(STEPS)
) -> dict[str, Any]:
    """steps: how many of the effects are in it. folder: where a trace of presence may be put."""
    groups = [_group(number, constants, case, folder, steps) for number in range(len(CLIENTS))]
    options: dict[str, Any] = {"kind": "simfl.interop.flower:App", "train_gflop": WORK}
    if steps > 2:
        loops = {"kind": constants["deployment"]["kind"]}
        options["deployment"] = constants["deployment"] if steps > 3 else loops
    server: dict[str, Any] = {"sharing": "none"}
    if case.down_mbps:
        server = {"down_mbps": case.down_mbps, "up_mbps": case.up_mbps, "sharing": "max-min"}
    return {
        "fleet": {"group": groups},
        "learning": {"dataset": "none", "parameters": 1, "examples": 1, "flops_per_example": 1.0},
        "server": server,
        "strategy": options,
    }


def _group(
    number: int, constants: Mapping[str, Any], case: Case, folder: Path, steps: int
) -> dict[str, Any]:
    kind = CLIENTS[number]
    client = KINDS[kind]
    compute = {"gflops": client.cores}
    if steps > 1:
        compute["setup_s"] = constants["setup_s"][kind]
    group: dict[str, Any] = {
        "name": f"{kind}-{number}",
        "count": 1,
        "compute": compute,
        "network": {"down_mbps": client.down_mbps, "up_mbps": client.up_mbps},
    }
    for event, policy, back_s in (
        (case.killed, "lost", np.inf),
        (case.cut, "pause", case.cut[1] + case.cut_s),
    ):
        if event[0] == number:
            group["presence"] = {"kind": "trace", "trace": policy}
            group["faults"] = {"on_offline": policy}
            _away(folder, policy, event[1], back_s)
    return group


def _away(folder: Path, name: str, from_s: float, to_s: float) -> None:
    """A trace of one device that is away in between."""
    starts = [0.0, to_s] if isfinite(to_s) else [0.0]
    ends = [from_s, 1e6] if isfinite(to_s) else [from_s]
    columns = {
        "device": np.zeros(len(starts), np.int64),
        "start_s": np.array(starts),
        "end_s": np.array(ends),
    }
    (folder / "traces").mkdir(parents=True, exist_ok=True)
    write_trace(folder / "traces" / f"{name}.parquet", Trace("presence", columns, {"devices": 1}))


def predict(
    case: Case,
    constants: Mapping[str, Any],
    folder: Path,
    seeds: range = range(5),
    steps: int = len(STEPS),
) -> list[dict[str, Any]]:
    """What the case is predicted to take, for each seed: as the summaries of what was measured."""
    import tomli_w

    logging.getLogger("flwr").setLevel(logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "case.toml"
    file.write_text(tomli_w.dumps(scenario(case, constants, folder, steps)), "utf-8")
    config = f"{case.run_config} work=0.0"
    return [_summary(simfl.flower.run_folder(APP, file, run_config=config, seed=s)) for s in seeds]


def _summary(result: Any) -> dict[str, Any]:
    ends = result.versions["time_s"].to_numpy()
    ends = ends[ends > 0.0].tolist()
    done = result.tasks[result.tasks["outcome"].isin(["applied", "discarded"])]
    rows = done.sort_values("dispatched_s")
    return {
        "total_s": float(result.summary["app_s"]),
        "rounds": [[a, b] for a, b in zip([0.0, *ends], ends, strict=False)],
        "tasks": [
            {
                "device": int(row.device),
                "class": CLIENTS[int(row.device)],
                "at_s": float(row.dispatched_s),
                "download_s": float(row.download_s),
                "train_s": float(row.train_s),
                "upload_s": float(row.upload_s),
                "task_s": float(row.ended_s - row.dispatched_s),
            }
            for row in rows.itertuples()
        ],
    }


def task_s(task: Mapping[str, Any]) -> float:
    """Seconds from a device's getting a message to its having sent the reply."""
    if "task_s" in task:
        return float(task["task_s"])
    names = ("download_s", "launch_s", "train_s", "reply_s", "upload_s")
    return float(sum(task[name] for name in names))


def compared(
    measured: list[Mapping[str, Any]], predicted: list[Mapping[str, Any]]
) -> dict[str, Any]:
    """Relative errors: of the total, of the mean round, and of the mean task of each kind."""

    def error(of: Any) -> float:
        return float(mean(map(of, predicted)) / mean(map(of, measured)) - 1.0)

    kinds = {
        kind: error(lambda run, k=kind: mean(task_s(t) for t in run["tasks"] if t["class"] == k))
        for kind in KINDS
    }
    rounds = {}
    if all(len(run["rounds"]) == len(predicted[0]["rounds"]) for run in measured):
        for i in range(len(predicted[0]["rounds"])):
            rounds[i] = error(lambda run, i=i: run["rounds"][i][1] - run["rounds"][i][0])
    return {
        "measured_s": [run["total_s"] for run in measured],
        "predicted_s": [run["total_s"] for run in predicted],
        "total": error(lambda run: run["total_s"]),
        "rounds": rounds,
        "tasks": kinds,
    }
