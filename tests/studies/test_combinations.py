from __future__ import annotations

import pytest

from simfl.errors import InputError, ScenarioError
from simfl.scenario import parse
from simfl.studies.combinations import axis_of, column_names, labels, runs_of, words

ASYNC = {"kind": "fedasync", "concurrency": 4}


def test_every_combination_is_a_cell_and_seeds_vary_fastest(bench) -> None:
    runs = runs_of(parse(bench), None, [3, 4], {"strategy.buffer": [1, 2]})
    assert [dict(run.keys) for run in runs] == [
        {"strategy": "fedbuff", "buffer": buffer, "seed": seed}
        for buffer in (1, 2)
        for seed in (3, 4)
    ]
    assert [(c.scenario.strategy.buffer, c.scenario.seed) for c in runs] == [
        (1, 3), (1, 4), (2, 3), (2, 4)
    ]  # fmt: skip


def test_a_cell_is_the_run_that_one_would_write_by_hand(bench) -> None:
    """Its hash knows nothing of the study, so that studies share nothing but may be compared."""
    (run,) = runs_of(parse(bench), [ASYNC], [5], {})
    assert run.hash == parse({**bench, "seed": 5, "strategy": ASYNC}).hash


def test_the_scenario_s_own_sweep_counts(bench) -> None:
    swept = parse({**bench, "sweep": {"seed": [1, 2], "stop.versions": [3]}})
    runs = runs_of(swept, None, None, {})
    assert [list(run.keys.items()) for run in runs] == [
        [("strategy", "fedbuff"), ("stop.versions", 3), ("seed", seed)] for seed in (1, 2)
    ]
    assert all("sweep" not in run.scenario.resolved() for run in runs)


def test_a_labelled_strategy_may_change_more_than_the_strategy(bench) -> None:
    point = {"strategy": ASYNC, "wire.up": [{"kind": "quantize", "bits": 8}]}
    plain, quantized = runs_of(parse(bench), {"plain": ASYNC, "8 bit": point}, [0], {})
    assert (plain.keys["strategy"], quantized.keys["strategy"]) == ("plain", "8 bit")
    assert [len(run.scenario.wire.up) for run in (plain, quantized)] == [0, 1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([5, 20], [5, 20]),
        (["fedavg", {"kind": "fedbuff", "buffer": 3}], ["fedavg", "fedbuff"]),
        (
            [{"kind": "a", "x": 1, "y": 0}, {"kind": "a", "x": 2, "y": 0}, {"kind": "b", "y": 0}],
            ["a x=1", "a x=2", "b"],
        ),
        ([[], [{"kind": "topk", "keep": 0.1}, "f16"]], ["none", "topk keep=0.1 + f16"]),
        ([{"every_s": 5.0}, {}], ["every_s=5.0", "none"]),
    ],
)
def test_a_label_says_what_differs_and_no_more(values, said) -> None:
    assert labels(values) == said


def test_a_nested_part_is_named_by_its_kind() -> None:
    table = {"kind": "fedbuff", "local": {"kind": "proximal", "mu": 0.1}}
    assert words(table) == "fedbuff local=proximal mu=0.1"


def test_a_column_is_called_by_its_last_word_unless_that_is_taken() -> None:
    paths = ["strategy", "strategy.buffer", "stop.versions", "a.x", "b.x"]
    assert column_names(paths) == ["strategy", "buffer", "stop.versions", "a.x", "b.x"]


def test_nothing_and_the_same_twice_are_no_axes() -> None:
    with pytest.raises(InputError, match=r"strategy\.buffer: no value is given"):
        axis_of("strategy.buffer", [])
    with pytest.raises(InputError, match="appears twice"):
        axis_of("strategy", ["fedavg", {"kind": "fedavg"}])


def test_a_wrong_value_names_its_cell(bench) -> None:
    with pytest.raises(ScenarioError, match=r"study run \(.*buffer 0, seed 1\).*strategy\.buffer"):
        runs_of(parse(bench), None, [1], {"strategy.buffer": [1, 0]})
