"""The tree: a file name means one thing, and a folder can be read at a glance."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

import simfl

ROOT = Path(simfl.__file__).parent

#: Every room may have one of these.
EVERYWHERE = {"__init__", "__main__", "base"}

#: Rooms whose files are named after the file that they draw, check or stand in for.
MIRRORS = ("results/plots", "results/verify", "engine/verify", "interop/flower")

#: The same thing in two rooms: what it is, and who makes or shows it.
SAME_THING = {
    "build": "options become a fleet; a scenario becomes a kernel",
    "catalogue": "device classes, and the commands that show them",
    "edges": "who is under which edge, what a strategy sees of it, and how it is checked and shown",
    "draws": "random numbers of a group, and of a task",
    "given": "objects handed over in Python: data sets and models",
    "metrics": "measures of a run, and of a model on its targets",
    "strategy": "the server's side of a method in a folder of its own",
    "structure": "a model's structure, and how it is found in a module",
    "study": "the study as it is played, and as it is read",
    "traces": "traces, and how other formats become traces",
    "tuning": "the tuning as it is played, and as it is read",
    "workload": "what the clock asks for, and who answers",
}

#: Most files of a folder, `__init__` and `__main__` aside, where ten are not enough.
MOST = 10
LARGER = {
    "clock/living": (11, "one file for each thing that a changing world needs"),
    ".": (13, "leaves and public names"),
    "clock": (14, "one file each for what a run has one of: a clock, a server, a ledger"),
    "engine": (12, "one file for each thing that a run begins with, and for what it holds"),
    "fleet": (15, "one file for each kind of column, for devices that join, for chargers, edges"),
    "interop/flower": (11, "app, client, grid and strategy, and how they are played"),
    "learn/datasets": (15, "one file for each kind of source"),
    "learn/models": (11, "one file for each family of models"),
    "learn/trainers": (13, "one file for each trainer, and what they share"),
    "results": (22, "one file for each question that is asked of the tables"),
    "strategy/methods": (18, "one file a method"),
}


def modules() -> list[Path]:
    return [path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.py"))]


def folders() -> dict[str, int]:
    count: dict[str, int] = defaultdict(int)
    for module in modules():
        count[module.parent.as_posix()] += module.stem not in ("__init__", "__main__")
    return count


def test_a_file_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for module in modules():
        if module.stem not in EVERYWHERE and not module.as_posix().startswith(MIRRORS):
            homes[module.stem].append(module.as_posix())
    repeated = {name: files for name, files in homes.items() if len(files) > 1}
    assert {n: f for n, f in repeated.items() if n not in SAME_THING} == {}
    assert set(SAME_THING) - set(repeated) == set(), "of these there is only one by now"


@pytest.mark.parametrize("folder", sorted(folders()))
def test_a_folder_can_be_read_at_a_glance(folder: str) -> None:
    most, _ = LARGER.get(folder, (MOST, ""))
    assert folders()[folder] <= most


def test_an_exception_for_a_folder_is_needed() -> None:
    count = folders()
    assert {folder: count[folder] for folder in LARGER if count[folder] <= MOST} == {}
