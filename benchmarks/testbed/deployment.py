"""A Flower deployment on the hosts of a testbed: a SuperLink, SuperNodes and `flwr run`."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosts import Host, Network

BIN = Path(sys.executable).parent
PORT = 8000
#: Lines of a SuperNode that are events, by their beginning.
LINES = {
    "Receiving:": "receiving",
    "Received successfully": "received",
    "Sending:": "sending",
    "Sent successfully": "sent",
}
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "NO_COLOR": "1",
}


@dataclass(frozen=True)
class Client:
    """A client of the testbed. cores: its CPU quota."""

    cores: float
    down_mbps: float
    up_mbps: float


class Deployment:
    """A SuperLink and its SuperNodes, up and registered. logs: folder of the events of a run."""

    def __init__(
        self, network: Network, server: Host, clients: Mapping[Host, Client], folder: Path
    ) -> None:
        self.server, self.clients, self.folder = server, clients, folder
        self.logs = folder / "logs"
        self.network = network
        self.online, self.listening = 0, False

    def start(self) -> None:
        self.logs.mkdir(parents=True)
        self._superlink()
        for number, host in enumerate(self.clients):
            self._supernode(number, host)
        wait(lambda: self.online >= len(self.clients), 120, "the SuperNodes to register")
        wait(self._at_rest, 60, "the daemons to come to rest")
        for host, client in self.clients.items():
            host.group.limit(client.cores)

    def _at_rest(self) -> bool:
        return max(self.idle_cores(2.0)) < 0.05

    def idle_cores(self, seconds: float = 10.0) -> list[float]:
        """The share of a core that each client's daemons take while there is nothing to do."""
        before = [host.group.cpu_s() for host in self.clients]
        time.sleep(seconds)
        after = [host.group.cpu_s() for host in self.clients]
        return [(b - a) / seconds for a, b in zip(before, after, strict=True)]

    def moved_bytes(self) -> list[tuple[int, int]]:
        return [self.network.moved_bytes(host) for host in self.clients]

    def play(self, app: Path, run_config: str, limit_s: float) -> None:
        """Runs the app to its end."""
        home = self._home("server")
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "testbed"\n[superlink.testbed]\n'
            f'address = "{self.server.address}:{PORT}"\ninsecure = true\n'
        )
        flwr = self.server.start(
            str(BIN / "flwr"), "run", str(app), "testbed", "--run-config", run_config,
            **QUIET, FLWR_HOME=str(home),
        )  # fmt: skip
        said = flwr.communicate(timeout=120)[0]
        if flwr.returncode:
            raise RuntimeError(f"flwr run failed: {said}")
        try:
            wait(self.ended, limit_s, "the app to end")
        finally:
            (self.folder / "flwr.txt").write_text(said)

    def ended(self) -> bool:
        return any(event["event"] == "end" for event in read(self.logs / "server.jsonl"))

    def _superlink(self) -> None:
        home = self._home("superlink")
        process = self.server.start(
            str(BIN / "flower-superlink"), "--insecure", "--host", "0.0.0.0", "--port", str(PORT),
            "--disable-runtime-dependency-installation",
            **QUIET, FLWR_HOME=str(home), SIMFL_TESTBED_LOGS=str(self.logs), PATH=path(),
        )  # fmt: skip

        def heard(line: str) -> None:
            self.listening = self.listening or "Uvicorn running" in line

        self._watch(process, "superlink", heard)
        wait(lambda: self.listening, 60, "the SuperLink to start")

    def _supernode(self, number: int, host: Host) -> None:
        home = self._home(f"client-{number}")
        process = host.start(
            str(BIN / "flower-supernode"), "--insecure",
            "--superlink", f"{self.server.address}:{PORT}",
            "--node-config", f"partition-id={number} num-partitions={len(self.clients)}",
            **QUIET, FLWR_HOME=str(home), SIMFL_TESTBED_LOGS=str(self.logs), PATH=path(),
        )  # fmt: skip

        def heard(line: str) -> None:
            if "SuperNode ID" in line:
                self.online += 1
            event = next((e for start, e in LINES.items() if start in line), None)
            if event:
                note(self.logs, f"node-{number}", event)

        self._watch(process, f"node-{number}", heard)

    def _watch(self, process: Any, name: str, heard: Callable[[str], None]) -> None:
        def follow() -> None:
            with (self.folder / f"{name}.txt").open("w", encoding="utf-8") as file:
                for line in process.stdout:
                    heard(line)
                    file.write(line)

        threading.Thread(target=follow, daemon=True).start()

    def _home(self, name: str) -> Path:
        home = self.folder / "homes" / name
        home.mkdir(parents=True, exist_ok=True)
        return home


def path() -> str:
    import os

    return f"{BIN}:{os.environ['PATH']}"


def note(logs: Path, who: str, event: str, **more: Any) -> None:
    line = json.dumps({"t": time.time(), "who": who, "event": event, **more})
    with (logs / f"{who}.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """The events of a file, so far."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def wait(met: Callable[[], bool], limit_s: float, what: str) -> None:
    end_s = time.monotonic() + limit_s
    while not met():
        if time.monotonic() > end_s:
            raise TimeoutError(f"waited {limit_s:g} s for {what}")
        time.sleep(0.1)


@contextmanager
def deployment(
    network: Network, server: Host, clients: Mapping[Host, Client], folder: Path
) -> Iterator[Deployment]:
    """A deployment whose processes are gone after the block."""
    shutil.rmtree(folder, ignore_errors=True)
    made = Deployment(network, server, clients, folder)
    try:
        made.start()
        yield made
    finally:
        for host in (server, *clients):
            host.group.kill()
        shutil.rmtree(folder / "homes", ignore_errors=True)
