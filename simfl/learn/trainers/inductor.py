"""Batched steps through torch.compile: for models without a kernel of their own.

A graph is compiled for each shape, so there is one number of seats and those that are empty count
for nothing; graphs are kept in the user's cache from run to run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from functools import partial

import torch
from torch import Tensor

from simfl.errors import SimflError
from simfl.learn.trainers.kernels import Kernel, Slope
from simfl.learn.trainers.native import cache_dir

_CACHE = "TORCHINDUCTOR_CACHE_DIR"  # torch's own variable; its default is a temporary folder


class InductorKernel:
    """Another kernel's step as compiled code. Ask `cannot_compile_steps` first."""

    def __init__(self, kernel: Kernel) -> None:
        os.environ.setdefault(_CACHE, str(cache_dir() / "torch"))
        self.grain, self.even = kernel.grain, kernel.even
        self._kernel = kernel
        self._step = torch.compile(self._plain, dynamic=False, fullgraph=True)

    def bind(self, values: Tensor, slope: Tensor) -> Slope:
        return partial(self._told, values, slope)

    def _plain(self, values: Tensor, slope: Tensor, x: Tensor, y: Tensor, share: Tensor) -> Tensor:
        return self._kernel.bind(values, slope)(x, y, share)

    def _told(self, *tensors: Tensor) -> Tensor:
        try:
            losses: Tensor = self._step(*tensors)
        except Exception as error:
            raise SimflError(
                f"torch.compile failed on the batched step ({type(error).__name__}: "
                f'{str(error).splitlines()[0]}); set learning.trainer = "batched"'
            ) from error
        return losses


def cannot_compile_steps(device: torch.device | str) -> str | None:
    """Why torch.compile cannot work on this device; None if it can."""
    if torch.device(device).type == "cuda":
        return None if importlib.util.find_spec("triton") else "triton is not installed"
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    found = any(shutil.which(name) for name in names)
    return None if found else "no C++ compiler was found (CXX, c++, g++ or clang++)"
