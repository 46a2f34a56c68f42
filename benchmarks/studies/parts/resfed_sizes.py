"""Sizes of residuals of 1,020,160 parameters, which hardly depend on their values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import build
from simfl.learn.models.cnn5 import Cnn5
from simfl.learn.models.flat import params_of
from simfl.params import Layout
from simfl.wire.codec import Wire, as_params
from simfl.wire.resfed import ResFed

SPARSITIES = (0.90, 0.95, 0.99, 0.995, 0.999)
WHOLE_BITS = 32 * 1_020_160  # what can be trained, in full


def ratios() -> pd.DataFrame:
    """Full model to residual by s: as predicted, as its authors count, in bytes, of the message."""
    layout = _cnn()
    bare = Layout((("model", (layout.trainable,)),), layout.trainable)
    rows: dict[str, dict[str, str]] = {}
    for q in (1, 4):
        for s in SPARSITIES:
            part, whole = residual(bare, s, q), residual(layout, s, q)
            assert part.paper_bits is not None
            said = {
                "predicted": predicted(s, q),
                "counted": 32 * bare.size / part.paper_bits,
                "wire": 4 * bare.size / part.nbytes,
                "wire, with running statistics": 4 * layout.size / whole.nbytes,
            }
            for what, ratio in said.items():
                rows.setdefault(f"q = {q}, {what}", {})[f"s = {s:g}"] = f"{ratio:.4g}"
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("ratio")


def counted_ratio(s: float, q: int) -> float:
    """As the authors count, for the CNN's trainable parameters."""
    n = _cnn().trainable
    bits = residual(Layout((("model", (n,)),), n), s, q).paper_bits
    assert bits is not None
    return 32 * n / bits


def predicted(s: float, q: int) -> float:
    """32 bits over 16 of run length, one more and about q of code, for (1 - s) / 2 of them."""
    return 32 / ((17 + q) * (1 - s) / 2)


def residual(layout: Layout, s: float, q: int) -> Wire:
    """A message that follows one model in full; normal noise."""
    codec = ResFed(rule=0, keep=round(1 - s, 4), bits=q)
    rng = np.random.Generator(np.random.Philox(key=1))
    memory = None
    for _ in range(2):
        noise = as_params(rng.standard_normal(layout.size, dtype=np.float32), layout)
        wire = codec.encode(noise, memory, rng)
        memory = wire.delivered
    return wire


def _cnn() -> Layout:
    x, y = torch.zeros(1, 3, 32, 32), torch.tensor([9])
    return params_of(build(Cnn5(), Dataset("blank", x, y, x, y, 10), 0)).layout
