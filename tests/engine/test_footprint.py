"""Memory before a run: parts, totals and verdicts."""

from __future__ import annotations

import pytest

from simfl.engine import footprint
from simfl.engine.explain import explain
from simfl.engine.footprint import in_words, parts_of
from simfl.scenario import load


@pytest.mark.parametrize(
    ("total", "verdict"),
    [(7.0e9, "fits into the 10 GB here"), (9.0e9, "is tight in"), (11.0e9, "does not fit into")],
)
def test_a_total_is_held_against_the_machine(total: float, verdict: str) -> None:
    assert verdict in in_words({"versions": total}, 10e9)
    assert "here" not in in_words({"versions": total}, None)


def test_parts_grow_with_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "loaded_bytes", lambda: 1.0)
    assert parts_of(10.0, 5, 2, 0) == {
        "loaded by now": 1.0,
        "loaded later": footprint.LATER_BYTES,
        "versions and updates": 50.0,
        "tasks that train": 80.0,
        "strategy and checkpoint": 60.0,
    }
    assert parts_of(10.0, 5, 2, 7)["memories of devices"] == 70.0


def test_this_machine_has_memory_and_this_process_holds_some_of_it() -> None:
    here = footprint.machine_bytes()
    assert here is None or footprint.loaded_bytes() < here


def test_explain_warns_of_a_thousand_versions_of_a_large_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(footprint, "machine_bytes", lambda: 8e9)
    large = {"learning.model": {"kind": "mlp", "hidden": [50_000]}, "strategy.concurrency": 90}
    said = explain(load("quickstart", large)).facts["memory"]
    assert "versions and updates 1.37 GB" in said
    assert "fits into the 8 GB here; each of --workers" in said
    feedback = {"wire.up": [{"kind": "topk", "keep": 0.1}]}
    said = explain(load("quickstart", {**large, **feedback})).facts["memory"]
    assert "memories of devices 1.5 GB" in said


def test_what_is_moved_to_disk_is_not_held_against_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """91 versions of 45 MB where 4 GB may be filled, and half a gigabyte is."""
    monkeypatch.setattr(footprint, "machine_bytes", lambda: 4e9)
    monkeypatch.setattr(footprint, "loaded_bytes", lambda: 5e8)
    large = {"learning.model": {"kind": "mlp", "hidden": [150_000]}, "strategy.concurrency": 90}
    said = explain(load("quickstart", large)).facts["memory"]
    assert "versions and updates 1.38 GB" in said
    assert "and 2.72 GB of versions and updates on disk, which fits into the 4 GB here" in said
