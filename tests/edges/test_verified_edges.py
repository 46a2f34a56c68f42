"""`simfl verify` passes what runs with edges did, and finds forgeries of their tiers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from edge_toys import INNER, flaky, inner, timed

import simfl
from simfl.engine.verify import audit

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
from forgeries import copied, put, seal

TWO = [{"name": "gate", "count": 2, "up_mbps": 0.1, "down_mbps": 0.2, "latency_s": 0.05}]


def broken(folder: Path) -> set[str]:
    return {check.law for check in audit(simfl.open(folder)) if check.wrong}


def whole(kind: str, k2: int = 2, **more: Any) -> dict[str, Any]:
    small = {**inner(kind), **{key: 2 for key in ("cohort", "concurrency") if key in INNER[kind]}}
    return flaky(strategy={"kind": "hierarchical", "edge": small, "k2": k2}, edge=TWO, **more)


@pytest.mark.parametrize("kind", ["fedavg", "overselect", "fedasync"])
def test_what_edges_did_passes(kind: str, tmp_path: Path) -> None:
    simfl.run(whole(kind, stop={"versions": 3}), out=tmp_path)
    assert broken(tmp_path) == set()


def test_versions_of_one_step_go_up_as_one(tmp_path: Path) -> None:
    """Two updates arrive at one instant, and k2 = 1: the model that goes up has both."""
    buffers = {"kind": "fedbuff", "concurrency": 2, "buffer": 1}
    far = {"name": "far", "count": 2, "up_mbps": 2.0}
    run = simfl.run(timed(buffers, far), out=tmp_path)
    assert run.edges["updates"].sum() == 8
    assert (run.edges["up_bytes"] > 0).sum() == 4
    assert broken(tmp_path) == set()


def test_a_run_that_ends_on_the_way_passes(tmp_path: Path) -> None:
    table = whole("fedbuff", stop={"after_s": 9.0})
    simfl.run(table, out=tmp_path, timing=True)
    assert broken(tmp_path) == set()


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> simfl.Result:
    folder = tmp_path_factory.mktemp("honest") / "run"
    return simfl.open(simfl.run(whole("fedbuff"), out=folder).folder)


def test_the_honest_run_passes(honest: simfl.Result) -> None:
    assert broken(honest.folder) == set()
    assert honest.edges["edge"].nunique() == 2
    assert (honest.tasks["edge_staleness"] > honest.tasks["staleness"]).any()


COUNTS = "versions of edges count the updates that entered them"
TRAVELS = "models travel between edges and cloud in turn"
LINKS = "tasks and models take the links of their edges"


def _used(tasks: pd.DataFrame) -> int:
    return int((tasks["outcome"] == "applied").to_numpy().argmax())


def _more(name: str, by: float = 1) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """One more, in a row where there is something."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        row = (
            _used(frame) if "outcome" in frame else int(frame["up_bytes"].gt(0).to_numpy().argmax())
        )
        changed = frame.copy()
        changed[name] = changed[name].astype(object)
        changed.iloc[row, changed.columns.get_loc(name)] += by
        return changed

    return change


def _other_edge(tasks: pd.DataFrame) -> pd.DataFrame:
    swapped = {"gate-0": "gate-1", "gate-1": "gate-0"}
    return tasks.assign(edge=tasks["edge"].astype(str).map(swapped))


FORGED: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "a task of another edge": ("tasks", _other_edge, LINKS),
    "a newer model": ("tasks", _more("edge_version"), COUNTS),
    "a later use": ("tasks", _more("edge_applied_version"), COUNTS),
    "a staler update": ("tasks", _more("edge_staleness"), COUNTS),
    "no edges at all": ("edges", lambda frame: frame.iloc[:0], COUNTS),
    "a version of an edge left out": ("edges", lambda frame: frame.drop(frame.index[5]), COUNTS),
    "versions counted twice": ("edges", lambda frame: pd.concat([frame, frame.tail(1)]), COUNTS),
    "more updates": ("edges", _more("updates"), COUNTS),
    "fresher updates": ("edges", lambda frame: frame.assign(staleness_mean=0.0), COUNTS),
    "another oldest update": ("edges", _more("staleness_max"), COUNTS),
    "more weight": ("edges", _more("weight_sum"), COUNTS),
    "a version of an edge made earlier": ("edges", _more("time_s", -0.5), TRAVELS),
    "work of an edge": ("edges", _more("step_s", 2.0), TRAVELS),
    "a smaller model up": ("edges", _more("up_bytes", -1), TRAVELS),
    "a larger model down": ("edges", _more("down_bytes"), TRAVELS),
    "a quicker way up": ("edges", _more("up_s", -0.1), LINKS),
    "a slower way down": ("edges", _more("down_s", 0.5), LINKS),
    "another version of the cloud": ("edges", _more("cloud_version"), TRAVELS),
    "links twice as fast": (
        "edges", lambda frame: frame.assign(up_s=frame.up_s / 2, down_s=frame.down_s / 2), LINKS,
    ),
    "half the bytes on links": (
        "edges",
        lambda frame: frame.assign(up_bytes=frame.up_bytes // 2, down_bytes=frame.down_bytes // 2),
        LINKS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_tier_is_found(what: str, honest: simfl.Result, tmp_path: Path) -> None:
    table, change, law = FORGED[what]
    folder = copied(honest, tmp_path / "forged")
    put(folder, table, change(honest.read(table)))
    seal(folder)
    assert law in broken(folder)


def test_a_forged_summary_of_tiers_is_found(honest: simfl.Result, tmp_path: Path) -> None:
    path = copied(honest, tmp_path / "forged") / "summary.json"
    summary = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**summary, "cloud_up_bytes": 1}), "utf-8")
    assert broken(path.parent) == {"the summary is that of the tables"}


def test_edges_left_out_of_a_scenario_are_found(honest: simfl.Result, tmp_path: Path) -> None:
    """The forger plays one of the edges on a link that takes no time."""
    path = copied(honest, tmp_path / "forged") / "scenario.toml"
    text = path.read_text("utf-8")
    assert "latency_s = 0.05" in text
    path.write_text(text.replace("latency_s = 0.05", "latency_s = 0.0"), "utf-8")
    seal(path.parent)
    assert LINKS in broken(path.parent)
