"""Plays a case on the testbed, and turns its events into a row for each task."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cases import CLIENTS, KINDS, Case
from deployment import Client, Deployment, deployment, note, read, wait
from hosts import Host, Network, network

APP = Path(__file__).parent / "app"
#: Columns of a phase log, all in seconds, in the order in which a task goes through them.
PHASES = ("wait_s", "download_s", "launch_s", "train_s", "reply_s", "upload_s", "idle_s")


def play(case: Case, folder: Path, limit_s: float = 400.0) -> Path:
    """Deploys, plays the app of this folder, takes all down; returns the folder of the events."""
    with network() as made:
        server = made.host("srv", down_mbps=case.up_mbps, up_mbps=case.down_mbps)
        clients = {_host(made, i, KINDS[kind]): KINDS[kind] for i, kind in enumerate(CLIENTS)}
        with deployment(made, server, clients, folder) as deployed:
            threading.Thread(target=_disturb, args=(case, deployed), daemon=True).start()
            idle = deployed.idle_cores() if case.calibrates else []
            before = deployed.moved_bytes()
            with speedometer(server) as speeds:
                deployed.play(APP, case.run_config, limit_s)
            pairs = zip(before, deployed.moved_bytes(), strict=True)
            moved = [[now - then for then, now in zip(*pair, strict=True)] for pair in pairs]
            note(deployed.logs, "testbed", "ended", moved=moved, idle=idle, speeds=speeds)
    return folder / "logs"


@contextmanager
def speedometer(host: Host, every_s: float = 8.0) -> Iterator[list[float]]:
    """CPU seconds of a process that imports Flower, again and again beside what is measured.

    It is no part of the deployment: it says how fast this machine is while others use it, too.
    """
    over, found = threading.Event(), list[float]()

    def probe() -> None:
        while not over.is_set():
            process = host.start(sys.executable, "-c", "import flwr.clientapp, flwr.supernode")
            _, _, used = os.wait4(process.pid, 0)
            process.returncode = 0
            found.append(round(used.ru_utime + used.ru_stime, 4))
            over.wait(every_s)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _host(made: Network, number: int, client: Client) -> Host:
    cpus = sorted(os.sched_getaffinity(0))
    cpu = cpus[number % len(cpus)]  # the two of a kind on different ones
    return made.host(f"c{number}", client.down_mbps, client.up_mbps, cpu)


def _disturb(case: Case, deployed: Deployment) -> None:
    """What happens to clients, so many seconds after the app's start."""
    hosts, logs = list(deployed.clients), deployed.logs
    client, after_s = min(case.killed, case.cut, key=lambda one: one[1])
    if client < 0:
        return
    wait(lambda: bool(read(logs / "server.jsonl")), 300, "the app to start")
    time.sleep(max(0.0, read(logs / "server.jsonl")[0]["t"] + after_s - time.time()))
    if client == case.killed[0]:
        hosts[client].group.kill()
        note(logs, "testbed", "killed", client=client)
        return
    deployed.network.cut(hosts[client], whole=False)
    note(logs, "testbed", "cut", client=client)
    time.sleep(case.cut_s)
    deployed.network.cut(hosts[client], whole=True)
    note(logs, "testbed", "mended", client=client)


def summary(logs: Path) -> dict[str, Any]:
    """rounds: (begin, end) in seconds after the app's start. tasks: a phase log."""
    server = read(logs / "server.jsonl")
    start_s = next(e["t"] for e in server if e["event"] == "start")
    begins = [e["t"] - start_s for e in server if e["event"] == "round"]
    ends = [e["t"] - start_s for e in server if e["event"] == "replies"]
    return {
        "total_s": round(next(e["t"] for e in server if e["event"] == "end") - start_s, 3),
        "rounds": [[round(a, 3), round(b, 3)] for a, b in zip(begins, ends, strict=False)],
        "replies": [(round(e["t"] - start_s, 3), e["good"], e["errors"])
                    for e in server if e["event"] == "replies"],
        "tasks": list(tasks(logs, start_s, begins, ends)),
        **{name: read(logs / "testbed.jsonl")[-1][name] for name in ("moved", "idle", "speeds")},
    }  # fmt: skip


def tasks(
    logs: Path, start_s: float, begins: list[float], ends: list[float]
) -> Iterator[dict[str, Any]]:
    """A row for each task that was done; times count from the app's start."""
    for number, kind in enumerate(CLIENTS):
        node, app = read(logs / f"node-{number}.jsonl"), read(logs / f"client-{number}.jsonl")
        at = {
            name: [e["t"] - start_s for e in events if e["event"] == name]
            for events, names in ((node, NODE), (app, APP_EVENTS))
            for name in names
        }
        cpu = [e["cpu"] for e in app if e["event"] == "end"]
        for k, sent in enumerate(at["sent"]):
            asked = at["receiving"][k]
            before = [t for t in begins if t <= asked]
            begun = before[-1] if before else asked
            after = [t for t in ends if t >= sent]
            seconds = (
                asked - begun, at["received"][k] - asked, at["begin"][k] - at["received"][k],
                at["end"][k] - at["begin"][k], at["sending"][k] - at["end"][k],
                sent - at["sending"][k], after[0] - sent if after else 0.0,
            )  # fmt: skip
            row = {"device": number, "class": kind, "round": len(before), "at_s": round(asked, 3)}
            row |= {n: round(s, 3) for n, s in zip(PHASES, seconds, strict=True)}
            yield row | {"cpu_s": round(cpu[k], 3)}


NODE = ("receiving", "received", "sending", "sent")
APP_EVENTS = ("begin", "end")


def keep(name: str, case: Case, folder: Path, out: Path) -> dict[str, Any]:
    """Plays the case and writes its summary to `out`."""
    logs = play(case, folder)
    found = {"case": name, "about": case.about} | summary(logs)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found), encoding="utf-8")
    return found
