"""The loops and costs of a deployment, and what Flower's own source says of them.

    deployment = "flower-1.42"
    deployment = { kind = "flower-1.42", launch_cpu_s = 1.1, request_cpu_s = [0.05, 0.1] }

A SuperNode asks for work at intervals; a process is started for every message while it is still
being downloaded; the SuperNode looks for the reply at intervals; the server app looks at intervals,
too, and where a reply is announced and not here yet, waits for it in growing steps. Intervals
follow from Flower's source, CPU seconds from a measurement (see docs/flower.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simfl.errors import ScenarioError
from simfl.registry import Registry
from simfl.units import Count, Fraction, Index, NonNegative, Positive, Seconds

Pair = tuple[Seconds, Seconds]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Loops and costs of a deployment; all off.

    CPU seconds are of one core, of which a device has `train_gflops / core_gflops`; a device whose
    `compute` is a law in seconds has one core.

    ask_s: seconds between two questions of a device without work.
    launch: when a device begins to start a process, which takes the set-up time of its class.
    launch_cpu_s: CPU seconds that starting a process takes, beside the class's set-up time.
    launch_sigma: natural-log spread of a process's start between tasks; its mean stays.
    launch_ask_s: seconds between two looks for a process to start.
    reply_cpu_s: CPU seconds from the end of training to a reply that can be seen on the device.
    reply_ask_s: seconds between two looks for the reply, from the end of the download on.
    request_cpu_s: CPU seconds of a message's requests, (down, up).
    copy_cpu_s_per_mb: CPU seconds of copies and hashes per 10^6 bytes of message: of the daemon
        while a process starts, and of the process before its training and before its reply.
    idle_share: of a core, that a device's daemons take at all times.
    pull_s: seconds between two looks of the server app for replies; 0: it hears of them at once.
    pull_backoff_s: first and longest wait for an object of an announced reply; each wait doubles
        the last.
    pull_jitter: by how much such a wait is longer or shorter at most.
    object_bytes: largest object in which arrays travel.
    streams: objects that travel at a time.
    notice_s: from a device's loss to the server's hearing of it, at least and at most.
    session_s: from the loss of a device that uploads to the server's giving up on the reply.
    message_bytes: beside the message itself, (down, up).
    header_share: of the bytes, added by the layers below.
    core_gflops: GFLOP/s of a whole core, in the unit of the fleet's `compute`.
    """

    ask_s: Seconds = 0.0
    launch: Literal["before-training", "beside-download"] = "before-training"
    launch_cpu_s: Seconds = 0.0
    launch_sigma: NonNegative = 0.0
    launch_ask_s: Seconds = 0.0
    reply_cpu_s: Seconds = 0.0
    reply_ask_s: Seconds = 0.0
    request_cpu_s: Pair = (0.0, 0.0)
    copy_cpu_s_per_mb: tuple[Seconds, Seconds, Seconds] = (0.0, 0.0, 0.0)
    idle_share: Fraction = 0.0
    pull_s: Seconds = 0.0
    pull_backoff_s: Pair = (0.0, 0.0)
    pull_jitter: Fraction = 0.0
    object_bytes: Count = 2**62
    streams: Count = 1
    notice_s: Pair = (0.0, 0.0)
    session_s: Seconds = 0.0
    message_bytes: tuple[Index, Index] = (0, 0)
    header_share: NonNegative = 0.0
    core_gflops: Positive = 1.0

    def __post_init__(self) -> None:
        for name in ("pull_backoff_s", "notice_s"):
            low, high = getattr(self, name)
            if low > high:
                raise ScenarioError(f"{name} = [{low:g}, {high:g}]: expected the smaller one first")

    def facts(self) -> str:
        """What is added, in words, for `simfl explain`."""
        parts = [
            (self.ask_s, f"a device asks for work each {self.ask_s:g} s"),
            (self.launch == "beside-download", "starts a process beside the download"),
            (self.launch_ask_s, f"{self.launch_ask_s:g} s between looks for one to start"),
            (self.launch_cpu_s, f"which takes {self.launch_cpu_s:g} CPU s"),
            (self.reply_ask_s, f"looks for the reply each {self.reply_ask_s:g} s"),
            (sum(self.request_cpu_s), f"requests take {_both(self.request_cpu_s)} CPU s"),
            (sum(self.copy_cpu_s_per_mb), f"copies {sum(self.copy_cpu_s_per_mb):g} CPU s a MB"),
            (self.idle_share, f"its daemons take {self.idle_share:.2%} of a core"),
            (self.pull_s, f"the server app looks each {self.pull_s:g} s"),
            (
                self.pull_backoff_s[1],
                f"waits {_range(self.pull_backoff_s)} s for what is announced",
            ),
            (self.notice_s[1], f"a loss is noticed after {_range(self.notice_s)} s"),
            (sum(self.message_bytes), f"a message has {_both(self.message_bytes)} B more"),
            (self.header_share, f"headers add {self.header_share:.1%}"),
        ]
        return "; ".join(words for on, words in parts if on) or "none"


@dataclass(frozen=True, kw_only=True)
class Flower142(Deployment):
    """The loops of Flower 1.42 (HTTP).

    SuperNode: `start_client_internal` sleeps 3 s without work and 0.5 s without a reply. SuperExec:
    1 s between two looks. `HttpGrid.send_and_receive`: 3 s; `pull_objects`: two objects at a time,
    each waited for 1, 2, 4, 8, 10 s, give or take 20 %; arrays travel in objects of at most 5 MiB.
    Heartbeats come each 17.5 to 22.5 s, and a node counts as there until 60 s after its last one.
    An upload that stands still is given up after 180 s.
    """

    ask_s: Seconds = 3.0
    launch: Literal["before-training", "beside-download"] = "beside-download"
    launch_ask_s: Seconds = 1.0
    reply_ask_s: Seconds = 0.5
    pull_s: Seconds = 3.0
    pull_backoff_s: Pair = (1.0, 10.0)
    pull_jitter: Fraction = 0.2
    object_bytes: Count = 5_242_880
    streams: Count = 2
    notice_s: Pair = (37.5, 60.0)
    session_s: Seconds = 180.0


@dataclass(frozen=True, kw_only=True)
class Flower122(Flower142):
    """The loops of Flower 1.22 (gRPC): those of 1.42, but heartbeats each 21 to 27 s, and a wait of
    two hours for an upload that stands still."""

    notice_s: Pair = (33.0, 60.0)
    session_s: Seconds = 7200.0


HOME = "simfl.interop.flower.deployment.options"
DEPLOYMENTS = Registry(
    "deployment",
    "simfl.deployments",
    {
        "loops": f"{HOME}:Deployment",
        "flower-1.22": f"{HOME}:Flower122",
        "flower-1.42": f"{HOME}:Flower142",
    },
)


def _both(pair: tuple[float, float]) -> str:
    return f"{pair[0]:g} down and {pair[1]:g} up"


def _range(pair: Pair) -> str:
    return f"{pair[0]:g} to {pair[1]:g}"
