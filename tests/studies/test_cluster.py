"""Studies on a Ray cluster: two real nodes, of which one is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import simfl
from simfl.errors import InputError
from simfl.studies.ray import packed, unpack


def test_a_folder_travels_whole_and_its_summary_last(tmp_path) -> None:
    (tmp_path / "a" / "devices").mkdir(parents=True)
    for name in ("tasks.parquet", "summary.json", "devices/phone.toml", "zz"):
        (tmp_path / "a" / name).write_bytes(name.encode())
    files = packed(tmp_path / "a")
    assert list(files)[-1] == "summary.json"
    unpack(files, tmp_path / "b")
    assert packed(tmp_path / "b") == files


def test_an_address_goes_with_ray(bench, tmp_path) -> None:
    with pytest.raises(InputError, match="address 'auto' goes with the backend ray, not local"):
        simfl.study(bench, out=tmp_path, address="auto")


class Axe:
    """Progress that fells a node once the first run has ended."""

    def __init__(self, fell) -> None:
        self.fell, self.felled = fell, False
        self.heard: list[str] = []

    def update(self, done: int, total: int, run: str) -> None:
        self.heard.append(run)
        if not self.felled:
            self.fell()
            self.felled = True

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_a_cluster_that_loses_a_node_in_mid_study_ends_with_the_same_digests(
    bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    longer = {**bench, "stop": {"versions": 4000}}
    alone = simfl.study(longer, seeds=range(6), out=tmp_path / "alone")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    try:
        axe = Axe(lambda: cluster.remove_node(other, allow_graceful=False))
        away = simfl.study(longer, seeds=range(6), out=tmp_path / "away", workers=4,
                           backend="ray", address=cluster.address, progress=axe)  # fmt: skip
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert axe.felled
    assert len(axe.heard) == 6
    assert away.failed.empty
    assert away.table["digest"].tolist() == alone.table["digest"].tolist()
