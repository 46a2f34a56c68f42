"""Both engines on one scenario, and where their ledgers differ."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan, nextafter
from typing import Any

from reference.changing import Scripted, schedule
from reference.engine import Engine
from reference.trip import Trip
from reference.world import World
from reference.worlds import Drawn, Script, folder
from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.errors import Stalled
from simfl.messages import PHASES, Task
from simfl.scenario import Scenario, parse
from simfl.streams import Streams

#: Relative to the time of the run; and what rounding may move a moment by.
TOLERANCE, HAIR = 1e-9, 1e-11

EXACT = (
    *("device", "version", "applied_version", "outcome", "cause", "phase", "down_bytes"),
    *("up_bytes", "examples", "staleness", "epochs"),
)
TIMES = (
    *("dispatched_s", "download_s", "train_s", "upload_s", "ended_s", "staleness_s", "weight"),
)

#: A run: task rows by serial, versions as (time, updates), why it ended.
Run = tuple[dict[int, dict[str, Any]], list[tuple[float, int]], str]


def scenario_of(drawn: Drawn) -> Scenario:
    return parse(drawn.table, path=folder() / "world.toml")


def clocked(drawn: Drawn) -> Run:
    """What simfl's clock makes of it."""
    scenario, streams = scenario_of(drawn), Streams(drawn.table["seed"])
    tables: dict[str, list[dict[str, Any]]] = {"tasks": [], "versions": [], "events": []}

    def append(table: str, columns: Any) -> None:
        for values in zip(*columns.values(), strict=True):
            tables[table].append(dict(zip(columns, values, strict=True)))

    fleet, strategy = fleet_of(scenario, streams), strategy_of(drawn, scenario)
    workload = workload_of(scenario, problem_of(scenario, streams), streams, timing=True)
    cells = scenario.network.cell
    moves = bool(cells) and not any(cell.outages for cell in cells)
    processes = [Scripted(drawn.turns, moves)] if drawn.turns else []
    plan = plan_of(scenario)
    kernel = Kernel(fleet, workload, strategy, streams, plan, append, processes=processes)
    try:
        reason = kernel.run()
    except Stalled:
        reason = "stalled"
    moved = kernel.server.moved_bytes()
    kernel.close()
    tasks = tables["tasks"]
    assert moved == tuple(sum(row[way] for row in tasks) for way in ("down_bytes", "up_bytes"))
    versions = [(row["time_s"], row["updates"]) for row in tables["versions"]]
    return {row["task"]: row for row in tasks}, versions, reason


def naive(drawn: Drawn, hints: dict[int, tuple[float, int]] | None = None) -> Run:
    """What looking at everything at every instant makes of it. hints: see `_hint`."""
    scenario, streams = scenario_of(drawn), Streams(drawn.table["seed"])
    fleet, strategy = fleet_of(scenario, streams), strategy_of(drawn, scenario)
    sizes = workload_of(scenario, problem_of(scenario, streams), streams, timing=True)
    world = World(scenario, fleet, streams)
    engine = Engine(world, strategy, sizes, streams, scenario.stop)
    if hints is not None:
        engine.close, engine.moment = 0.0, Hints(engine, hints).moment
    schedule(engine, drawn.turns)
    engine.play()
    return {row[0].serial: _row(*row) for row in engine.rows}, engine.versions, engine.reason


@dataclass
class Hints:
    """Moments at which tasks are said to end, and the phase in which they were cut off; -1: none.

    Where only rounding parts such a moment from the one that the engine has computed, it stands
    instead: so it can be shown that nothing but rounding has decided what came first.
    """

    engine: Engine
    hints: dict[int, tuple[float, int]]

    def moment(self, trip: Trip, t: float, done: bool = False) -> float:
        """done: the task's part is over then, a hair later where the task is cut off in it."""
        end_s, cut = self.hints.get(trip.task.serial, (inf, -1))
        hint = max(self.engine.now_s, end_s)
        if hint == inf or abs(hint - t) > HAIR * max(1.0, hint):
            return t
        return nextafter(hint, inf) if done and trip.task.phase == cut else hint


def _row(
    task: Task, outcome: str, cause: str, version: int, used_s: float, weight: float
) -> dict[str, Any]:
    """As the ledger writes it."""
    used = outcome in ("applied", "in_flight")
    names = ("device", "version", "examples", "epochs", "dispatched_s", "ended_s")
    return {
        **{name: getattr(task, name) for name in names},
        **dict(zip(("download_s", "train_s", "upload_s"), task.phase_s, strict=True)),
        **dict(zip(("down_bytes", "up_bytes"), task.moved_bytes, strict=True)),
        "outcome": outcome,
        "phase": PHASES[min(task.phase, len(PHASES) - 1)],
        "cause": cause,
        "applied_version": version + 1 if outcome == "applied" else None,
        "staleness": version - task.version if used else None,
        "staleness_s": used_s - task.dispatched_s,
        "weight": weight,
    }


def strategy_of(drawn: Drawn, scenario: Scenario) -> Any:
    return scenario.strategy if drawn.script is None else Script(drawn.script)


def difference(found: Run, expected: Run) -> str:
    """The first in which two runs differ, "" if they do not."""
    (rows, versions, reason), (true_rows, true_versions, true_reason) = found, expected
    for serial in sorted(rows.keys() | true_rows.keys()):
        if serial not in rows or serial not in true_rows:
            return f"task {serial} is in one ledger only"
        row, true = rows[serial], true_rows[serial]
        for name in EXACT:
            if row[name] != true[name]:
                return f"task {serial}: {name} {row[name]!r}, not {true[name]!r}: {row} {true}"
        for name in TIMES:
            if not _close(row[name], true[name], true["ended_s"]):
                return f"task {serial}: {name} {row[name]!r}, not {true[name]!r}: {row} {true}"
    if [n for _, n in versions] != [n for _, n in true_versions]:
        return f"versions of {versions}, not {true_versions}"
    for (t, _), (true_t, _) in zip(versions, true_versions, strict=True):
        if not _close(t, true_t, true_t):
            return f"a version at {t!r} s, not {true_t!r} s"
    return "" if reason == true_reason else f"ended by {reason!r}, not {true_reason!r}"


def _close(a: float, b: float, scale: float) -> bool:
    return (isnan(a) and isnan(b)) or abs(a - b) <= TOLERANCE * max(1.0, scale, abs(b))


def mismatch(drawn: Drawn) -> tuple[str, bool]:
    """(difference, by a hair): what the clock gets wrong; whether rounding decided something.

    In exact worlds a tie is a tie. Elsewhere two moments that are one on paper may differ in
    their last bits, and what comes first is open: then the naive engine is played with the
    moments of the clock wherever they are its own but for rounding, and has to agree.
    """
    found = clocked(drawn)
    wrong = difference(found, naive(drawn))
    if not wrong or drawn.exact:
        return wrong, False
    wrong = difference(found, naive(drawn, {s: _hint(row) for s, row in found[0].items()}))
    return wrong, not wrong


def _hint(row: dict[str, Any]) -> tuple[float, int]:
    """When a task ended, and the phase in which something else than itself cut it off; -1: none."""
    own = row["outcome"] in ("delivered", "applied", "discarded")
    own = own or row["cause"] in ("drop-out", "suspended")
    return row["ended_s"], -1 if own else PHASES.index(row["phase"])
