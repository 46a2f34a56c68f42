"""Checkpoints on disk: whole or not there, newest two kept, damage noticed.

A checkpoint is a folder `checkpoint/NNNNNN/` of two files: `state.json` (a snapshot's tree and
what it belongs to) and `arrays.safetensors`. It is written under another name, made durable and
then renamed, so that a machine that dies while writing leaves the previous one; `state.json`
holds the digest of the other file and its own, so that a damaged one is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simfl.errors import InputError

FORMAT = 1
FOLDER = "checkpoint"
KEPT = 2


def save(run_folder: Path, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes a checkpoint behind those that are there; returns its folder."""
    from safetensors.numpy import save as to_bytes

    home = run_folder / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    there = _numbered(home)
    target = home / f"{(int(there[-1].name) + 1 if there else 0):06d}"
    draft = target.with_suffix(".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    packed = to_bytes({name: np.ascontiguousarray(values) for name, values in arrays.items()})
    _write(draft / "arrays.safetensors", packed)
    body = {"format": FORMAT, "arrays": _digest(packed), "state": state}
    text = json.dumps(body)
    _write(
        draft / "state.json", json.dumps({"digest": _digest(text.encode()), "body": text}).encode()
    )
    os.replace(draft, target)
    _sync(home)
    for old in there[: len(there) + 1 - KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load(run_folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """The newest checkpoint that is whole: its state and arrays; None if there never was one.

    Raises InputError if there are checkpoints and all of them are damaged.
    """
    found = _numbered(run_folder / FOLDER)
    reasons = []
    for path in reversed(found):
        try:
            return _read(path)
        except Exception as error:  # whatever damage does to a file
            reasons.append(f"{path.name}: {error}")
    if reasons:
        raise InputError(
            f"{run_folder}: no checkpoint can be read ({'; '.join(reasons)}); run without --resume "
            "to start afresh"
        )
    return None


def exists(run_folder: Path) -> bool:
    """True if there is a checkpoint, whole or damaged."""
    return bool(_numbered(run_folder / FOLDER))


def clear(run_folder: Path) -> None:
    """Removes all checkpoints of a run that has ended."""
    shutil.rmtree(run_folder / FOLDER, ignore_errors=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors.numpy import load as from_bytes

    outer = json.loads((path / "state.json").read_bytes())
    if _digest(outer["body"].encode()) != outer["digest"]:
        raise InputError("state.json is damaged")
    body = json.loads(outer["body"])
    if body["format"] != FORMAT:
        raise InputError(f"format {body['format']}, this simfl reads format {FORMAT}")
    packed = (path / "arrays.safetensors").read_bytes()
    if _digest(packed) != body["arrays"]:
        raise InputError("arrays.safetensors is damaged")
    return body["state"], from_bytes(packed)


def _numbered(home: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(_folders(home), key=lambda path: int(path.name))


def _folders(home: Path) -> Iterator[Path]:
    if home.is_dir():
        yield from (path for path in home.iterdir() if path.is_dir() and path.name.isdecimal())


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Makes a rename durable, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
