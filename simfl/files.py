"""Files that are whole or not there, also after the machine itself has died."""

from __future__ import annotations

import os
from pathlib import Path


def put(path: Path, data: bytes) -> None:
    """The file holds these bytes, durably; until then it is as it was."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_bytes(data)
    settle(draft)
    os.replace(draft, path)
    settle_folder(path.parent)


def settle(path: Path) -> None:
    """What was written into the file survives a loss of power."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def settle_folder(folder: Path) -> None:
    """So do the names in a folder, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
