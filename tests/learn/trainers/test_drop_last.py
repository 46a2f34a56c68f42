"""A pass that leaves out its partial batch, under every trainer and on the clock."""

from __future__ import annotations

import pytest
import torch

import simfl


def played(trainer, batch_size, drop_last, epochs=2.0, timing=False):
    table = {
        "fleet": {"group": [{"compute": {"gflops": 1.0}, "count": 5}]},
        "learning": {
            "dataset": "digits",
            "model": {"kind": "mlp", "hidden": [8]},
            "batch_size": batch_size,
            "drop_last": drop_last,
            "trainer": trainer,
        },
        "strategy": {"kind": "fedavg", "cohort": 5, "epochs": epochs},
        "stop": {"versions": 2},
    }
    return simfl.run(table, timing=timing)


@pytest.mark.parametrize("trainer", ["batched", "compiled"])
def test_trainers_agree_on_which_batches_are_left_out(trainer):
    mine, reference = (played(kind, 100, True) for kind in (trainer, "one-by-one"))
    assert torch.allclose(mine.params.flat, reference.params.flat, atol=1e-5)
    assert not torch.allclose(mine.params.flat, played(trainer, 100, False).params.flat, atol=1e-4)


def test_what_is_left_out_takes_no_time_and_counts_as_an_epoch():
    """Of 288 examples or fewer 200 are used in batches of 100, with and without learning."""
    whole, part = (played("compiled", 100, drop_last).tasks for drop_last in (False, True))
    assert part.epochs.tolist() == whole.epochs.tolist() == [2.0] * 10
    ratio = (part.train_s / whole.train_s).to_numpy()
    assert ratio == pytest.approx((200 / whole.examples).to_numpy())
    timed = played("compiled", 100, True, timing=True).tasks
    assert timed.train_s.tolist() == part.train_s.tolist()


def test_the_only_batch_is_kept():
    a, b = (played("one-by-one", 1000, drop_last) for drop_last in (False, True))
    assert torch.equal(a.params.flat, b.params.flat)
