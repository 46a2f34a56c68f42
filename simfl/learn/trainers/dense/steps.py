"""Local SGD of a chain of linear layers with ReLU between them and cross-entropy at its end.

One call of `train` makes all the steps of one job. Weights lie as PyTorch has them, (out, in) row
by row and then the bias, but every row is padded with zeros to a multiple of 16 floats, so that no
loop has a rest. Sums are taken in an order that depends on the layer's shape alone, and nothing is
reordered (no fast-math), so that a NaN stays one and a result repeats itself.

Importing this module imports Numba and compiles `train`, or loads it from the cache.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, float64, int32, int64, njit, types

from simfl.learn.trainers.dense.layout import (
    BIAS,
    IN,
    OUT,
    SLOPE,
    WEIGHTS,
    WIDE_IN,
    WIDE_OUT,
    X,
)
from simfl.learn.trainers.dense.products import add_product, apply_linear
from simfl.learn.trainers.dense.tiles import fma

_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)


# One mini-batch.


@njit
def _cross_entropy(z: np.ndarray, label: int, scale: float) -> float:
    """Turns a row of logits into `scale` times the slope of its loss; returns the loss."""
    top = z[0]
    for value in z:
        top = value if value > top else top
    own = z[label] - top
    total = _ZERO
    for c in range(len(z)):
        z[c] = np.float32(math.exp(z[c] - top))
        total += z[c]
    factor = scale / total
    for c in range(len(z)):
        z[c] *= factor
    z[label] -= scale
    return float64(np.float32(math.log(total)) - own)


# Comparisons are written so that a NaN stays one.


@njit
def _relu(x: np.ndarray) -> None:
    for i in range(len(x)):
        x[i] = _ZERO if x[i] < _ZERO else x[i]


@njit
def _mask(slope: np.ndarray, x: np.ndarray) -> None:
    for i in range(len(slope)):
        slope[i] = _ZERO if x[i] <= _ZERO else slope[i]


@njit
def _gather(first: np.ndarray, x: np.ndarray, batch: np.ndarray, inner: np.ndarray) -> None:
    """Copies the examples of a mini-batch to where the first layer's inputs are."""
    for r in range(len(batch)):
        place, row = first[X] + r * first[WIDE_IN], batch[r]
        into = inner[place : place + first[IN]]
        for i in range(len(into)):
            into[i] = x[row, i]


@njit
def _score(
    last: np.ndarray, y: np.ndarray, batch: np.ndarray, scale: float, inner: np.ndarray,
    losses: np.ndarray,
) -> None:  # fmt: skip
    """Turns the logits into slopes; adds up losses and their squares."""
    for r in range(len(batch)):
        place = last[X] + r * last[WIDE_IN]
        loss = _cross_entropy(inner[place : place + last[IN]], y[batch[r]], scale)
        losses[0] += loss
        losses[1] += loss * loss


@njit
def _forward(layers: np.ndarray, rows: int, w: np.ndarray, inner: np.ndarray) -> None:
    """Fills in the inputs of all layers but the first, and the logits."""
    last = len(layers) - 2
    for at in range(last + 1):
        layer, start = layers[at], layers[at + 1, X]
        out, depth, width = layer[OUT], layer[WIDE_IN], layer[WIDE_OUT]
        apply_linear(rows, out, depth, inner, layer[X], w, layer[WEIGHTS], layer[BIAS],
                     inner, start, width)  # fmt: skip
        if at < last:
            _relu(inner[start : start + rows * width])


@njit
def _backward(
    layers: np.ndarray, rows: int, w: np.ndarray, g: np.ndarray, inner: np.ndarray, one: np.ndarray
) -> None:
    """Adds the gradients of weights and biases to g; the slopes at the logits stand in inner."""
    last = len(layers) - 2
    for at in range(last, -1, -1):
        layer = layers[at]
        slope = layers[at + 1, X] if at == last else layers[at + 1, SLOPE]
        if at > 0:
            first, size = layer[SLOPE], rows * layer[WIDE_IN]
            inner[first : first + size] = _ZERO
            add_product(rows, layer[WIDE_IN], layer[OUT], inner, slope, layer[WIDE_OUT], 1,
                        w, layer[WEIGHTS], inner, first)  # fmt: skip
            _mask(inner[first : first + size], inner[layer[X] : layer[X] + size])
        add_product(layer[OUT], layer[WIDE_IN], rows, inner, slope, 1, layer[WIDE_OUT],
                    inner, layer[X], g, layer[WEIGHTS])  # fmt: skip
        add_product(1, layer[WIDE_OUT], rows, one, 0, 0, 0, inner, slope, g, layer[BIAS])


