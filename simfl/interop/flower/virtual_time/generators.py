"""Global random generators while an app runs: seeded from the scenario, and put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class Generators:
    """The global generators of Python, numpy and, if it is there, torch: seeded and put back."""

    def __init__(self) -> None:
        self._kept: tuple[Any, ...] | None = None

    def lend(self, seed: int) -> None:
        """They start from this seed; how they stood before is kept until `put_back`."""
        torch = sys.modules.get("torch")
        if self._kept is None:
            tensors = None if torch is None else torch.default_generator.get_state()
            self._kept = random.getstate(), np.random.get_state(), tensors  # noqa: NPY002
        seed_all(seed)

    def put_back(self) -> None:
        """They go on as if nothing had been drawn since the first `lend`."""
        if self._kept is None:
            return
        (python, numpy, tensors), self._kept = self._kept, None
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if tensors is not None:
            sys.modules["torch"].default_generator.set_state(tensors)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Lent for a while."""
        self.lend(seed)
        try:
            yield
        finally:
            self.put_back()


def seed_all(seed: int) -> None:
    """Sets the global generators of Python, numpy and, if it is there, torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.manual_seed(seed)
