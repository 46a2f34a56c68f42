"""Every strategy has a scenario that shows it, and every such scenario runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import simfl
from simfl.strategy import STRATEGIES

FOLDER = Path(__file__).parents[2] / "scenarios" / "strategies"
FILES = sorted(FOLDER.glob("*.toml"))

#: Searches are shortened: what they find is tested elsewhere.
SHORTER = {"gradientinversion": {"strategy.iterations": 10, "strategy.warm_iterations": 5}}


def test_every_shipped_strategy_has_a_scenario():
    shown = {path.stem for path in FILES} | {path.stem for path in FOLDER.parent.glob("*.toml")}
    assert set(STRATEGIES.shipped) - shown == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_says_what_it_shows_and_runs(path):
    assert path.read_text("utf-8").startswith("# ")
    assert simfl.load(path).name == path.stem
    result = simfl.run(path, **{"stop.versions": 3, **SHORTER.get(path.stem, {})})
    assert result.summary["versions"] >= 3
    assert result.summary["applied"] > 0
