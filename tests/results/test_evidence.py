"""How much a comparison says, held to what tables of statistics say."""

from __future__ import annotations

from math import inf, isnan, nan

import numpy as np
import pandas as pd
import pytest

from simfl.results.evidence import mean_and_spread, profile, scores, signed_rank
from simfl.results.stats import at_target, how_made, target_table


def p_of(*ratios: float) -> float:
    return signed_rank(np.array(ratios), np.array(ratios))


def test_the_test_is_wilcoxon_s_where_there_are_no_ties() -> None:
    from scipy.stats import wilcoxon

    rng = np.random.default_rng(5)
    for n in (4, 9, 20):
        ratios = np.exp(rng.normal(0.3, 1.0, n))
        assert p_of(*ratios) == pytest.approx(wilcoxon(np.log(ratios), mode="exact").pvalue)


def test_no_difference_is_no_evidence_and_all_alike_is_the_most_there_can_be() -> None:
    assert p_of(1.0, 1.0, 1.0) == 1.0
    assert p_of(2.0, 0.5) == 1.0
    assert p_of(*[2.0] * 6) == pytest.approx(2.0**-5)
    assert isnan(p_of())


def test_a_side_does_not_matter() -> None:
    ratios = np.array([1.5, 0.8, 2.0, 3.0])
    assert p_of(*ratios) == pytest.approx(p_of(*(1 / ratios)))


def test_censoring_hides_a_difference_and_makes_none() -> None:
    """Where both missed the target, nothing is known; where one did, its bound counts."""
    low, high = np.array([2.0, 2.0, 2.0, 0.0]), np.array([2.0, inf, 2.0, inf])
    assert signed_rank(low, high) == pytest.approx(p_of(2.0, 2.0, 2.0, 1.0))
    assert signed_rank(low, high) > p_of(2.0, 2.0, 2.0, 2.0)


def test_a_spread_is_that_of_a_sample() -> None:
    assert mean_and_spread(pd.Series([0.8, 0.9])) == "85.0 ± 7.1"  # 0.05 * sqrt(2)
    assert mean_and_spread(pd.Series([0.8])) == "80.0"
    assert mean_and_spread(pd.Series([nan])) == "-"


def test_scores_stand_side_by_side() -> None:
    table = pd.DataFrame(
        {
            "variant": ["a", "a", "b"],
            "final_accuracy": [0.5, 0.7, 0.4],
            "last10_accuracy": [0.6, 0.6, 0.4],
            "best_accuracy": [0.8, 0.8, 0.9],
        }
    )
    found = scores(table)
    assert found.loc["a"].tolist() == ["2", "60.0 ± 14.1", "60.0 ± 0.0", "80.0 ± 0.0"]
    assert found.loc["b"].tolist() == ["1", "40.0", "40.0", "90.0"]


def costs(**seconds: list[float]) -> pd.DataFrame:
    rows = [
        {"strategy": name, "variant": name, "seed": seed, "seconds": abs(s), "met": s > 0}
        for name, column in seconds.items()
        for seed, s in enumerate(column)
    ]
    return pd.DataFrame(rows).assign(
        **dict.fromkeys(("versions", "down_bytes", "up_bytes", "device_s", "energy_j"), 1.0)
    )


def test_a_profile_counts_problems_solved_within_a_factor_of_the_best() -> None:
    """Three problems: a is best in one, b in one (a misses it), nobody solves the third."""
    found = profile(costs(a=[10.0, -50.0, -50.0], b=[20.0, 5.0, -50.0]), "strategy", ["seed"])
    lines = found.pivot(index="ratio", columns="strategy", values="share")
    assert lines.index.tolist() == [1.0, 2.0]
    assert lines["a"].tolist() == [pytest.approx(1 / 3)] * 2
    assert lines["b"].tolist() == [pytest.approx(1 / 3), pytest.approx(2 / 3)]


def test_every_table_of_costs_says_how_it_was_made() -> None:
    found = at_target(costs(a=[10.0, 20.0, 30.0], b=[5.0, 9.0, 16.0]), "a")
    assert found.loc["b", "p"] == 0.25
    assert target_table(found)["p"].tolist() == ["-", "0.25"]
    said = how_made(found, "a")
    assert "refer to a" in said
    assert "cannot be below 0.25" in said
    assert "Speed-ups" not in how_made(found.loc[["a"]], "a")
