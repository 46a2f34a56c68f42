"""Checkpoints on disk: whole or not there, and damage is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simfl.engine.checkpoints import checkpoint
from simfl.errors import InputError


def saved(folder: Path, n: int) -> None:
    for i in range(n):
        checkpoint.save(folder, {"step": i, "t": 0.1 * i}, {"w": np.full(3, i, np.float32)})


def test_the_newest_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    state, arrays = checkpoint.load(tmp_path)
    assert state == {"step": 4, "t": 0.4, "checkpoint": "000004"}
    assert arrays["w"].tolist() == [4, 4, 4]
    assert [p.name for p in sorted((tmp_path / "checkpoint").iterdir())] == ["000003", "000004"]


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None


def test_a_half_written_one_is_not_there(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    draft = tmp_path / "checkpoint" / "000002.tmp"
    draft.mkdir()
    (draft / "state.json").write_text("{")
    assert checkpoint.load(tmp_path)[0]["step"] == 1
    saved(tmp_path, 1)  # and it is not in the way


@given(name=st.sampled_from(["state.json", "arrays.safetensors"]), data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_the_newest_gives_the_older(tmp_path: Path, name: str, data) -> None:
    saved(tmp_path, 2)
    newest = max((tmp_path / "checkpoint").iterdir())
    step = checkpoint.load(tmp_path)[0]["step"]
    whole = (newest / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.sampled_from(["cut", "flip"]))
    flipped = bytes([whole[at] ^ 1])
    (newest / name).write_bytes(
        whole[:at] + (flipped + whole[at + 1 :] if damage == "flip" else b"")
    )
    with pytest.warns(UserWarning, match=f"passed over a checkpoint.*{newest.name}"):
        assert checkpoint.load(tmp_path)[0]["step"] == step - 1


@pytest.mark.parametrize("nonsense", ["nonsense", "[]", "{}", "[" * 100_000, "1" * 5_000])
def test_all_damaged_is_an_error_that_says_so(tmp_path: Path, nonsense: str) -> None:
    saved(tmp_path, 2)
    for path in (tmp_path / "checkpoint").iterdir():
        (path / "state.json").write_text(nonsense)
    with pytest.raises(InputError, match="no checkpoint can be read"):
        checkpoint.load(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux for names of files")
def test_a_checkpoint_is_settled_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files, then the folder that names them, then its own name."""
    told, replace = [], os.replace

    def fsync(handle: int) -> None:
        told.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    def renamed(old: Path, new: Path) -> None:
        told.append(f"-> {new.name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", renamed)
    saved(tmp_path, 1)
    assert sorted(told[:2]) == ["arrays.safetensors", "state.json"]
    assert told[2:5] == ["000000.tmp", "-> 000000", "checkpoint"]


def test_another_format_says_which_version_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    saved(tmp_path, 1)
    monkeypatch.undo()
    with pytest.raises(
        InputError, match=r"simfl \S+ wrote it in format \d, and simfl \S+ reads format \d"
    ):
        checkpoint.load(tmp_path)


def test_clearing_leaves_nothing(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    checkpoint.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
