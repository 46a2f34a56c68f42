"""Quantities as people read them: 3.2 h, 41.5 MB, 87.3 %."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def seconds(value: float | None) -> str:
    """A duration in the largest of s, min, h, d that is not below one and a half of it.

    >>> seconds(5400.0), seconds(80.0)
    ('1.5 h', '80 s')
    """
    if value is None or not math.isfinite(value):
        return _odd(value)
    scale, unit = time_unit(value)
    return f"{number(value / scale)} {unit}"


def time_unit(value: float) -> tuple[float, str]:
    """Seconds in the unit that suits a duration, and its name.

    >>> time_unit(200.0)
    (60.0, 'min')
    """
    return next((st for st in _TIMES if abs(value) >= 1.5 * st[0]), _TIMES[-1])


def amount(value: float | None, unit: str) -> str:
    """A quantity with a decimal prefix: 41.5 MB is 41.5 million bytes.

    >>> amount(41_500_000, "B")
    '41.5 MB'
    """
    if value is None or not math.isfinite(value):
        return _odd(value)
    scale, prefix = prefix_of(value)
    return f"{number(value / scale)} {prefix}{unit}"


def prefix_of(value: float) -> tuple[float, str]:
    """The decimal prefix that suits a quantity: its factor and its letter.

    >>> prefix_of(41_500_000)
    (1000000.0, 'M')
    """
    return next((sp for sp in _PREFIXES if abs(value) >= sp[0]), (1.0, ""))


def share(value: float | None) -> str:
    """A fraction as a percentage.

    >>> share(0.8734)
    '87.3 %'
    """
    return _odd(value) if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """Three significant digits, or all digits of a whole number.

    >>> number(0.123456), number(1234.0)
    ('0.123', '1234')
    """
    if value is None or not math.isfinite(value):
        return _odd(value)
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def factor(value: float) -> str:
    """A speed-up: 3.2 x.

    >>> factor(3.2345)
    '3.23 x'
    """
    return _odd(value) if math.isnan(value) else f"{value:.3g} x"


def headline(summary: Mapping[str, Any]) -> dict[str, str]:
    """The few lines that sum a run up, from its summary."""
    spread = [number(summary.get(f"staleness_{key}")) for key in ("p50", "p95", "max")]
    flying = summary.get("in_flight_share")
    diverged = {"diverged": summary["diverged"]} if "diverged" in summary else {}
    lines = {
        **diverged,
        "virtual time": seconds(summary.get("virtual_s")),
        "versions": number(summary.get("versions")),
        **_final(summary),
        "down / up": " / ".join(amount(summary.get(f"{d}_bytes"), "B") for d in ("down", "up")),
        **_tiers(summary),
        "staleness p50 / p95 / max": " / ".join(spread),
        "wasted device time": seconds(summary.get("wasted_device_s")),
        "share wasted (in flight)": f"{share(summary.get('wasted_share'))} ({share(flying)})",
    }
    if summary.get("client_errors"):
        errors, calls = summary["client_errors"], summary.get("client_calls")
        lines["client errors"] = f"{errors} of {calls}, first: {summary.get('client_error')}"
    return lines


def _tiers(summary: Mapping[str, Any]) -> dict[str, str]:
    """What went between edges and cloud, where there are edges."""
    if "cloud_down_bytes" not in summary:
        return {}
    moved = (amount(summary[f"cloud_{way}_bytes"], "B") for way in ("down", "up"))
    return {"cloud down / up": " / ".join(moved)}


def _final(summary: Mapping[str, Any]) -> dict[str, str]:
    """The accuracy at the end; where there is none, the run's own metrics, or else its loss."""
    if summary.get("final_accuracy") is not None:
        return {"final accuracy": share(summary["final_accuracy"])}
    ends = {
        key.removeprefix("final_"): value
        for key, value in summary.items()
        if key.startswith("final_") and value is not None
    }
    further = {name: value for name, value in ends.items() if name != "loss"}
    return {f"final {name}": number(value) for name, value in (further or ends).items()}


def as_html(pairs: Mapping[str, str]) -> str:
    """Subjects and their values as a small HTML table."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(subject)}</th>"
        f"<td style='text-align:left'>{html.escape(words)}</td></tr>"
        for subject, words in pairs.items()
    )
    return f"<table>{rows}</table>"


def _odd(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value}"
