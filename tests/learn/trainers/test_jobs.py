from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simfl.learn.trainers.jobs import batches
from simfl.streams import Streams

STREAMS = Streams(11)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 30))
def test_each_epoch_passes_once_over_everything(n: int, batch_size: int, steps: int) -> None:
    drawn = list(batches(STREAMS, 3, 0, n, batch_size, steps))
    assert len(drawn) == steps
    per_epoch = -(-n // batch_size)
    for start in range(0, steps - per_epoch + 1, per_epoch):
        epoch = np.concatenate(drawn[start : start + per_epoch])
        assert sorted(epoch.tolist()) == list(range(n))
    assert all(len(batch) == batch_size for i, batch in enumerate(drawn) if (i + 1) % per_epoch)


def test_epochs_are_shuffled_differently() -> None:
    first, second = batches(STREAMS, 3, 0, 30, 30, 2)
    assert first.tolist() != second.tolist()


def test_mini_batches_depend_on_nothing_that_was_drawn_before() -> None:
    lone = [b.tolist() for b in batches(Streams(5), 2, 7, 20, 6, 9)]
    streams = Streams(5)
    streams.uniforms("task", 2, 7)
    list(batches(streams, 1, 7, 20, 6, 9))
    assert [b.tolist() for b in batches(streams, 2, 7, 20, 6, 9)] == lone


def test_more_steps_only_append_batches() -> None:
    short = [b.tolist() for b in batches(STREAMS, 0, 0, 20, 6, 4)]
    long = [b.tolist() for b in batches(STREAMS, 0, 0, 20, 6, 9)]
    assert long[:4] == short
