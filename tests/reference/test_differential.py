"""The clock against the naive engine: the same scenarios, the same draws, the same ledger.

    python -m pytest -m study tests/reference

plays 20,000 scenarios: ten minutes of one core, half of it with `-n 2` on two that are idle.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from io import StringIO
from pathlib import Path
from token import NAME, NUMBER, OP, STRING
from tokenize import generate_tokens

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from reference.cases import CASES, FOUND
from reference.faults import FAULTS
from reference.playing import mismatch
from reference.worlds import Drawn, drawn

#: Scenarios of the study, in slices that can be played side by side.
SLICES, EACH = 20, 1_000

CHECKS = list(HealthCheck)

#: The files of the naive engine.
NAIVE = [
    Path(__file__).with_name(f"{name}.py")
    for name in ("engine", "filling", "server", "trip", "world")
]


@settings(max_examples=100, suppress_health_check=CHECKS)
@given(drawn(exact=True))
def test_where_numbers_are_exact_every_tie_is_a_tie_in_both(one: Drawn):
    assert not mismatch(one)[0]


@settings(max_examples=100, suppress_health_check=CHECKS)
@given(drawn(exact=False))
def test_the_ledger_is_that_of_looking_at_everything_at_every_instant(one: Drawn):
    assert not mismatch(one)[0]


@pytest.mark.parametrize("name", CASES)
def test_what_once_differed(name: str):
    assert mismatch(CASES[name]) == ("", False)


@pytest.mark.parametrize("name", FOUND)
def test_a_fault_that_is_put_back_is_found(name: str, monkeypatch: pytest.MonkeyPatch):
    assert mismatch(FOUND[name]) == ("", False)
    patch, _ = FAULTS[name]
    patch(monkeypatch)
    assert mismatch(FOUND[name])[0]


def test_every_fault_has_a_scenario_that_shows_it():
    assert FOUND.keys() == FAULTS.keys()


def test_the_naive_engine_owes_the_clock_nothing():
    """It imports nothing of what it is compared with."""
    assert not [path.name for path in NAIVE if "simfl.clock" in path.read_text("utf-8")]


def test_the_naive_engine_can_be_read_in_one_sitting():
    """At most 500 lines of code, beside docstrings, comments and blank lines."""
    assert sum(len(_code_lines(path.read_text("utf-8"))) for path in NAIVE) <= 500


def _code_lines(source: str) -> set[int]:
    places = [node for node in ast.walk(ast.parse(source)) if hasattr(node, "lineno")]
    said = [
        one for one in places if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
    ]
    tokens = generate_tokens(StringIO(source).readline)
    written = {t.start[0] for t in tokens if t.type in (NAME, NUMBER, OP, STRING)}
    return written - {line for one in said for line in range(one.lineno, (one.end_lineno or 0) + 1)}


@pytest.mark.study
@pytest.mark.parametrize("number", range(SLICES))
def test_no_mismatch_in_twenty_thousand_scenarios(number: int):
    tally: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=EACH, phases=[Phase.generate], database=None, suppress_health_check=CHECKS
    )
    @given(drawn())
    def play(one: Drawn) -> None:
        wrong, hair = mismatch(one)
        tally.update(scenarios=1, exact=one.exact, by_a_hair=hair)
        assert not wrong

    play()
    line = ", ".join(f"{name} {count}" for name, count in sorted(tally.items()))
    print(f"slice {number + 1} of {SLICES}: {line}", file=sys.__stderr__, flush=True)


@pytest.mark.study
@pytest.mark.parametrize("name", FAULTS)
def test_scenarios_by_chance_find_a_fault_that_is_put_back(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    patch, exact = FAULTS[name]
    patch(monkeypatch)

    @settings(
        max_examples=2_000, phases=[Phase.generate], database=None, suppress_health_check=CHECKS
    )
    @given(drawn(exact))
    def play(one: Drawn) -> None:
        assert not mismatch(one)[0]

    with pytest.raises(AssertionError):
        play()
