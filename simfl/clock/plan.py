"""The options of a kernel (limits, evaluations, checkpoints), and the status that it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, nan
from typing import TYPE_CHECKING

from simfl.clock.ingest import Service
from simfl.clock.server import Limits
from simfl.fleet.edges import Edges

if TYPE_CHECKING:
    from simfl.clock.kernel import Kernel


@dataclass(frozen=True)
class Plan:
    """How a run is played, beside who takes part. Rates in bytes per second and FLOP per second."""

    limits: Limits = field(default_factory=Limits)
    shared_links: bool = False
    down_rate: float = inf
    up_rate: float = inf
    server_flops: float = 1e11
    ingest: Service = field(default_factory=Service)
    aggregate_s: float = 0.0
    edges: Edges | None = None
    model_bytes: int = 0  #: of a model between an edge and the cloud, without framing
    evaluate_every_s: float = inf
    evaluate_every_versions: int | None = None
    evaluate_at_start: bool = True
    save_every_s: float = inf  #: checkpoints: virtual seconds, and seconds of the host
    save_wall_s: float = inf
    stop_diverged: bool = True  #: a run whose learning went wrong ends; else it warns and goes on


@dataclass(frozen=True)
class Status:
    """A glance at a living run, for progress displays."""

    time_s: float
    versions: int
    tasks: int
    in_flight: int
    staleness_p50: float
    staleness_p95: float
    down_bytes: int
    up_bytes: int
    accuracy: float
    stop_fraction: float
    loss: float = nan
    target: bool = False  #: the run may end earlier, by meeting its target


def glance(kernel: Kernel) -> Status:
    """Where a run is now. A scan of the tasks in flight."""
    now_s, server, ledger = kernel.clock.now, kernel.server, kernel.ledger
    limits, moved = kernel.plan.limits, server.moved_bytes()
    p50, p95 = ledger.staleness_quantiles()
    shares = [now_s / limits.after_s]
    if limits.versions:
        shares.append(server.version / limits.versions)
    if limits.updates:
        shares.append(ledger.applied / limits.updates)
    return Status(
        time_s=now_s,
        versions=server.version,
        tasks=ledger.ended,
        in_flight=server.in_flight,
        staleness_p50=p50,
        staleness_p95=p95,
        down_bytes=moved[0],
        up_bytes=moved[1],
        accuracy=kernel.evaluations.accuracy,
        stop_fraction=min(1.0, max(shares)),
        loss=kernel.evaluations.loss,
        target=bool(limits.target),
    )
