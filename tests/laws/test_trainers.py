"""How a run is computed shows in its last digits at most, and how it is divided not even there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import simfl
from simfl.learn import trainers
from simfl.results.result import Result

RULES = [
    {"kind": "fedavg", "cohort": 4},
    {"kind": "fedavg", "cohort": 4, "local": {"kind": "proximal", "mu": 0.3}},
    {"kind": "fedbuff", "concurrency": 5, "buffer": 2},
    {"kind": "fedbuff", "concurrency": 5, "buffer": 2, "local": {"kind": "proximal", "mu": 0.3}},
    {"kind": "scaffold", "cohort": 3},
    {"kind": "feddyn", "cohort": 3},
]
CODECS = [[], [{"kind": "topk", "keep": 0.2}], [{"kind": "quantize", "bits": 8}]]


@st.composite
def scenarios(draw: st.DrawFn, codecs: list[Any] = CODECS) -> dict[str, Any]:
    """Small runs on uneven data, with losses, pauses, and batches of all kinds."""
    groups = [
        {
            "count": draw(st.integers(2, 5)),
            "compute": {"kind": "exponential", "mean_s": draw(st.sampled_from([1.0, 30.0]))},
            "network": {"down_mbps": 20.0, "up_mbps": 5.0, "latency_s": 0.05},
            "faults": {"drop_probability": draw(st.sampled_from([0.0, 0.4]))},
        }
        for _ in range(2)
    ]
    return {
        "name": "trainers",
        "seed": draw(st.integers(0, 99)),
        "fleet": {"group": groups},
        "learning": {
            "dataset": "digits",
            "partition": {"kind": "dirichlet", "alpha": draw(st.sampled_from([0.1, 10.0]))},
            "model": {"kind": "mlp", "hidden": draw(st.sampled_from([[], [9], [20, 5]]))},
            "batch_size": draw(st.sampled_from([7, 40, 1000])),
            "momentum": draw(st.sampled_from([0.0, 0.5])),
            "lr": 0.05,
        },
        "strategy": {**draw(st.sampled_from(RULES)), "epochs": draw(st.sampled_from([0.5, 1, 2]))},
        "wire": {"up": draw(st.sampled_from(codecs))},
        "stop": {"versions": 3},
    }


def played(table: dict[str, Any], trainer: str, **options: Any) -> Result:
    return simfl.run({**table, "learning": {**table["learning"], "trainer": trainer}}, **options)


@given(scenarios(codecs=[[]]))
@settings(max_examples=12)
def test_every_trainer_gives_the_same_run_but_for_rounding(table: dict[str, Any]) -> None:
    reference = played(table, "one-by-one")
    for trainer in ("batched", "compiled"):
        result = played(table, trainer)
        columns = ["task", "device", "version", "ended_s", "outcome", "up_bytes", "staleness"]
        assert result.tasks[columns].equals(reference.tasks[columns])
        far = result.params - reference.params
        assert far.norm() <= 1e-5 * reference.params.norm()


@given(scenarios())
@settings(max_examples=12)
def test_a_digest_does_not_depend_on_who_trains_beside_whom(table: dict[str, Any]) -> None:
    together = played(table, "batched").digest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers, "_HELD_BYTES", 1)
        patch.setattr(trainers, "_CHUNK_MAX", {"cpu": 1})
        alone = played(table, "batched").digest
    assert alone == together


@pytest.mark.parametrize(
    ("trainer", "counts"), [("compiled", (1, 2)), ("batched", (1, 4)), ("one-by-one", (1, 2))]
)
def test_a_digest_does_not_depend_on_the_number_of_workers(
    trainer: str, counts: tuple[int, ...]
) -> None:
    table = {
        "name": "workers",
        "fleet": {"group": [{"count": 12, "compute": {"kind": "exponential", "mean_s": 3.0}}]},
        "learning": {"dataset": "digits", "model": {"kind": "mlp", "hidden": [9]}},
        "strategy": {"kind": "fedbuff", "concurrency": 8, "buffer": 3, "local": "proximal"},
        "wire": {"up": [{"kind": "quantize", "bits": 4}]},
        "stop": {"versions": 6},
    }
    digests = {played(table, trainer, workers=count).digest for count in counts}
    assert len(digests) == 1
    assert played(table, trainer).digest in digests


def test_the_summary_says_who_trained_and_why() -> None:
    table = {
        "name": "told",
        "fleet": {"group": [{"count": 2, "compute": {"kind": "constant", "s": 1.0}}]},
        "learning": {"dataset": "digits", "model": "softmax", "trainer": "one-by-one"},
        "strategy": {"kind": "fedavg", "cohort": 2},
        "stop": {"versions": 1},
    }
    assert simfl.run(table).summary["trainer"] == "one-by-one: as asked"
    assert torch.get_num_threads() == 1
