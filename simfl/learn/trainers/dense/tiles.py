"""Tiles of matrix products for Numba, their sums held in vector registers.

What Numba makes of loops keeps these sums in memory and takes three times as long. The vectors
have 16 floats whatever the machine's are: LLVM splits them where need be, so that an element's sum
has one order everywhere, and every product is added in one rounding (`llvm.fma`).

A tile has no bounds of its own; `add_product` and `apply_linear` in `products` check theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.types import Type
from numba.extending import intrinsic

from simfl.learn.trainers.dense.layout import LANES

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INT = types.intp

#: What an intrinsic is for Numba: its signature, and what makes its code.
Made = tuple[Any, Callable[..., Any]]


@intrinsic
def fma(context: Any, a: Type, b: Type, c: Type) -> Made:
    """A float32 a * b + c in one rounding."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fma(builder, *args)

    return types.float32(types.float32, types.float32, types.float32), code


@intrinsic(prefer_literal=True)
def add_tile(
    context: Any, rows: Any, vecs: Any, depth: Type,
    a: Type, a_at: Type, a_row: Type, a_col: Type,
    b: Type, b_at: Type, c: Type, c_at: Type, width: Type,
) -> Made:  # fmt: skip
    """Adds the sums over k of a[r, k] b[k, n] to c[r, n], for `rows` rows and `vecs` vectors.

    a starts at element a_at with strides a_row and a_col; b and c have rows of `width`.
    """
    cells = [(r, v) for r in range(rows.literal_value) for v in range(vecs.literal_value)]

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (_, _, depth, _, a_at, a_row, a_col, _, b_at, _, c_at, width) = args
        a, b, c = (_data(context, builder, signature, args, at) for at in (3, 7, 9))
        sums = {cell: _zero(builder) for cell in cells}
        with cgutils.for_range(builder, depth) as loop:
            b_row = builder.add(b_at, builder.mul(loop.index, width))
            vectors = [_load(builder, b, _plus(builder, b_row, v * LANES)) for v in _seconds(cells)]
            left = builder.add(a_at, builder.mul(loop.index, a_col))
            factors = [
                _spread(builder, a, _plus_rows(builder, left, r, a_row)) for r in _firsts(cells)
            ]
            for (r, v), place in sums.items():
                builder.store(_fma(builder, factors[r], vectors[v], builder.load(place)), place)
        for (r, v), place in sums.items():
            at = _plus(builder, _plus_rows(builder, c_at, r, width), v * LANES)
            _store(builder, builder.fadd(_load(builder, c, at), builder.load(place)), c, at)
        return context.get_dummy_value()

    return types.void(rows, vecs, _INT, a, _INT, _INT, _INT, b, _INT, c, _INT, _INT), code


@intrinsic(prefer_literal=True)
def dot_tile(
    context: Any, rows: Any, cols: Any, depth: Type, a: Type, a_at: Type, b: Type, b_at: Type,
    bias: Type, bias_at: Type, c: Type, c_at: Type, width: Type,
) -> Made:  # fmt: skip
    """Sets c[r, q] = bias[q] + a[r] . b[q], for `rows` rows of a and `cols` rows of b.

    The rows of a and b have `depth` elements, a multiple of LANES; those of c have `width`.
    """
    cells = [(r, q) for r in range(rows.literal_value) for q in range(cols.literal_value)]

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (_, _, depth, _, a_at, _, b_at, _, bias_at, _, c_at, width) = args
        a, b, bias, c = (_data(context, builder, signature, args, at) for at in (3, 5, 7, 9))
        sums = {cell: _zero(builder) for cell in cells}
        with cgutils.for_range_slice(builder, _int(0), depth, _int(LANES), depth.type) as (k, _):
            left, right = builder.add(a_at, k), builder.add(b_at, k)
            xs = [_load(builder, a, _plus_rows(builder, left, r, depth)) for r in _firsts(cells)]
            ys = [_load(builder, b, _plus_rows(builder, right, q, depth)) for q in _seconds(cells)]
            for (r, q), place in sums.items():
                builder.store(_fma(builder, xs[r], ys[q], builder.load(place)), place)
        for (r, q), place in sums.items():
            at = _plus(builder, _plus_rows(builder, c_at, r, width), q)
            whole = _total(builder, builder.load(place))
            own = builder.load(_element(builder, bias, _plus(builder, bias_at, q)), typ=_FLOAT)
            builder.store(builder.fadd(own, whole), _element(builder, c, at))
        return context.get_dummy_value()

    return types.void(rows, cols, _INT, a, _INT, b, _INT, bias, _INT, c, _INT, _INT), code


def _firsts(cells: list[tuple[int, int]]) -> range:
    return range(cells[-1][0] + 1)


def _seconds(cells: list[tuple[int, int]]) -> range:
    return range(cells[-1][1] + 1)


def _data(context: Any, builder: Any, signature: Any, args: Any, at: int) -> Any:
    """The address of an array argument's first element."""
    return context.make_array(signature.args[at])(context, builder, args[at]).data


def _element(builder: Any, data: Any, at: Any) -> Any:
    return builder.gep(data, [at], source_etype=_FLOAT)


def _load(builder: Any, data: Any, at: Any) -> Any:
    place = builder.bitcast(_element(builder, data, at), _VECTOR.as_pointer())
    return builder.load(place, align=4, typ=_VECTOR)


def _store(builder: Any, vector: Any, data: Any, at: Any) -> None:
    place = builder.bitcast(_element(builder, data, at), _VECTOR.as_pointer())
    builder.store(vector, place, align=4)


def _zero(builder: Any) -> Any:
    """A place for a vector, which LLVM makes a register; zero."""
    place = cgutils.alloca_once(builder, _VECTOR)
    builder.store(ir.Constant(_VECTOR, None), place)
    return place


def _spread(builder: Any, data: Any, at: Any) -> Any:
    """A vector of one element's value."""
    one = builder.load(_element(builder, data, at), typ=_FLOAT)
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), one, _lane(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    return builder.shuffle_vector(first, first, everywhere)


def _total(builder: Any, vector: Any) -> Any:
    """The sum of a vector: fours by fours, then by pairs."""
    four = _part(builder, vector, range(4))
    for start in range(4, LANES, 4):
        four = builder.fadd(four, _part(builder, vector, range(start, start + 4)))
    lanes = [builder.extract_element(four, _lane(i)) for i in range(4)]
    pairs = [builder.fadd(lanes[0], lanes[1]), builder.fadd(lanes[2], lanes[3])]
    return builder.fadd(*pairs)


def _part(builder: Any, vector: Any, lanes: range) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(map(_lane, lanes)))
    return builder.shuffle_vector(vector, vector, mask)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    name = "llvm.fma.f32" if a.type == _FLOAT else f"llvm.fma.v{LANES}f32"
    function = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


def _plus(builder: Any, at: Any, more: int) -> Any:
    return builder.add(at, _int(more))


def _plus_rows(builder: Any, at: Any, rows: int, width: Any) -> Any:
    return builder.add(at, builder.mul(_int(rows), width))


def _int(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


def _lane(index: int) -> Any:
    return ir.Constant(ir.IntType(32), index)
