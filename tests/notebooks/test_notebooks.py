"""Every notebook runs from top to bottom, in a folder of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parents[2] / "notebooks"

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


@pytest.fixture(scope="module")
def player() -> ModuleType:
    spec = importlib.util.spec_from_file_location("play_notebooks", HERE / "play.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
@pytest.mark.parametrize("path", sorted(HERE.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_plays_to_its_end(player, path, tmp_path, monkeypatch) -> None:
    """And still has something to show: a picture or a table in most of its cells."""
    if path.stem == "flower":
        pytest.importorskip("flwr", reason="needs Flower: pip install 'simfl[flower]'")
    monkeypatch.delenv("MPLBACKEND")  # the kernel shows pictures in its own way
    cells = [cell for cell in player.play(path, tmp_path).cells if cell.cell_type == "code"]
    shown = [cell for cell in cells if cell.outputs]
    assert len(shown) >= len(cells) / 2
