"""Power drawn while training and while the radio is busy, above idle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simfl.fleet.table import Table
from simfl.fleet.view import view
from simfl.units import NonNegative


class PowerOptions(Table):
    """Watts above idle; 0 where unknown."""

    train_w: NonNegative = 0.0
    radio_w: NonNegative = 0.0


class Energy:
    """The power of every device. options: one for each group."""

    def __init__(self, options: Sequence[PowerOptions], group: np.ndarray) -> None:
        self.group = group
        self._train_w = [one.train_w for one in options]
        self._radio_w = [one.radio_w for one in options]
        self._group = view(group)

    def train_w(self, device: int) -> float:
        """Watts while training."""
        return self._train_w[self._group[device]]

    def radio_w(self, device: int) -> float:
        """Watts while the link is busy, either way."""
        return self._radio_w[self._group[device]]

    def columns(self) -> dict[str, np.ndarray]:
        """Watts of each device."""
        return {
            "train_w": np.array(self._train_w)[self.group],
            "radio_w": np.array(self._radio_w)[self.group],
        }
