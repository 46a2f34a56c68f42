"""Random damage, and what becomes of it; the tests try a little of it, the study much.

Each fuzzer makes cases of one kind, for ever: a case is taken, refused in one paragraph, or a bug.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import random
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from spoiling import DAMAGES, SHIPPED, keys_of, read, spoil

import simfl
from simfl.cli import main
from simfl.errors import InputError
from simfl.fleet.traces import Trace, read_trace, write_trace
from simfl.interop.traces import import_trace
from simfl.scenario import parse, reading

TAKEN, REFUSED = "taken", "refused"


@dataclass(frozen=True)
class Case:
    """One attempt. outcome: TAKEN, REFUSED, or what went wrong."""

    what: str
    outcome: str
    seconds: float

    @property
    def bad(self) -> bool:
        return self.outcome not in (TAKEN, REFUSED)


def tried(what: str, work: Callable[[], str]) -> Case:
    """A case of some work, which says its own outcome or raises."""
    begun = time.perf_counter()
    try:
        outcome = work()
    except InputError as error:
        outcome = f"several paragraphs: {error}" if "\n" in str(error) else REFUSED
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
    return Case(what, outcome, time.perf_counter() - begun)


# Scenarios.

ODD: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 10**30, 1e300, -1e-300, 5e-324, 0.5),
    *(float("nan"), float("inf"), True, False, None, "", "x", "Läufe ☂", "a" * 10_000, "\0"),
    *([], {}, [[]], [{}], [1, "x"], {"kind": 3}, {"kind": "x:y"}, {"": 1}, {"kind": "fedavg"}),
)


def scenarios(rng: random.Random) -> Iterator[Case]:
    """A shipped scenario in which some values are others."""
    tables = [(path, _whole(path)) for path in SHIPPED]
    while True:
        path, table = rng.choice(tables)
        table = copy.deepcopy(table)
        changed = rng.sample(keys_of(table), rng.choice((1, 1, 1, 3)))
        for key in changed:
            with contextlib.suppress(LookupError, TypeError):  # an earlier change has removed it
                here = table
                for part in key[:-1]:
                    here = here[part]
                here[key[-1]] = copy.deepcopy(rng.choice(ODD))
        yield tried(f"{path.stem} {changed}", lambda t=table: _parsed(t))


def _whole(path: Path) -> dict[str, Any]:
    table = read(path)
    if "extends" in table:
        table = reading.merged(reading.read(Path(table.pop("extends"))), table)
    if len(table["fleet"]["group"]) > 20:  # one device a group: a few of them are as good
        table["fleet"]["group"] = table["fleet"]["group"][:20]
    return {"name": "fuzz", **table}


def _parsed(table: dict[str, Any]) -> str:
    parse(table, trusted=False)
    return TAKEN


# Traces.


def traces(rng: random.Random, folder: Path) -> Iterator[Case]:
    """A sound trace file, damaged."""
    path = folder / "fuzz.parquet"
    sound = [
        Trace(
            "presence",
            {
                "device": np.array([0, 0, 1]),
                "start_s": np.array([0.0, 5.0, 1.0]),
                "end_s": np.array([3.0, 7.0, 2.0]),
            },
            {"devices": 2, "period_s": 10.0},
        ),
        Trace("capacity", {"train_gflops": np.array([1.0, 2.0, 3.0])}),
        Trace(
            "bandwidth",
            {
                "trace": np.array([0, 0, 1]),
                "t_s": np.array([1.0, 2.0, 1.0]),
                "down_mbps": np.array([1.0, 2.0, 1.0]),
            },
        ),
    ]
    while True:
        trace, how = rng.choice(sound), rng.choice((*DAMAGES[:4], "flip", "flip"))
        write_trace(path, trace)
        spoil(path, how, rng)
        yield tried(f"{trace.kind} {how}", lambda: _read(path))


def _read(path: Path) -> str:
    read_trace(path)
    return TAKEN


# Logs of other programs.

_CELLS = (
    *("0", "1", "2.5", "1,5", "1.234,5", "-1", "nan", "inf", "1e400", "", "x", '"3"', '"', " 7 "),
    *("2016-11-24T10:00:00", "2016-11-24T10:00:00Z", "1516286280", "1516286280000", "9" * 400),
)
_NAMES = ("t_s", "t_ms", "mbps", "up_mbps", "trace", " t_s", "mbps ", '"t_s"', "T_S", "")
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1")


def logs(rng: random.Random, folder: Path) -> Iterator[Case]:
    """A log or a packet file with odd names, cells, separators, line ends, encodings and bytes."""
    path = folder / "log"
    while True:
        kind = rng.choice(("csv", "csv", "json", "mahimahi", "flash"))
        data = bytearray(_log(kind, rng).encode(rng.choice(_ENCODINGS), errors="replace"))
        if data and rng.random() < 0.1:
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        yield tried(f"{kind} {bytes(data)!r}", lambda k=kind: _imported(k, path))


def _imported(kind: str, path: Path) -> str:
    import_trace(kind, path, path.with_suffix(".parquet"))
    return TAKEN


def _log(kind: str, rng: random.Random) -> str:
    names = ["t_s", "mbps"] if rng.random() < 0.6 else rng.choices(_NAMES, k=rng.randint(1, 4))
    rows = [[str(i), *rng.choices(_CELLS, k=len(names) - 1)] for i in range(rng.randint(0, 6))]
    if rng.random() < 0.2:
        rows.append(rng.choices(_CELLS, k=rng.randint(1, 5)))
    if kind in ("json", "flash"):
        tables = [dict(zip(names, row, strict=False)) for row in rows]
        return json.dumps(rng.choice((tables, {"a": tables}, {"a": {"messages": str(rows)}}, 3)))
    lines = rows if kind == "mahimahi" else [names, *rows]
    return rng.choice("\n\r").join(rng.choice(",;\t|").join(line) for line in lines)


# Run folders.

READERS = (
    *(["verify"], ["compare"], ["report"], ["export", "chrome-trace"]),
    *(["plot", kind] for kind in ("accuracy", "critical-path", "staleness", "timeline", "waste")),
)
_JSON = (b"[]", b"null", b"3", b"{}", b'{"digest": 5, "ended": []}', b"[" * 100_000, b"1" * 5_000)
_TOML = (
    *(b"a = 1", b"fleet = 3", b"[fleet]\ngroup = 3", b"[fleet]\ngroup = [1, 2]", b"strategy = 3"),
    *(
        b"[[fleet.group]]\nfaults = 3",
        b"name = 3",
        b"[strategy]\nkind = [1]",
        b"x = " + b"[" * 9_000,
    ),
)


def run_folders(rng: random.Random, whole: Path, spare: Path) -> Iterator[Case]:
    """A copy of a run's folder with one file damaged, given to a command that reads it."""
    names = sorted(p.name for p in whole.iterdir() if p.suffix in (".parquet", ".json", ".toml"))
    names.append("model.safetensors")
    while True:
        shutil.rmtree(spare, ignore_errors=True)
        shutil.copytree(whole, spare)
        name, words = rng.choice(names), rng.choice(READERS)
        how = _damage(spare / name, rng)
        yield tried(f"{name} {how}: {' '.join(words)}", lambda w=words: command(w, spare))


