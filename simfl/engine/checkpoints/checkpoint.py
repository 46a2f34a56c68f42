"""Checkpoints on disk: whole or not there, newest two kept, damage noticed.

A checkpoint is a folder `checkpoint/NNNNNN/` of two files: `state.json` (a snapshot's tree and
what it belongs to) and `arrays.safetensors`. It is written under another name, made durable and
then renamed, so that a machine that dies while writing leaves the previous one; `state.json`
holds the digest of the arrays and its own, so that a damaged one is passed over. So is one
of another format: an older one of this format leads to the same results.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simfl import __version__
from simfl.errors import InputError, shorten
from simfl.files import own_folder, read_file, regular, remove, settle, settle_folder

FORMAT = 5
FOLDER = "checkpoint"
KEPT = 2

#: Size of a file from which on its arrays are mapped.
MAPPED_BYTES = 2**29

Loaded = tuple[dict[str, Any], dict[str, np.ndarray]]


def save(run_folder: Path, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes a checkpoint behind those that are there; returns its folder."""
    from safetensors.numpy import save_file

    home = own_folder(run_folder / FOLDER)
    there = _numbered(home)
    target = home / f"{(int(there[-1].name) + 1 if there else 0):06d}"
    draft = target.with_suffix(".tmp")
    remove(draft)
    draft.mkdir()
    packed = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    save_file(packed, draft / "arrays.safetensors")
    made = {"format": FORMAT, "simfl": __version__}
    body = {**made, "arrays": _digest_of(packed), "state": state}
    text = json.dumps(body)
    outer = {"digest": _digest(text.encode()), "body": text}
    (draft / "state.json").write_text(json.dumps(outer), encoding="utf-8")
    for path in draft.iterdir():
        settle(path)
    settle_folder(draft)
    os.replace(draft, target)
    settle_folder(home)
    if not there:
        settle_folder(run_folder)
    for old in there[: len(there) + 1 - KEPT]:
        remove(old)
    return target


def load(run_folder: Path, check: Callable[[dict[str, Any]], None] | None = None) -> Loaded | None:
    """The newest checkpoint that is whole: its state and arrays; None if there never was one.

    check: raises if a state cannot be gone on from for another reason. A newer checkpoint that is
    passed over is warned of. The state's "checkpoint" is its number, for `drop_newer`. Raises
    InputError if there are checkpoints and none will do.
    """
    reasons: list[str] = []
    for path in reversed(_numbered(run_folder / FOLDER)):
        try:
            loaded = _read(path)
            if check is not None:
                check(loaded[0])
        except Exception as error:  # whatever damage does to a file
            reasons.append(f"{path.name}: {error}")
            continue
        if reasons:
            message = f"{run_folder}: passed over a checkpoint ({'; '.join(reasons)})"
            warnings.warn(f"{message}; going on from {path.name}", stacklevel=2)
        loaded[0]["checkpoint"] = path.name
        return loaded
    if reasons:
        raise InputError(
            f"{run_folder}: no checkpoint can be read ({'; '.join(reasons)}); run without "
            "--resume to start afresh"
        )
    return None


def exists(run_folder: Path) -> bool:
    """True if there is a checkpoint, whole or damaged."""
    return bool(_numbered(run_folder / FOLDER))


def drop_newer(run_folder: Path, number: str) -> None:
    """Removes what was passed over: once a run has gone on from here, nothing fits it any more."""
    for path in _numbered(run_folder / FOLDER):
        if int(path.name) > int(number):
            remove(path)


def clear(run_folder: Path) -> None:
    """Removes all checkpoints of a run that has ended, all at one moment."""
    home = run_folder / FOLDER
    going = home.with_suffix(".old")
    remove(going)
    if home.is_dir() and not home.is_symlink():
        os.replace(home, going)
    else:
        remove(home)
    remove(going)


def _read(path: Path) -> Loaded:
    outer = json.loads(read_file(path / "state.json"))
    if _digest(outer["body"].encode()) != outer["digest"]:
        raise InputError("state.json is damaged")
    body = json.loads(outer["body"])
    if body["format"] != FORMAT:
        raise InputError(
            f"simfl {shorten(str(body.get('simfl', '0.1.0')))} wrote it in format "
            f"{shorten(str(body['format']))}, and simfl {__version__} reads format {FORMAT}"
        )
    arrays = _arrays(regular(path / "arrays.safetensors"))
    if _digest_of(arrays) != body["arrays"]:
        raise InputError("arrays.safetensors is damaged")
    return body["state"], arrays


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Those of a file; of a large one they are mapped into memory, and read when looked at."""
    if path.stat().st_size < MAPPED_BYTES:
        from safetensors.numpy import load_file

        return load_file(path)
    from safetensors.torch import load_file as map_file

    return {name: tensor.numpy() for name, tensor in map_file(path).items()}


def _numbered(home: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(_folders(home), key=lambda path: int(path.name))


def _folders(home: Path) -> Iterator[Path]:
    if home.is_dir():
        yield from (path for path in own_folder(home).iterdir() if _is_one(path))


def _is_one(path: Path) -> bool:
    return path.name.isdecimal() and path.is_dir() and not path.is_symlink()


def _digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Of names, types, shapes and values, so that no second copy of a large state is needed."""
    whole = hashlib.blake2b(digest_size=16)
    for name, values in sorted(arrays.items()):
        whole.update(f"{name} {values.dtype.str} {values.shape};".encode())
        whole.update(values.reshape(-1).view(np.uint8).data)
    return whole.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
