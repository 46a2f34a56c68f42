"""Plays the notebooks and keeps their output: `python notebooks/play.py [NAME...]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def play(path: Path, folder: Path) -> Any:
    """The notebook with its output, played in this folder. Raises CellExecutionError."""
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )  # fmt: skip
    return client.execute()


def main(names: list[str]) -> None:
    """Plays these notebooks, by default all, and writes them back."""
    for path in [HERE / f"{name}.ipynb" for name in names] or sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(play(path, Path(folder)), path)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
