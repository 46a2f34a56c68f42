"""Plays the notebooks and keeps their output: `python notebooks/play.py [NAME...]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent

#: What a kernel does between two notebooks.
FORGET = """
%reset -f
import os
os.chdir({folder!r})
del os
"""


def play(path: Path, folder: Path, kernel: Any = None) -> Any:
    """The notebook with its output, played in this folder. Raises CellExecutionError.

    kernel: the KernelManager of one that goes on from notebook to notebook and forgets the names
    of the one before; by default a new one is started.
    """
    book = nbformat.read(path, as_version=4)
    if kernel is not None:
        book.cells.insert(0, nbformat.v4.new_code_cell(FORGET.format(folder=str(folder))))
    client = NotebookClient(
        book, km=kernel, timeout=300, kernel_name="python3", record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    try:
        played = client.execute()
    finally:
        if kernel is not None and client.kc is not None:
            client.kc.stop_channels()
    if kernel is not None:
        del played.cells[0]
    return played


def main(names: list[str]) -> None:
    """Plays these notebooks, by default all, and writes them back."""
    for path in [HERE / f"{name}.ipynb" for name in names] or sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(play(path, Path(folder)), path)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
