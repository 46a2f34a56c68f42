"""The steps of dense models as machine code, made by Numba once for a machine and kept.

What is kept is loaded as code, so it lies in a folder that belongs to this user and that no other
can write: below the user's cache or, where that cannot be written, below the temporary folder. If
neither will do, the code is made anew in each process, which takes seconds.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from simfl.errors import ScenarioError

_SOURCES = ("steps.py", "products.py", "tiles.py", "layout.py")


@lru_cache
def compiled_steps() -> Callable[..., None]:
    """`steps` as machine code; see there. Raises ScenarioError where Numba cannot be loaded."""
    try:
        import numba

        from simfl.learn.trainers.dense.steps import SIGNATURE, steps
    except ImportError as error:
        raise ScenarioError(
            f'learning.trainer = "compiled" needs Numba, which cannot be loaded here ({error}); '
            'install it, or set learning.trainer = "batched", which gives other last digits'
        ) from error
    folder = private_folder(_homes(), f"dense-{_name(numba.__version__)}")
    with _alone(folder), _kept_in(numba.config, folder):
        made: Callable[..., None] = numba.njit(SIGNATURE, cache=folder is not None)(steps)
    return made


def private_folder(homes: Iterator[Path], name: str) -> Path | None:
    """The first folder `home/name` that this user alone can write, made if need be; or None."""
    for home in homes:
        folder = home / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if all(map(_mine, (folder, home))) and os.access(folder, os.W_OK | os.X_OK):
                return folder
        except OSError:
            continue
    return None


def _mine(folder: Path) -> bool:
    """Whether a real folder belongs to this user, and no other may write into it."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return False
    if os.name != "posix":
        return True  # folders of a user are that user's own
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _homes() -> Iterator[Path]:
    import pooch

    yield Path(pooch.os_cache("simfl")) / "compiled"
    user = os.getuid() if os.name == "posix" else "user"
    yield Path(tempfile.gettempdir()) / f"simfl-{user}"


def _name(version: str) -> str:
    """Differs wherever the code might: Numba looks at one file of the four, and at its date."""
    whole = hashlib.blake2b(version.encode(), digest_size=8)
    for source in _SOURCES:
        whole.update(Path(__file__).with_name(source).read_bytes())
    return whole.hexdigest()


@contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """Of processes that need the code at once, one makes it and the others load it.

    None waits for more than a minute, or on a disk without locks: then each makes its own.
    """
    if folder is None:
        yield
        return
    lock = FileLock(folder / "lock")
    with suppress(Timeout, NotImplementedError, OSError):
        lock.acquire(timeout=60)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _kept_in(config: Any, folder: Path | None) -> Iterator[None]:
    """Numba keeps what is compiled inside in this folder."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder or before)
    try:
        yield
    finally:
        config.CACHE_DIR = before
