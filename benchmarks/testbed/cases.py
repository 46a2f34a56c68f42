"""What is deployed, and measured: six clients of three kinds, and what is done to them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from deployment import Client

#: Two clients of each kind: slow, middle and fast. Their quotas add up to 0.9 of a core.
KINDS = {
    "slow": Client(cores=0.10, down_mbps=8.0, up_mbps=4.0),
    "middle": Client(cores=0.15, down_mbps=20.0, up_mbps=8.0),
    "fast": Client(cores=0.20, down_mbps=50.0, up_mbps=16.0),
}
CLIENTS = [kind for kind in KINDS for _ in range(2)]


@dataclass(frozen=True)
class Case:
    """down_mbps, up_mbps: of the server, as the clients see it; 0: not shaped.

    killed, cut: a client, and the second after the app's start at which its processes are killed,
    or its link is taken away for `cut_s`.
    """

    about: str
    config: str = ""
    down_mbps: float = 0.0
    up_mbps: float = 0.0
    killed: tuple[int, float] = (-1, inf)
    cut: tuple[int, float] = (-1, inf)
    cut_s: float = 20.0
    calibrates: bool = False

    @property
    def run_config(self) -> str:
        return f"clients={len(CLIENTS)} {self.config}".strip()


#: What is measured in order to know the constants. No case is judged by a run of its own.
CALIBRATION = {
    "empty": Case("an empty task of 4 kB", "elements=1000 work=0.0 rounds=4", calibrates=True),
    "heavy": Case("an empty task of 20 MB", "elements=5000000 work=0.0 rounds=1", calibrates=True),
}

CASES = {
    "a": Case("clients alone"),
    "b": Case("the server sends at 8 and receives at 5 Mbit/s", down_mbps=8.0, up_mbps=5.0),
    "small": Case("a model of 0.02 MB", "elements=5000"),
    "large": Case("a model of 16 MB", "elements=4000000 rounds=2"),
    "killed": Case("a client is killed while it trains", killed=(0, 45.0)),
    "cut": Case("a link is cut for 20 s", "elements=4000000 rounds=1", cut=(0, 40.0)),
    "timeout": Case("a round's timeout cuts the slowest off", "timeout=24.0 rounds=4"),
    "loop": Case("an asynchronous loop of the app's own", 'mode="asynchronous"'),
}
