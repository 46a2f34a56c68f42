"""Synthetic fleets from traces: the options of a group that spreads as a trace does.

Presence is fitted by spells or by daily windows, speeds and bandwidths log-normally, with the
largest distance to what was recorded (Kolmogorov-Smirnov), so that a bad fit shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simfl.errors import TraceError
from simfl.fleet.traces import Trace
from simfl.units import DAY_S, HOUR_S


@dataclass(frozen=True)
class Fit:
    """group: options for a scenario's [[fleet.group]]. distances: of each log-normal, 0 to 1."""

    group: Mapping[str, Any]
    distances: Mapping[str, float]


def fit(trace: Trace) -> Fit:
    """Options under which a group is like the trace. Raises TraceError where it says too little."""
    group, distances = _FITS[trace.kind](trace)
    return Fit(group, distances)


def _capacity(trace: Trace) -> tuple[dict[str, Any], dict[str, float]]:
    group: dict[str, Any] = {"count": len(trace)}
    distances = {}
    if "train_gflops" in trace.columns:
        gflops, sigma, distances["compute"] = _lognormal(trace.columns["train_gflops"])
        group["compute"] = {"gflops": gflops, "spread_sigma": sigma}
    rates = {
        name: trace.columns[name] for name in ("down_mbps", "up_mbps") if name in trace.columns
    }
    network, more = _network(rates)
    return group | ({"network": network} if network else {}), distances | more


def _bandwidth(trace: Trace) -> tuple[dict[str, Any], dict[str, float]]:
    """Levels spread as the recordings' means do; transfers as samples do within a recording.

    A transfer that outlasts the recording's ups and downs varies less than its samples.
    """
    series = {
        name: trace.series(name) for name in ("down_mbps", "up_mbps") if name in trace.columns
    }
    network, distances = _network({name: one.means() for name, one in series.items()})
    name = next(iter(series))
    variations = _variation(trace, name, series[name].means())
    network["jitter_sigma"] = _rounded(np.sqrt(np.log1p(np.median(variations) ** 2)))
    return {"count": len(series[name]), "network": network}, distances


def _network(rates: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, float]]:
    network: dict[str, Any] = {}
    distances = {}
    for name, values in rates.items():
        way = name.removesuffix("_mbps")
        network[name], network[f"{way}_sigma"], distances[way] = _lognormal(values)
    if len(rates) == 2:
        down, up = (np.log(values) for values in rates.values())
        if len(down) > 2 and down.std() > 0.0 and up.std() > 0.0:
            network["correlation"] = _rounded(np.corrcoef(down, up)[0, 1])
    elif rates:
        (name,) = rates
        other = "up_mbps" if name == "down_mbps" else "down_mbps"
        network[other] = network[name]
    return network, distances


def _presence(trace: Trace) -> tuple[dict[str, Any], dict[str, float]]:
    """Daily windows where the hours of the day differ, else spells by chance."""
    if np.isinf(trace.periods_s()[trace.columns["device"]]).any():
        raise TraceError("a presence trace without period_s does not say how long it was watched")
    by_hour = _by_hour(trace)
    swing = by_hour.max() / max(by_hour.min(), 1e-9)
    options = _windows(trace) if swing >= _SWING else _spells(trace)
    return {"count": trace.about["devices"], "presence": options}, {}


#: So many times more devices in the busiest hour than in the quietest are a day and a night.
_SWING = 1.5


def _spells(trace: Trace) -> dict[str, Any]:
    on_s = trace.columns["end_s"] - trace.columns["start_s"]
    devices, spells = np.unique(trace.columns["device"], return_counts=True)
    watched_s = trace.periods_s()[devices].sum()
    off_s = max(watched_s - on_s.sum(), 1.0)
    return {
        "kind": "onoff",
        "mean_on_s": _rounded(on_s.mean()),
        "mean_off_s": _rounded(off_s / spells.sum()),
    }