@njit
def _move(
    w: np.ndarray, g: np.ndarray, v: np.ndarray, base: np.ndarray, b: np.ndarray,
    momentum: float, decay: float, clip: float, lr: float, a: float,
) -> None:  # fmt: skip
    """w -= lr v, with v = momentum v + (clipped g + decay w) + a (w - base) + b."""
    factor = _ONE
    if clip > _ZERO:
        square = 0.0
        for value in g:
            square += np.float64(value) * np.float64(value)
        factor = min(_ONE, clip / (np.float32(math.sqrt(square)) + np.float32(1e-6)))
    for i in range(len(w)):
        g[i] = fma(factor, g[i], decay * w[i])
    for i in range(len(base)):
        g[i] = fma(a, w[i] - base[i], g[i])
    for i in range(len(b)):
        g[i] += b[i]
    for i in range(len(w)):
        v[i] = fma(momentum, v[i], g[i])
        w[i] = fma(-lr, v[i], w[i])


# A model in and out of its padded form.


@njit
def _unpack(layers: np.ndarray, flat: np.ndarray, to: np.ndarray) -> None:
    at = 0
    for layer in layers[:-1]:
        for o in range(layer[OUT] + 1):  # the bias is the last
            n = layer[IN] if o < layer[OUT] else layer[OUT]
            start = layer[WEIGHTS] + o * layer[WIDE_IN]
            to[start : start + n] = flat[at : at + n]
            at += n


@njit
def _pack(layers: np.ndarray, model: np.ndarray, minus: np.ndarray, to: np.ndarray) -> None:
    at = 0
    for layer in layers[:-1]:
        for o in range(layer[OUT] + 1):
            n = layer[IN] if o < layer[OUT] else layer[OUT]
            start = layer[WEIGHTS] + o * layer[WIDE_IN]
            to[at : at + n] = model[start : start + n]
            at += n
    for i in range(len(minus)):
        to[i] -= minus[i]


_FLOATS = types.Array(float32, 1, "C")
_INTS = types.Array(int64, 1, "C")

#: Of `steps`, which is compiled for these types alone.
SIGNATURE = types.void(
    types.Array(int64, 2, "C"), types.Array(float32, 2, "C"), _INTS, int64, _FLOATS, _FLOATS,
    _FLOATS, types.Array(int32, 1, "C"), int64, _FLOATS, _FLOATS, _FLOATS, _FLOATS, _FLOATS,
    types.Array(float64, 1, "C"),
)  # fmt: skip


def steps(
    layers: np.ndarray, x: np.ndarray, y: np.ndarray, size_of_batch: int, options: np.ndarray,
    start: np.ndarray, minus: np.ndarray, order: np.ndarray, n: int, base: np.ndarray,
    b: np.ndarray, scratch: np.ndarray, one: np.ndarray, end: np.ndarray, losses: np.ndarray,
) -> None:  # fmt: skip
    """Trains one job. Arrays that may be empty then count for nothing.

    layers: of `laid_out`.
    x, y: (examples, features) float32 and (examples,) int64, the whole data set.
    size_of_batch, n: examples of a mini-batch, and of the device.
    options: (5,) float32: learning rate, momentum, weight decay, norm to clip at or 0, and a.
    start: (P,) float32, the model at first.
    minus: (P,) or empty, taken off at the end.
    order: (seen,) int32, rows of the data set, pass after pass over the n local ones.
    base, b: (P,) or empty: a (w - base) + b is added to each gradient.
    scratch: float32, five padded models and what is inside.
    one: (1,) float32 of one.
    end: (P,) float32, filled in.
    losses: (2,) float64, filled in: sum and sum of squares.
    """
    lr, momentum, decay, clip, a = options[0], options[1], options[2], options[3], options[4]
    last = layers[-1]
    inside = last[SLOPE] + size_of_batch * last[WIDE_IN]
    size = last[WEIGHTS]
    written = momentum > 0 or decay > 0 or clip > 0 or len(base) > 0 or len(b) > 0
    inner, outer = scratch[:inside], scratch[inside:]
    inner[:] = _ZERO
    outer[: size * (5 if written else 1)] = _ZERO
    w = outer[:size]
    g = outer[size : 2 * size] if written else w  # or straight into the model
    v = outer[2 * size : 3 * size]
    own_base = outer[3 * size : 4 * size] if len(base) else outer[:0]
    own_b = outer[4 * size : 5 * size] if len(b) else outer[:0]
    _unpack(layers, start, w)
    if len(base):
        _unpack(layers, base, own_base)
    if len(b):
        _unpack(layers, b, own_b)
    losses[:] = 0.0
    at, seen = 0, len(order)
    while at < seen:
        rows = min(n - at % n, size_of_batch, seen - at)
        if written:
            g[:] = _ZERO
        batch = order[at : at + rows]
        _gather(layers[0], x, batch, inner)
        _forward(layers, rows, w, inner)
        _score(last, y, batch, (_ONE if written else -lr) / np.float32(rows), inner, losses)
        _backward(layers, rows, w, g, inner, one)
        if written:
            _move(w, g, v, own_base, own_b, momentum, decay, clip, lr, a)
        at += rows
    _pack(layers, w, minus, end)
