"""What a data set may be made of: arrays are converted where that is safe, or refused.

Safe is what changes no value: arrays of any kind become tensors on the CPU, float16 and float64
features, pixels and flags (uint8, bool) become float32, whole numbers of any width become int64.
Everything else raises DataError in one sentence that names the data set, the field, what was found
and what is expected. A field of another kind of learning joins with a function of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.errors import DataError, first_line
from simfl.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def features(name: str, field: str, given: Any, *, tokens: bool = False) -> Tensor:
    """(n, ...) float32 features, or int64 tokens.

    Whole numbers wider than a byte stay whole numbers, for models that look them up.
    tokens: the field holds nothing else.
    Raises DataError.

    >>> features("mine", "x", np.zeros((4, 2))).dtype
    torch.float32
    """
    values = as_tensor(name, field, given)
    if values.dtype.is_complex:
        raise _refused(name, field, values, "real numbers")
    if values.dtype.is_floating_point:
        if tokens:
            raise _refused(name, field, values, "(n, T) int64 tokens, for `sequence` is set")
        return _numbers(name, field, values)
    if values.dtype in (torch.uint8, torch.bool) and not tokens:
        return _numbers(name, field, values)
    if not values.ndim or not values[:1].numel():
        raise _refused(name, field, values, "(n, T) int64 tokens with at least one per example")
    return values.to(torch.int64)


def labels(name: str, field: str, given: Any, *, sequence: bool = False) -> Tensor:
    """(n,) int64 classes, or (n, T) next tokens of sequences. Raises DataError.

    >>> labels("mine", "y", [True, False, True])
    tensor([1, 0, 1])
    """
    values = as_tensor(name, field, given)
    wanted = "(n, T) int64 next tokens" if sequence else "(n,) int64 classes"
    if values.dtype.is_floating_point or values.dtype.is_complex:
        rows = values.ndim == 2 and values.shape[1] > 1
        raise _refused(name, field, values, wanted, f"y.{'argmax(1)' if rows else 'long()'}")
    if not sequence and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]  # a column of a table
    if values.ndim != 1 + sequence:
        one_hot = not sequence and values.ndim == 2
        raise _refused(name, field, values, wanted, "y.argmax(1)" if one_hot else "")
    return values.to(torch.int64).contiguous()


def values(name: str, field: str, given: Any) -> Tensor:
    """(n,) or (n, k) float32 targets: values to predict, or flags of several labels at once.

    Raises DataError.

    >>> values("mine", "y", [[1, 0, 1]])
    tensor([[1., 0., 1.]])
    """
    made = as_tensor(name, field, given)
    if made.dtype.is_complex or made.ndim not in (1, 2) or not made[:1].numel():
        raise _refused(name, field, made, "(n,) or (n, k) numbers, for `classes` is None")
    return _finite(name, field, made.to(torch.float32)).contiguous()


def users(name: str, given: Any, examples: int) -> np.ndarray:
    """(n,) the owner of each training example. Raises DataError."""
    found = np.asarray(given)
    if found.shape != (examples,):
        raise DataError(
            f"{name}: users has shape {found.shape}, expected ({examples},): one owner for each "
            "training example"
        )
    return found


def as_tensor(name: str, field: str, given: Any) -> Tensor:
    """Any array as a dense tensor of numbers on the CPU, without a gradient. Raises DataError."""
    if isinstance(given, torch.Tensor):
        if given.layout != torch.strided or given.is_quantized or given.is_meta:
            raise _refused(name, field, given, "a dense tensor with values")
        return (given.detach() if given.requires_grad else given).cpu()
    try:
        return torch.from_numpy(_native(np.asarray(given)))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        kind = getattr(given, "dtype", None)
        what = type(given).__name__ + (f" of {kind}" if kind is not None else "")
        raise DataError(
            f"{name}: {field} is a {what} that is no array of numbers ({first_line(error)}), "
            "expected a torch tensor, a numpy array, or what numpy makes one of"
        ) from error


def _native(array: np.ndarray) -> np.ndarray:
    """In a type that torch has, in this machine's byte order, writable and without holes."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        if array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise OverflowError(f"{array.max()} does not fit into int64")
        array = array.astype(np.int64)
    elif array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    return array if array.flags.writeable else array.copy()


def _numbers(name: str, field: str, values: Tensor) -> Tensor:
    """float32 features, all of them finite."""
    if values.ndim < 2 or not values[:1].numel():
        hint = f"{field}[:, None]" if values.ndim == 1 else ""
        raise _refused(name, field, values, "(n, ...) with at least one number per example", hint)
    return _finite(name, field, values.to(torch.float32))


def _finite(name: str, field: str, made: Tensor) -> Tensor:
    if bool(made.sum().isfinite()) or bool(made.isfinite().all()):
        return made
    rows = (~made.isfinite()).reshape(len(made), -1).any(1).nonzero().flatten()
    raise DataError(
        f"{name}: {field} has {len(rows)} example(s) with numbers that are not finite in float32, "
        f"the first of them at row {int(rows[0])}: expected finite numbers"
    )


def _refused(name: str, field: str, found: Tensor, wanted: str, hint: str = "") -> DataError:
    kind = str(found.dtype).removeprefix("torch.")
    layout = "" if found.layout == torch.strided else f"{found.layout} ".removeprefix("torch.")
    advice = f", as in {hint.replace('y.', f'{field}.', 1)}" if hint else ""
    return DataError(
        f"{name}: {field} has shape {tuple(found.shape)} and holds {layout}{kind}, "
        f"expected {wanted}{advice}"
    )
