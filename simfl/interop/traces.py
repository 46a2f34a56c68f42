"""Traces of other people's formats as traces of simfl: `simfl traces import`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from simfl.errors import TraceError, did_you_mean
from simfl.fleet.traces import Trace, write_trace
from simfl.interop import fedscale, flash, throughput
from simfl.interop.tables import measured

#: format -> (file, options) -> trace
FORMATS: dict[str, Callable[..., Trace]] = {
    "fedscale": fedscale.read,
    "flash": flash.read,
    "mahimahi": throughput.read_mahimahi,
    "csv": measured.read_csv,
    "json": measured.read_json,
}


@dataclass(frozen=True)
class Imported:
    """What came of an import; in words, with the notes that its reader made."""

    trace: Trace
    path: Path

    def __str__(self) -> str:
        head = f"{self.path}: a {self.trace.kind} trace of {len(self.trace):,} rows"
        return "\n- ".join([head, *self.trace.about.get("notes", ())])


def import_trace(kind: str, source: Path, out: Path, **options: Any) -> Imported:
    """Reads a file of a foreign format and writes it as a trace of simfl. Raises TraceError.

    options: of the format, see its `read`.
    """
    if kind not in FORMATS:
        raise TraceError(f"{kind!r} is not a format of traces {did_you_mean(kind, FORMATS)}")
    if not source.is_file():
        raise TraceError(f"{source}: no file is there")
    known = [
        p.name for p in signature(FORMATS[kind]).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    strange = [name for name in options if name not in known]
    if strange:
        raise TraceError(
            f"{strange[0]} is not an option of {kind} {did_you_mean(strange[0], known)}"
        )
    trace = FORMATS[kind](source, **options)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_trace(out, trace)
    return Imported(trace, out)
