"""Training on a Ray cluster of two real nodes, of which one is lost: the digest of one process."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import simfl
from simfl.errors import InputError
from simfl.learn.trainers.jobs import Job
from simfl.learn.trainers.workers import pieces_of

SMALL = {
    "name": "small",
    "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 8}]},
    "learning": {"dataset": "digits", "model": "softmax"},
    "strategy": {"kind": "scaffold", "cohort": 6},  # sends extras both ways, and remembers
    "evaluate": {"every_versions": 1},
    "stop": {"versions": 12},
}


def test_pieces_hold_every_job_once_in_order_and_cost_alike() -> None:
    sizes = np.array([10, 100, 10, 100, 40, 40, 30, 10])
    partition = SimpleNamespace(sizes=sizes)
    options = SimpleNamespace(used=int, batch_size=10)
    local: Any = SimpleNamespace(data=SimpleNamespace(partition=partition), options=options)
    jobs = [Job(None, device, 0, epochs=1.0) for device in range(8)]  # type: ignore[arg-type]
    pieces = pieces_of(jobs, local, 1)
    assert [job.device for piece in pieces for job in jobs[piece]] == list(range(8))
    assert [int(sizes[piece].sum()) for piece in pieces] == [120, 140, 80]
    assert pieces_of([], local, 2) == []


def test_backends_and_addresses_are_checked_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match=r"backend 'rya' is not known .*did you mean 'ray'"):
        simfl.run(SMALL, backend="rya")
    with pytest.raises(InputError, match="address 'auto' goes with the backend ray, not local"):
        simfl.run(SMALL, address="auto")


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install() -> None:
    with pytest.raises(InputError, match=r"Ray is not installed; install simfl\[ray\]"):
        simfl.run(SMALL, backend="ray")


class Axe:
    """A callback that fells a node once some versions have been evaluated."""

    def __init__(self, fell: Any) -> None:
        self.fell, self.seen = fell, 0

    def open(self, run: Any) -> Axe:
        return self

    def evaluation(self, row: Any) -> None:
        self.seen += 1
        if self.seen == 4:
            self.fell()

    def close(self, summary: Any) -> None:
        """Nothing is open."""


@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_a_run_that_loses_a_node_comes_to_the_digest_of_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    alone = simfl.run(SMALL)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    axe = Axe(lambda: cluster.remove_node(other, allow_graceful=False))
    try:
        away = simfl.run(SMALL, backend="ray", address=cluster.address, workers=2, callbacks=[axe])
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert axe.seen > 4
    assert away.summary["digest"] == alone.summary["digest"]
