"""Every notebook runs from top to bottom, in a folder of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parents[2] / "notebooks"

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
jupyter_client = pytest.importorskip("jupyter_client")


@pytest.fixture(scope="module")
def player() -> ModuleType:
    spec = importlib.util.spec_from_file_location("play_notebooks", HERE / "play.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One for all notebooks, as starting one and loading torch costs more than most of them do."""
    manager = jupyter_client.KernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLBACKEND")  # the kernel shows pictures in its own way
        manager.start_kernel(cwd=str(tmp_path_factory.mktemp("kernel")))
    yield manager
    manager.shutdown_kernel(now=True)


#: Notebooks of half a minute each are played by `make studies`.
LONG = ("adapter", "flower", "tuning")
BOOKS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.study] * (path.stem in LONG))
    for path in sorted(HERE.glob("*.ipynb"))
]


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
@pytest.mark.parametrize("path", BOOKS)
def test_a_notebook_plays_to_its_end(player, kernel, path, tmp_path) -> None:
    """And still has something to show: a picture or a table in most of its cells."""
    if path.stem == "flower":
        pytest.importorskip("flwr", reason="needs Flower: pip install 'simfl[flower]'")
    cells = [cell for cell in player.play(path, tmp_path, kernel).cells if cell.cell_type == "code"]
    shown = [cell for cell in cells if cell.outputs]
    assert len(shown) >= len(cells) / 2
