"""C code of simfl's own, compiled once per machine and kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

#: Fused multiply-adds and the machine's own instructions; no reordering, so NaN stays NaN.
FLAGS = ("-std=c11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
_NATIVE = ("-march=native", "-mcpu=native")  # whichever the compiler knows for its processor


class CannotBuild(Exception):
    """There is no C compiler, or it does not accept the code; says why in a few words."""


@lru_cache
def shared_library(source: Path, cache: Path | None = None) -> ctypes.CDLL:
    """The library made from one C file, compiled if the cache does not have it.

    Raises CannotBuild. The name in the cache tells source, compiler and processor, so that a
    home folder may be shared by unlike machines.
    """
    compiler = _compiler()
    flags, target = _target(compiler)
    words = (source.read_text("utf-8"), compiler, target, *FLAGS, *flags)
    name = hashlib.blake2b("\0".join(words).encode(), digest_size=10).hexdigest()
    path = (cache or cache_dir()) / f"{source.stem}-{name}.so"
    try:
        if not path.exists():
            _compile((compiler, *FLAGS, *flags), source, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotBuild(f"{compiler} could not build {source.name}: {_told(error)}") from error


def cache_dir() -> Path:
    """Where compiled code is kept between runs."""
    import pooch

    return Path(pooch.os_cache("simfl")) / "compiled"


def _compiler() -> str:
    found = (shutil.which(name) for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"))
    path = next(filter(None, found), None)
    if path is None:
        raise CannotBuild("no C compiler was found (CC, cc, gcc or clang)")
    return path


def _target(compiler: str) -> tuple[tuple[str, ...], str]:
    """Flags for this processor, and the macros by which the compiler describes it."""
    for flags in ((flag,) for flag in _NATIVE):
        asked = (compiler, *flags, "-dM", "-E", "-x", "c", os.devnull)
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        if not answer.returncode:
            return flags, answer.stdout
    return (), ""


def _compile(command: tuple[str, ...], source: Path, path: Path) -> None:
    """Puts the library in its place in one move: somebody else may be making it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        call = (*command, "-shared", "-fPIC", str(source), "-o", str(made), "-lm")
        subprocess.run(call, capture_output=True, text=True, check=True)
        os.replace(made, path)


def _told(error: Exception) -> str:
    told = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (str(told).strip().splitlines() or ["no reason given"])[0]
