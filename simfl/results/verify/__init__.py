"""Does a run folder hold what a run can have done? Its own ledger is replayed and checked.

Each law is a function from the run's tables to what is wrong with them, None if nothing is. Laws
read what was written and know nothing of the engine that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simfl.results.result import Result
from simfl.results.verify import (
    edges,
    energy,
    evaluations,
    events,
    moved,
    summary,
    tasks,
    travel,
    versions,
)
from simfl.results.verify.subject import Tables, Unchecked, plays_an_app, tables_of

__all__ = ["LAWS", "SUMMARY_LAWS", "Check", "Unchecked", "checked", "plays_an_app", "verify"]


@dataclass(frozen=True)
class Check:
    """One law.

    wrong: what breaks it, or None.
    unchecked: why it could not be checked, or None.
    """

    law: str
    wrong: str | None
    unchecked: str | None = None


#: Of the tables.
LAWS: dict[str, Callable[[Tables], str | None]] = {
    "every task has one row": tasks.serials,
    "outcomes, causes and phases are possible": tasks.words,
    "phases follow each other to the task's end": tasks.time_order,
    "the run's end cuts off what is in flight": tasks.ends,
    "a device has one task at a time": tasks.one_at_a_time,
    "tasks belong to devices of the fleet": tasks.devices,
    "tasks do the work that the strategy asks for": tasks.work,
    "numbers of tasks are in their ranges": tasks.ranges,
    "versions and evaluations are in order of time": versions.in_order,
    "a task carries the version of its dispatch": versions.at_dispatch,
    "staleness is the lag in versions and in seconds": versions.staleness,
    "staleness is conserved": versions.conserved,
    "versions count the updates that entered them": versions.contributions,
    "events are changes of the world in order of time": events.rows,
    "versions of edges count the updates that entered them": edges.versions,
    "models travel between edges and cloud in turn": travel.travel,
    "bytes move in their phase": moved.in_phase,
    "totals so far are those of the tasks": moved.so_far,
    "energy is power times time": energy.power,
    "no battery gives more than it held and took in": energy.batteries,
    "metrics are in their ranges": evaluations.ranges,
    "the newest version is evaluated": evaluations.versions,
    "evaluations are those that the scenario asks for": evaluations.asked_for,
    "the target ends the run": evaluations.target,
}

#: Of the summary of a finished run.
SUMMARY_LAWS: dict[str, Callable[[Result], str | None]] = {
    "the summary is that of the tables": summary.numbers,
    "name and seed are the scenario's": summary.played,
    "the run ended as it says": summary.ended,
    "models alive are those that tasks needed": summary.models,
    "the digest is that of the tables and the model": summary.digests,
}


def verify(run: Result) -> list[Check]:
    """Every law, checked on a run. Raises InputError if its tables cannot be read."""
    tables = tables_of(run)
    found = [checked(law, wrong, tables) for law, wrong in LAWS.items()]
    if run.finished:
        return found + [checked(law, wrong, run) for law, wrong in SUMMARY_LAWS.items()]
    return found + [Check(law, None, "the run is unfinished") for law in SUMMARY_LAWS]


def checked(law: str, wrong: Callable[[Any], str | None], subject: Any) -> Check:
    """A law that cannot even be asked, for what it reads makes no sense, is broken.

    Forged numbers may be infinite; what becomes of them in sums is no concern of the reader's.
    """
    try:
        with np.errstate(all="ignore"):
            return Check(law, wrong(subject))
    except Unchecked as why:
        return Check(law, None, str(why))
    except Exception as error:
        return Check(law, f"cannot be checked: {type(error).__name__}: {error}")
