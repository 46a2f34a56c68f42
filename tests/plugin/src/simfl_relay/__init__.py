"""A strategy, a local rule and a codec from somewhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simfl.strategy.aggregation import mean
from simfl.strategy.base import LocalRule, Wait
from simfl.units import Positive
from simfl.wire.chain import Stage


@dataclass(frozen=True)
class Relay:
    """Pass one model from device to device: cyclic weight transfer.

    Chang et al., Journal of the American Medical Informatics Association 25(8), 2018.
    """

    reference: ClassVar[str] = "Chang et al., JAMIA 25(8), 2018"

    epochs: Positive = 1.0
    local: LocalRule = LocalRule()

    def init(self, params):
        return {"next": 0}

    def step(self, state, server, updates):
        if updates:
            server.apply(mean(updates))
        there = server.candidates().tolist()
        if there:
            device = min(there, key=lambda i: (i - state["next"]) % server.devices)
            server.dispatch([device], epochs=self.epochs)
            state["next"] = device + 1
        return Wait()


@dataclass(frozen=True)
class Signed(LocalRule):
    """Follow the sign of each gradient, times `size`."""

    size: Positive = 0.1

    def correct(self, grad, y, context):
        return grad.sign() * self.size


@dataclass(frozen=True)
class Coarse(Stage):
    """Multiples of `step` in a byte each, clipped."""

    step: Positive = 0.01
    last = True

    def left(self, sizes):
        return ()

    def side_nbytes(self, sizes):
        return sum(sizes)

    def shrink(self, x, sizes, rng):
        return np.clip(np.rint(x / self.step), -127, 127).astype(np.int8).tobytes(), x[:0]

    def grow(self, side, rest, sizes):
        return np.frombuffer(side, np.int8) * np.float32(self.step)
