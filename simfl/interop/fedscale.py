"""FedScale's pickles: device capacities, and when devices were charging (Lai et al., ICML 2022).

Capacities are {id: {"computation": ms, "communication": kbit/s}}: milliseconds of inference on one
image with MobileNet, and one bandwidth for both directions. Behaviour is {id: {"active": [s, ...],
"inactive": [s, ...], "finish_time": s}}: sessions by their starts and ends, again after
finish_time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simfl.errors import TraceError
from simfl.fleet.traces import Trace
from simfl.interop.flash import Span, joined, presence
from simfl.interop.plain_pickle import load_plain

#: FLOP of one inference that the capacities were measured with: MobileNet V2 at 224 x 224.
INFERENCE_FLOPS = 0.6e9

_SOURCE = "FedScale (Lai et al., ICML 2022)"


def read(path: Path, *, inference_flops: float = INFERENCE_FLOPS) -> Trace:
    """The trace in one of FedScale's two files, whichever it is. Raises TraceError.

    inference_flops: of the inference that `computation` timed. FedScale takes training as three
    inferences, as simfl counts three times the FLOP, so the rate is the same for both.
    """
    if not 1.0 <= inference_flops < 1e15:
        raise TraceError(f"inference_flops = {inference_flops:g}, expected from 1 to 1e15")
    devices = load_plain(path)
    if not isinstance(devices, dict) or not devices:
        raise TraceError(f"{path}: expected a table of devices, not {type(devices).__name__}")
    first = next(iter(devices.values()))
    names = set(first) if isinstance(first, dict) else set()
    try:
        if {"computation", "communication"} <= names:
            return _capacities(devices, inference_flops)
        if {"active", "inactive", "finish_time"} <= names:
            return _behaviour(devices)
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from error
    raise TraceError(
        f"{path}: the first device has {sorted(map(str, names))}, expected computation and "
        "communication, or active, inactive and finish_time"
    )


def _capacities(devices: Mapping[Any, Any], inference_flops: float) -> Trace:
    rows = [
        (_number(d, "computation", who), _number(d, "communication", who))
        for who, d in devices.items()
    ]
    ms, kbps = np.array(rows, dtype=np.float64).T
    with np.errstate(divide="ignore"):
        gflops = inference_flops / ms / 1e6
    columns = {"train_gflops": gflops, "down_mbps": kbps / 1e3, "up_mbps": kbps / 1e3}
    return Trace("capacity", columns, {"source": _SOURCE, "inference_flops": inference_flops})


def _behaviour(devices: Mapping[Any, Any]) -> Trace:
    given = {who: _sessions(d, who) for who, d in devices.items()}
    kept = [(joined(spans, period_s), period_s) for spans, period_s, _ in given.values()]
    short = sum(_short(spans, period_s) for spans, period_s, _ in given.values())
    alone = sum(unpaired for _, _, unpaired in given.values())
    notes = [
        *[f"left out, for they are shorter than 10 ms or outside the loop: {short} sessions"]
        * bool(short),
        *[f"left out, for they have no partner: {alone} starts or ends of sessions"] * bool(alone),
    ]
    return presence(kept, source=_SOURCE, notes=notes)


def _short(spans: list[Span], period_s: float) -> int:
    """How many of the spans `joined` takes for none."""
    return sum(min(end, period_s) - max(0.0, start) < 0.01 for start, end in spans)


def _sessions(device: Any, who: Any) -> tuple[list[Span], float, int]:
    """When a device was there, after what time that repeats, and how many ends lack a partner."""
    period_s = _number(device, "finish_time", who)
    starts, ends = (_numbers(device, key, who) for key in ("active", "inactive"))
    return list(zip(starts, ends, strict=False)), period_s, abs(len(starts) - len(ends))


def _numbers(device: Any, key: str, who: Any) -> list[float]:
    values = device.get(key) if isinstance(device, dict) else None
    if not isinstance(values, list):
        raise TraceError(_wrong(who, key, values, "a list of seconds"))
    return [_number({key: value}, key, who) for value in values]


def _number(device: Any, key: str, who: Any) -> float:
    value = device.get(key) if isinstance(device, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if abs(number := float(value)) < 1e15:
                return number
        except OverflowError:
            pass
    raise TraceError(_wrong(who, key, value, "a number"))


def _wrong(who: Any, key: str, value: Any, expected: str) -> str:
    return f"device {who!r:.60}: {key} is {type(value).__name__}, expected {expected}"
