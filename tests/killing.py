"""Runs that die by SIGKILL at chosen moments, and go on from what they left.

`Executioner` starts a process that imports simfl once and forks for every run, so that a kill costs
no more than the run. A moment is counted, not timed, so that it is the same on every machine: the
n-th tick of the run, a tick being an event of its clock, a call to train, a step of the strategy,
an evaluation, or an operation on a file of the run folder; or the n-th of these while the run is
finished off. A kill comes before the operation that would be the n-th. `after_s` kills from
outside instead, whatever the run is doing.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: What a run is doing; the innermost counts.
PHASES = ("set-up", "clock", "step", "training", "evaluation", "rows", "checkpoint", "finishing")

_FILE_EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}


@dataclass(frozen=True)
class Moment:
    """When to kill: at a tick of the whole run, or of its finishing, or after so many seconds."""

    tick: int = 0
    finishing: int = 0
    after_s: float = 0.0


@dataclass(frozen=True)
class Death:
    """How a run ended. killed: else it came to its end. ticks, finishing: how many there were."""

    killed: bool
    phase: str
    ticks: int
    finishing: int
    wall_s: float


class Executioner:
    """A process that plays runs in children of its own. Close it at the end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=-1, stdout=-1, text=True, bufsize=1
        )

    def play(self, scenario: Path, out: Path, moment: Moment | None = None) -> Death:
        """Plays or resumes the run in `out`, up to its end or to this moment."""
        given = None if moment is None else asdict(moment)
        order = {"scenario": str(scenario), "out": str(out), "moment": given}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise AssertionError(answer["error"])
        return Death(**answer)

    def close(self) -> None:
        self._process.communicate()


def moments_of(whole: Death, kills: int, rng: random.Random) -> list[Moment]:
    """Random moments, the last of them while the run is finished off; all of them will come."""
    along = [Moment(tick=rng.randint(1, whole.ticks // (kills + 1))) for _ in range(kills - 1)]
    return [*along, Moment(finishing=rng.randint(1, whole.finishing))]


# In the child.


class Ticker:
    """Counts ticks and kills this process at the chosen one. What it says survives the process."""

    def __init__(self, moment: Moment, memory: mmap.mmap, out: str) -> None:
        self._moment = moment
        self._cells = memoryview(memory).cast("q")
        self._out = out
        self._finishing = False

    def phase(self) -> int:
        return self._cells[0]

    def enter(self, phase: int) -> None:
        self._cells[0] = phase

    def tick(self, n: int = 1) -> None:
        cells = self._cells
        cells[1] += n
        cells[2] += n * self._finishing
        if cells[1] == self._moment.tick or (n and cells[2] == self._moment.finishing > 0):
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, given: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS and str(given[0]).startswith(self._out):
            self.tick()

    def around(self, owner: Any, name: str, phase: str, ticks: int = 1) -> None:
        """The function counts as a tick, and while it runs the phase is this one."""
        inner, number = getattr(owner, name), PHASES.index(phase)

        def outer(*args: Any, **options: Any) -> Any:
            before = self.phase()
            self._finishing = self._finishing or phase == "finishing"
            self.enter(number)
            self.tick(ticks)
            try:
                return inner(*args, **options)
            finally:
                self.enter(before)

        setattr(owner, name, outer)


def watch(ticker: Ticker) -> None:
    """Every part of a run that is worth dying in ticks."""
    from simfl.clock.evaluations import Evaluations
    from simfl.clock.events import Clock
    from simfl.clock.kernel import Kernel
    from simfl.engine import record
    from simfl.engine.checkpoints import saving
    from simfl.engine.workload import Learning
    from simfl.results.store import Store

    ticker.around(Kernel, "run", "clock")
    ticker.around(Clock, "advance", "clock")
    ticker.around(Kernel, "_step", "step")
    ticker.around(Evaluations, "_metrics", "evaluation")
    ticker.around(Learning, "_train", "training")
    ticker.around(Store, "_flush", "rows", ticks=0)
    ticker.around(saving, "save", "checkpoint", ticks=0)
    ticker.around(record, "finish", "finishing", ticks=0)
    sys.addaudithook(ticker.audit)


def die(order: dict[str, Any], moment: Moment, memory: mmap.mmap) -> None:
    """Plays the run of an order in this process, which ends here."""
    code = 0
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        watch(Ticker(moment, memory, order["out"]))
        os.fsync = lambda handle: None  # SIGKILL leaves the page cache as it is
        import simfl

        simfl.run(order["scenario"], out=order["out"], resume=True)
    except BaseException:
        Path(order["out"] + ".error").write_text(traceback.format_exc(), "utf-8")
        code = 1
    finally:
        os._exit(code)


# In the server.


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Forks a child for an order, kills it from outside if that is the order, and tells its end."""
    moment = Moment(**(order["moment"] or {}))
    memory, begun = mmap.mmap(-1, 64), time.perf_counter()
    child = os.fork()
    if child == 0:
        die(order, moment, memory)
    if moment.after_s:
        time.sleep(moment.after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and os.waitstatus_to_exitcode(status):
        return {"error": Path(order["out"] + ".error").read_text("utf-8")}
    cells = memoryview(memory).cast("q")
    return {
        "killed": killed,
        "phase": PHASES[cells[0]],
        "ticks": cells[1],
        "finishing": cells[2],
        "wall_s": time.perf_counter() - begun,
    }


def serve() -> None:
    """Obeys orders, a line each, until there are no more."""
    import torch
    from sklearn import datasets

    import simfl

    torch.set_num_threads(1)
    datasets.load_digits()
    warm = {"name": "warm", "stop": {"versions": 1}, "strategy": {"kind": "fedavg", "cohort": 1}}
    fleet = {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 1}]}
    simfl.run(
        {**warm, "fleet": fleet, "learning": {"dataset": "digits", "model": {"kind": "softmax"}}}
    )
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line))), flush=True)


@contextmanager
def executioner() -> Iterator[Executioner]:
    one = Executioner()
    try:
        yield one
    finally:
        one.close()


Play = Callable[[Path, Path, Moment | None], Death]

if __name__ == "__main__":
    serve()
