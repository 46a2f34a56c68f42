"""Runs with edges go on from a checkpoint to the digest of an unbroken run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edge_toys import flaky, inner

import simfl

FAR = {"name": "far", "count": 3, "up_mbps": 0.05, "down_mbps": 0.05, "latency_s": 0.3}


def whole(kind: str) -> dict[str, Any]:
    options = {key: 2 for key in ("cohort", "concurrency") if key in inner(kind)}
    strategy = {"kind": "hierarchical", "k2": 2, "edge": {**inner(kind), **options}}
    return flaky(strategy=strategy, edge=[FAR], checkpoint={"every_s": 1.0}, stop={"versions": 4})


@pytest.mark.parametrize(("kind", "at_s"), [("fedavg", 8.0), ("fedbuff", 5.0), ("scaffold", 12.0)])
def test_a_run_with_edges_goes_on_from_its_checkpoint(
    kind: str, at_s: float, tmp_path: Path, interrupted: Callable[..., None]
) -> None:
    interrupted(whole(kind), tmp_path / "run", at_s)
    resumed = simfl.run(whole(kind), out=tmp_path / "run", resume=True)
    assert resumed.digest == simfl.run(whole(kind)).digest
    assert resumed.edges["edge"].nunique() == 3
