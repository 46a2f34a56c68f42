"""Files that were damaged, by chance or by hand: told in one paragraph, or gone on without."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # fuzzing.py
import fuzzing

import simfl

TABLE: dict[str, Any] = {
    "name": "damaged",
    "fleet": {"group": [{"compute": {"kind": "exponential", "mean_s": 1.0}, "count": 4}]},
    "learning": {"dataset": "digits", "model": {"kind": "softmax"}},
    "strategy": {"kind": "fedbuff", "concurrency": 3, "buffer": 2},
    "evaluate": {"every_versions": 1},
    "checkpoint": {"every_s": 0.5},
    "stop": {"versions": 8},
}


def bad(cases: Iterator[fuzzing.Case], n: int) -> list[str]:
    """The first n cases that went wrong; all outcomes must have been met."""
    found = list(islice(cases, n))
    assert {case.outcome for case in found if not case.bad} == {fuzzing.TAKEN, fuzzing.REFUSED}
    return [fuzzing.shown(case) for case in found if case.bad]


def test_no_value_in_a_shipped_scenario_gives_a_traceback() -> None:
    assert bad(fuzzing.scenarios(random.Random(1)), 200) == []


def test_no_damaged_trace_gives_a_traceback(tmp_path: Path) -> None:
    assert bad(fuzzing.traces(random.Random(2), tmp_path), 300) == []


def test_no_log_however_it_was_written_gives_a_traceback(tmp_path: Path) -> None:
    assert bad(fuzzing.logs(random.Random(5), tmp_path), 200) == []


def test_no_damaged_run_folder_gives_a_traceback(tmp_path: Path) -> None:
    simfl.run(TABLE, out=tmp_path / "run")
    cases = fuzzing.run_folders(random.Random(3), tmp_path / "run", tmp_path / "spare")
    assert bad(cases, 30) == []


def test_a_run_goes_on_from_damaged_checkpoints_or_says_why_not(tmp_path: Path) -> None:
    assert bad(fuzzing.checkpoints(random.Random(4), TABLE, tmp_path), 30) == []


def test_the_fuzzers_see_what_is_wrong() -> None:
    """A net without meshes would catch nothing."""

    def work() -> str:
        raise KeyError("x")

    assert fuzzing.tried("", work).bad
    assert fuzzing.tried("", lambda: "digest 1, not 2").bad
    with pytest.raises(AssertionError):
        bad(iter([fuzzing.tried("", lambda: fuzzing.TAKEN)]), 1)
