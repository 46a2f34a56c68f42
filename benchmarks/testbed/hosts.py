"""Hosts of a testbed on one machine: network namespaces with shaped links, and CPU quotas.

All names begin with the process's own number. What was made is taken down when the block ends,
also after an error or an interrupt; processes are found by their group, so none but ours is ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PERIOD_US = 100_000
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def trouble() -> str:
    """Why no testbed can be set up here; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces and CPU quotas"
    probe = f"sfl{os.getpid()}p"
    try:
        run("ip", "netns", "add", probe)
        try:
            run("ip", "netns", "exec", probe, "tc", "qdisc", "add", "dev", "lo", "root", *tbf(1.0))
        finally:
            run("ip", "netns", "del", probe)
        Group(probe).remove()
    except FileNotFoundError as error:
        return f"needs the commands ip and tc: {error}"
    except subprocess.CalledProcessError as error:
        return f"no shaped network namespaces here: {error.stderr.strip()}"
    except OSError as error:
        return f"no CPU quotas here: {error}"
    return ""


def tbf(mbps: float) -> list[str]:
    return ["tbf", "rate", f"{mbps:g}mbit", "burst", "6kb", "latency", "400ms"]


class Group:
    """A control group: the processes of one host. Version 1 or 2, whichever is here."""

    def __init__(self, name: str) -> None:
        self.old = (V1 / "cpu.shares").exists() or (V1 / "cpu.cfs_period_us").exists()
        self.path = (V1 if self.old else V2) / name
        self.path.mkdir()
        weight = ("cpu.shares", "100000") if self.old else ("cpu.weight", "10000")
        self._write(*weight)  # before all else on this machine, within the quota

    def limit(self, cores: float) -> None:
        quota = round(PERIOD_US * cores)
        if self.old:
            self._write("cpu.cfs_period_us", str(PERIOD_US))
            self._write("cpu.cfs_quota_us", str(quota))
        else:
            self._write("cpu.max", f"{quota} {PERIOD_US}")

    def unlimit(self) -> None:
        self._write(*(("cpu.cfs_quota_us", "-1") if self.old else ("cpu.max", "max")))

    def pids(self) -> list[int]:
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def cpu_s(self) -> float:
        """CPU seconds of the processes that are here, and of those of them that have ended."""
        ticks = 0
        for pid in self.pids():
            with suppress(FileNotFoundError, ProcessLookupError):
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, stat[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Ends every process of the group, at once."""
        self.unlimit()
        for _ in range(100):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def remove(self) -> None:
        self.kill()
        self.path.rmdir()

    def _write(self, name: str, value: str) -> None:
        (self.path / name).write_text(value)


@dataclass(eq=False)
class Host:
    """One machine of the testbed. down_mbps, up_mbps: as the host sees them; 0: not shaped."""

    name: str
    address: str
    space: str
    group: Group
    outer: str  #: the link's end in the switch
    down_mbps: float = 0.0
    up_mbps: float = 0.0
    cpu: int | None = None  #: where its processes run; None: anywhere
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """A process on this host; its output is a pipe of lines."""
        join = f"echo $$ > {self.group.path}/cgroup.procs && exec ip netns exec {self.space} "
        process = subprocess.Popen(
            ["/bin/sh", "-c", join + '"$@"', "sh", *command],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=self._stay,
        )
        self.started.append(process)
        return process

    def _stay(self) -> None:
        """On one processor: a small quota that is spread over several is not given out whole."""
        if self.cpu is not None:
            os.sched_setaffinity(0, {self.cpu})


class Network:
    """Hosts, each on a link of its own, joined by a switch in a namespace of its own."""

    def __init__(self) -> None:
        self.mark = f"sfl{os.getpid()}"
        self.hosts: list[Host] = []
        self._stack = ExitStack()
        self.switch = f"{self.mark}x"

    def open(self) -> None:
        self._space(self.switch)
        self._in(self.switch, "ip", "link", "add", "name", "switch", "type", "bridge")
        self._in(self.switch, "ip", "link", "set", "switch", "up")

    def host(
        self, name: str, down_mbps: float = 0.0, up_mbps: float = 0.0, cpu: int | None = None
    ) -> Host:
        number = len(self.hosts) + 1
        space = self._space(f"{self.mark}{name}")
        inner, outer = "eth", f"v{number}"
        peer = ("peer", "name", inner, "netns", space)
        self._in(self.switch, "ip", "link", "add", "name", outer, "type", "veth", *peer)
        self._in(self.switch, "ip", "link", "set", outer, "master", "switch", "up")
        address = f"10.231.0.{number}"
        self._in(space, "ip", "addr", "add", f"{address}/24", "dev", inner)
        for device in (inner, "lo"):
            self._in(space, "ip", "link", "set", device, "up")
        if up_mbps:
            self._in(space, "tc", "qdisc", "add", "dev", inner, "root", *tbf(up_mbps))
        if down_mbps:
            self._in(self.switch, "tc", "qdisc", "add", "dev", outer, "root", *tbf(down_mbps))
        group = Group(f"{self.mark}{name}")
        self._stack.callback(group.remove)
        host = Host(name, address, space, group, outer, down_mbps, up_mbps, cpu)
        self.hosts.append(host)
        return host

    def cut(self, host: Host, *, whole: bool) -> None:
        """Takes a host's link down, or brings it back."""
        state = "up" if whole else "down"
        self._in(self.switch, "ip", "link", "set", host.outer, state)

    def moved_bytes(self, host: Host) -> tuple[int, int]:
        """Bytes to and from a host so far, all headers included."""
        found = self._in(self.switch, "ip", "-j", "-s", "link", "show", "dev", host.outer)
        stats = json.loads(found)[0]["stats64"]
        return stats["tx"]["bytes"], stats["rx"]["bytes"]

    def close(self) -> None:
        self._stack.close()

    def _space(self, name: str) -> str:
        self._stack.callback(run, "ip", "netns", "del", name)
        run("ip", "netns", "add", name)
        return name

    def _in(self, space: str, *command: str) -> str:
        return run("ip", "netns", "exec", space, *command)


@contextmanager
def network() -> Iterator[Network]:
    """A network that is gone after the block, which SIGINT, SIGTERM and SIGHUP end."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOPS}
    made = Network()
    try:
        made.open()
        yield made
    finally:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)  # the end itself is not interrupted
        made.close()
        for number, handler in before.items():
            signal.signal(number, handler)