def _windows(trace: Trace) -> dict[str, Any]:
    """One window a day, the longest about then; lengths keep the share of time."""
    share = float(trace.intervals().share()[np.unique(trace.columns["device"])].mean())
    device, start_s, length_s = _whole(trace)
    angle = np.exp(2j * np.pi * start_s / DAY_S)
    middle_s = np.angle((angle * length_s).sum()) / (2.0 * np.pi) * DAY_S
    day = np.floor((start_s - middle_s) / DAY_S + 0.5)
    order = np.lexsort((-length_s, day, device))
    keys = np.stack([device, day], axis=1)[order]
    longest = order[np.concatenate([[True], (np.diff(keys, axis=0) != 0).any(axis=1)])]
    shift_h = (start_s - middle_s - day * DAY_S)[longest] / HOUR_S
    own_h = _mean_of(device[longest], shift_h)
    return {
        "kind": "diurnal",
        "mean_hours": _rounded(min(share * 24.0, 23.9)),
        "start_hour": _rounded(middle_s / HOUR_S % 24.0),
        "spread_hours": _rounded(own_h[np.unique(device)].std()),
        "jitter_hours": _rounded(min(4.0, (shift_h - own_h[device[longest]]).std())),
        "sigma": _rounded(min(2.0, np.log(length_s[longest]).std())),
    }


def _whole(trace: Trace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Devices, starts and lengths of the intervals that were watched from end to end, if any."""
    start_s, end_s = trace.columns["start_s"], trace.columns["end_s"]
    whole = (start_s > 0.0) & (end_s < trace.periods_s()[trace.columns["device"]])
    if not whole.any():
        whole[:] = True
    return trace.columns["device"][whole], start_s[whole], (end_s - start_s)[whole]


def _by_hour(trace: Trace) -> np.ndarray:
    """(24,) how many of the devices are there at each hour of the day, on average."""
    starts, ends = trace.columns["start_s"], trace.columns["end_s"]
    days = np.maximum(1.0, np.round(trace.periods_s()[trace.columns["device"]] / DAY_S))
    whole = np.floor((ends - starts) / DAY_S)
    start = starts % DAY_S
    end = start + (ends - starts) - whole * DAY_S  # within two days
    total = np.full(24, HOUR_S * (whole / days).sum())
    for hour in range(48):
        inside = np.minimum(end, (hour + 1) * HOUR_S) - np.maximum(start, hour * HOUR_S)
        total[hour % 24] += (np.maximum(0.0, inside) / days).sum()
    return total


def _lognormal(values: np.ndarray) -> tuple[float, float, float]:
    """(median, sigma, largest distance between the distributions)."""
    from scipy import stats

    logs = np.log(values)
    mu, sigma = float(logs.mean()), float(logs.std())
    distance = stats.kstest(logs, "norm", (mu, sigma)).statistic if sigma > 0.0 else 0.0
    return _rounded(np.exp(mu)), _rounded(sigma), _rounded(distance)


def _variation(trace: Trace, name: str, means: np.ndarray) -> np.ndarray:
    """(n,) coefficient of variation within each recording, over time."""
    ids = np.unique(trace.columns["trace"], return_inverse=True)[1]
    starts = np.concatenate([[True], np.diff(ids) != 0])
    seconds = np.where(starts, trace.columns["t_s"], np.diff(trace.columns["t_s"], prepend=0.0))
    square = np.bincount(ids, seconds * trace.columns[name] ** 2) / np.bincount(ids, seconds)
    return np.asarray(np.sqrt(np.maximum(0.0, square / means**2 - 1.0)))


def _mean_of(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(groups,) mean of each group's values; 0 for one without."""
    counts = np.maximum(1, np.bincount(groups))
    return np.asarray(np.bincount(groups, values) / counts)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


_FITS = {"capacity": _capacity, "presence": _presence, "bandwidth": _bandwidth}
