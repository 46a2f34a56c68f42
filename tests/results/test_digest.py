from __future__ import annotations

from math import nan

import numpy as np
import pytest
import torch

from simfl.errors import InputError
from simfl.params import Params
from simfl.results import store
from simfl.results.digest import digest
from simfl.results.model import load_model, save_model
from simfl.results.store import Store

ROWS = [{"task": i, "staleness": i or None, "drift": nan if i % 2 else 0.1 * i} for i in range(7)]


def written(folder, cols, rows, part_rows, monkeypatch):
    monkeypatch.setattr(store, "PART_ROWS", part_rows)
    made = Store(folder)
    for row in rows:
        made.append("tasks", cols("tasks", row))
    made.finish()
    return folder


def test_a_digest_does_not_depend_on_how_rows_were_grouped(tmp_path, cols, monkeypatch) -> None:
    a = written(tmp_path / "a", cols, ROWS, 2, monkeypatch)
    b = written(tmp_path / "b", cols, ROWS, 100, monkeypatch)
    assert digest(a) == digest(b)


def test_parts_and_the_joined_table_have_one_digest(tmp_path, cols) -> None:
    living = Store(tmp_path)
    living.append("tasks", cols("tasks", *ROWS))
    living.mark()
    before = digest(tmp_path)
    living.finish()
    assert digest(tmp_path) == before


@pytest.mark.parametrize(
    "change", [{"staleness": 9}, {"drift": 0.5}, {"cause": "offline"}, {"device": 3}]
)
def test_a_digest_depends_on_every_value(tmp_path, cols, monkeypatch, change) -> None:
    a = written(tmp_path / "a", cols, ROWS, 100, monkeypatch)
    b = written(tmp_path / "b", cols, [*ROWS[:-1], ROWS[-1] | change], 100, monkeypatch)
    assert digest(a) != digest(b)


def test_a_digest_depends_on_the_order_of_rows(tmp_path, cols, monkeypatch) -> None:
    a = written(tmp_path / "a", cols, ROWS, 100, monkeypatch)
    b = written(tmp_path / "b", cols, ROWS[::-1], 100, monkeypatch)
    assert digest(a) != digest(b)


def test_one_nan_is_as_good_as_another(tmp_path, cols, monkeypatch) -> None:
    """Platforms differ in the sign of 0 * inf."""
    other = np.array(nan).view("u8") ^ np.uint64(1 << 63)
    a = written(tmp_path / "a", cols, [{"drift": nan}], 100, monkeypatch)
    b = written(tmp_path / "b", cols, [{"drift": float(other.view("f8"))}], 100, monkeypatch)
    assert digest(a) == digest(b)


def test_a_digest_covers_the_model(tmp_path, cols, monkeypatch) -> None:
    folder = written(tmp_path, cols, ROWS, 100, monkeypatch)
    one = Params.from_named({"w": torch.tensor([1.0, 2.0])})
    other = Params.from_named({"w": torch.tensor([1.0, 2.0000002])})
    assert len({digest(folder), digest(folder, one), digest(folder, other)}) == 3


def test_a_saved_model_comes_back_bit_for_bit(tmp_path) -> None:
    """Order of names, shapes, and which of them are buffers, too."""
    named = {"b": torch.tensor([0.1, -0.0]), "a": torch.ones(2, 3), "mean": torch.tensor(7.0)}
    params = Params.from_named(named, buffers=["mean"])
    save_model(tmp_path / "m.safetensors", params)
    found = load_model(tmp_path / "m.safetensors")
    assert found.layout == params.layout
    assert found.flat.numpy().tobytes() == params.flat.numpy().tobytes()


def test_a_damaged_model_is_named(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read as a model"):
        load_model(path)
