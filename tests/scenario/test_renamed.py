"""Options under older names are read as before, with a warning that gives today's."""

from __future__ import annotations

from typing import Any

import pytest

from simfl.scenario import load, parse

QUICK = load("quickstart").resolved()
SHIFT = {"first": 2, "last": 9}
STALE = {"kind": "gradientinversion", "cohort": 10}


def learning(**more: Any) -> dict[str, Any]:
    return {**QUICK, "learning": {**QUICK["learning"], **more}}


def test_learning_drift_is_learning_shift() -> None:
    with pytest.warns(FutureWarning, match=r"learning\.drift is called learning\.shift now"):
        old = parse(learning(drift=SHIFT))
    assert old.hash == parse(learning(shift=SHIFT)).hash


def test_an_override_may_use_the_older_name() -> None:
    with pytest.warns(FutureWarning):
        old = parse(learning(), {"learning.drift": SHIFT})
    assert old.learning.shift is not None
    assert old.learning.shift.last == 9


def test_a_sweep_may_use_the_older_name() -> None:
    with pytest.warns(FutureWarning, match=r"called learning\.shift\.last now"):
        old = parse({**learning(shift=SHIFT), "sweep": {"learning.drift.last": [5, 9]}})
    assert list(old.sweep) == ["learning.shift.last"]


def test_the_cells_of_a_sketch_are_bins() -> None:
    with pytest.warns(FutureWarning, match=r"strategy\.cells is called strategy\.bins now"):
        old = parse({**QUICK, "strategy": {**STALE, "cells": 64}})
    assert old.strategy.bins == 64


def test_another_strategy_has_no_such_option() -> None:
    with pytest.raises(Exception, match=r"strategy\.cells is not an option of fedbuff"):
        parse({**QUICK, "strategy": {"kind": "fedbuff", "concurrency": 5, "buffer": 2, "cells": 3}})