def _damage(path: Path, rng: random.Random) -> str:
    """Spoils the file's bytes, or writes something sound that no run writes."""
    if rng.random() < 0.5:
        how = rng.choice(DAMAGES)
        spoil(path, how, rng)
        return how
    if path.suffix == ".parquet":
        return _forge(path, rng)
    path.write_bytes(rng.choice(_JSON if path.suffix == ".json" else _TOML))
    return "other content"


def _forge(path: Path, rng: random.Random) -> str:
    table = pq.read_table(path)
    name, n = rng.choice(table.column_names), len(table)
    values = rng.choice((None, ["x"] * n, [2**62] * n, [float("nan")] * n, [None] * n))
    if values is None:
        table = rng.choice((table.drop_columns([name]), table.slice(0, 0), table.slice(1)))
    else:
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, path)
    return f"other {name}"


def command(words: list[str], folder: Path) -> str:
    """What the command line makes of a run folder: an exit code, and perhaps one paragraph."""
    from matplotlib import pyplot as plt

    said = io.StringIO()
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        code = main([words[0], str(folder), *words[1:]])
    plt.close("all")
    text = said.getvalue()
    if code == 0:
        return TAKEN
    one = text.startswith("simfl: ") and text.count("\n") == 1 and "a bug" not in text
    return REFUSED if code in (2, 3) and one else f"exit code {code}: {text}"


# Checkpoints.


class Stopper:
    """A progress display that ends its run at the n-th update, as an error would."""

    def __init__(self, n: int) -> None:
        self.left = n

    def update(self, status: object) -> None:
        self.left -= 1
        if not self.left:
            raise RuntimeError("stopped")

    def close(self) -> None: ...


def checkpoints(rng: random.Random, table: dict[str, Any], home: Path) -> Iterator[Case]:
    """An interrupted run's folder with a file of its checkpoints damaged, or two: it goes on.

    table: a scenario that saves and evaluates now and then. Taken is what ends with the digest of
    an unbroken run.
    """
    digest, whole, spare = simfl.run(table).digest, home / "whole", home / "spare"
    with contextlib.suppress(RuntimeError):
        simfl.run(table, out=whole, progress=Stopper(5))
    files = [
        path.relative_to(whole)
        for folder in ("checkpoint", ".parts")
        for path in sorted((whole / folder).rglob("*"))
        if path.is_file()
    ]
    for number in itertools.count():
        shutil.rmtree(spare, ignore_errors=True)
        shutil.copytree(whole, spare)
        chosen = rng.sample(files, 1 + number % 2)
        for name in chosen:
            spoil(spare / name, rng.choice(DAMAGES), rng)
        yield tried(f"{[*map(str, chosen)]}", lambda: _resumed(table, spare, digest))


def _resumed(table: dict[str, Any], out: Path, digest: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = simfl.run(table, out=out, resume=True).digest
    return TAKEN if found == digest else f"digest {found}, not {digest}"


def shown(case: Case) -> str:
    return json.dumps([case.what, case.outcome])
