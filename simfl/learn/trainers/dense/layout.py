"""Where a padded model and what is inside its layers lie; see `steps`."""

from __future__ import annotations

import numpy as np

LANES = 16  #: floats of a vector

IN, OUT, WIDE_IN, WIDE_OUT, WEIGHTS, BIAS, X, SLOPE = range(8)  #: columns of `layers`


def padded(n: int) -> int:
    """The next multiple of the vectors' length."""
    return (n + LANES - 1) // LANES * LANES


def laid_out(widths: tuple[int, ...], batch: int) -> tuple[np.ndarray, int, int]:
    """`layers` (len(widths), 8) int64, the padded model's size, and that of what is inside.

    WEIGHTS, BIAS: where they begin in a padded model. X, SLOPE: where a layer's inputs and the
    slopes at them begin, (batch, WIDE_IN) each. The last row holds the logits as its inputs.
    """
    layers = np.zeros((len(widths), 8), np.int64)
    model = inner = 0
    for at, width in enumerate(widths):
        out = widths[at + 1] if at + 1 < len(widths) else 0
        bias = model + out * padded(width)
        places = inner, inner + batch * padded(width)
        layers[at] = (width, out, padded(width), padded(out), model, bias, *places)
        model = bias + padded(out)
        inner += 2 * batch * padded(width)
    return layers, model, inner
