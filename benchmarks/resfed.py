"""What ResFed's coding costs beside the training that it serves, in the same run.

    python benchmarks/resfed.py

A residual of 1,020,160 parameters is encoded in both directions, and decoded on the other side,
against one local epoch of its CNN on 500 images. CPU seconds on one thread, medians of
alternating rounds; read the ratio, for machines differ.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import build
from simfl.learn.models.cnn5 import Cnn5
from simfl.learn.models.flat import params_of
from simfl.learn.partition.base import Partition
from simfl.learn.trainers.jobs import Job, LocalData, TrainingOptions
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne, single_thread
from simfl.params import Params
from simfl.strategy.base import LocalRule
from simfl.streams import Streams
from simfl.wire.codec import Wire
from simfl.wire.resfed import ResFed

ROUNDS = 3
IMAGES, BATCH = 500, 64
RNG = np.random.default_rng(0)  # never drawn from


def photographs() -> Dataset:
    """Noise of CIFAR-10's shape: what is learnt does not matter here."""
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, 3, 32, 32, generator=noise)
    y = torch.arange(IMAGES) % 10
    return Dataset("noise", x, y, x[:1], y[:1], 10)


def trainer_of(dataset: Dataset, model: torch.nn.Module) -> OneByOne:
    everything = Partition.from_sizes(np.arange(IMAGES), np.array([IMAGES]))
    options = TrainingOptions(batch_size=BATCH, lr=0.01, momentum=0.9)
    data = LocalData(dataset, everything)
    return OneByOne(Local(model, data, options, LocalRule(), Streams(0)))


def one_way(codec: ResFed, up: bool, models: list[Params]) -> tuple[float, float, Wire]:
    """CPU seconds to encode and to decode the last of these models, after the ones before it."""
    direction = "up" if up else "down"
    sent = kept = codec.begin(direction, models[0])
    for model, heard in zip(models, models[1:] + models[:1], strict=True):
        sent, kept = (codec.overhear(memory, heard) for memory in (sent, kept))
        message = model - heard if up else model
        wire, encode_s = timed(codec.encode, message, sent, RNG)
        (_, kept), decode_s = timed(codec.decode, wire.payload, model.layout, kept)
        sent = wire.delivered
    return encode_s, decode_s, wire


def timed(work: Callable, *given: Any) -> tuple[Any, float]:
    """What it returns, and the CPU seconds that it took."""
    start = time.process_time()
    result = work(*given)
    return result, time.process_time() - start


def main() -> None:
    dataset = photographs()
    model = build(Cnn5(), dataset, 0)
    start, trainer, codec = params_of(model), trainer_of(dataset, model), ResFed(keep=0.05)
    epochs, encodes, decodes = [], [], []
    with single_thread():
        models = [start]
        for round_ in range(ROUNDS):
            job = Job(base=models[-1], device=0, index=round_, epochs=1)
            (trained,), seconds = timed(trainer.train, [job])
            epochs.append(seconds)
            models.append(models[-1] + trained.report.delta)
            ways = [one_way(codec, up, models[-3:]) for up in (False, True)]
            encodes.append(sum(way[0] for way in ways))
            decodes.append(sum(way[1] for way in ways))
    report(start, epochs, encodes, decodes, ways[1][2])


def report(
    start: Params, epochs: list[float], encodes: list[float], decodes: list[float], wire: Wire
) -> None:
    print(f"{start.layout.trainable:,} parameters, CPU seconds, medians of {ROUNDS} rounds")
    for name, seconds in [
        (f"one local epoch on {IMAGES} images", epochs),
        ("encoding, down and up", encodes),
        ("decoding, down and up", decodes),
    ]:
        print(f"  {name:<40} {statistics.median(seconds):>8.3f}")
    ratios = [e / t for e, t in zip(encodes, epochs, strict=True)]
    print(f"  {'encoding / epoch (at most 1)':<40} {statistics.median(ratios):>8.4f}")
    print(f"  {'wire bytes of a residual, buffers included':<40} {wire.nbytes:>8,}")


if __name__ == "__main__":
    main()
