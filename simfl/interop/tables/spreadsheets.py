"""Rows of CSV and JSON files, however a spreadsheet has written them down."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simfl.errors import TraceError, first_line, shorten
from simfl.interop.tables.encodings import read_text

#: What may stand between columns; commas are decimal where it is a semicolon.
_DELIMITERS = ",;\t|"


@dataclass
class Rows:
    """Rows of a file, and how its numbers and times are written, which must be one way.

    rows: (where, row), as in ("line 3", {"t_s": "0.5"}).
    decimal_comma: may `5,5` be a number?
    """

    path: Path
    rows: Iterator[tuple[str, Mapping[str, Any]]]
    decimal_comma: bool = False
    points: str = ""  #: the decimal sign that was met
    clock: str = ""  #: the kind of times that was met

    def number(self, where: str, row: Mapping[str, Any], name: str) -> float:
        """A cell as a number from 0 on. Raises TraceError."""
        given = row.get(name)
        text = given.strip() if isinstance(given, str) else given
        if isinstance(text, str) and self.decimal_comma:
            text = self._with_point(where, name, text)
        try:
            number = float(text) if not isinstance(text, bool) else float("nan")  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not 0.0 <= number < float("inf"):
            value = shorten(repr(given))
            raise TraceError(f"{self.path}: {where}: {name} = {value}, expected a number from 0 on")
        return number

    def time_s(self, where: str, row: Mapping[str, Any], name: str) -> float:
        """A moment in seconds, from a number or an ISO 8601 time stamp. Raises TraceError."""
        given = row.get(name)
        stamp = _stamp(given) if isinstance(given, str) else None
        clock = (
            "a number" if stamp is None else "a time stamp" + " with a zone" * bool(stamp.tzinfo)
        )
        if stamp is None:
            moment = self.number(where, row, name) * (1e-3 if name == "t_ms" else 1.0)
        else:
            moment = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
        if clock != (self.clock or clock):
            raise TraceError(
                f"{self.path}: {where}: {name} = {shorten(repr(given))}, expected {self.clock} as "
                "in the rows above"
            )
        self.clock = clock
        if abs(moment) >= MOST_TIME_S:
            raise TraceError(
                f"{self.path}: {where}: {name} = {shorten(repr(given))} is no time in seconds; "
                "milliseconds go into a column t_ms"
            )
        return moment

    def _with_point(self, where: str, name: str, text: str) -> str:
        """The number with a decimal point. Two signs in a file leave open which is decimal."""
        signs = {sign for sign in ",." if sign in text}
        if len(signs | set(self.points)) > 1 or text.count(",") > 1:
            raise TraceError(
                f"{self.path}: {where}: {name} = {shorten(text)!r}: expected decimal commas or "
                "decimal points, not both, and no signs between thousands"
            )
        self.points = self.points or "".join(signs)
        return text.replace(",", ".")


#: Seconds since 1970 of the year 5138; a larger number counts something shorter.
MOST_TIME_S = 1e11


def _stamp(text: str) -> datetime | None:
    """An ISO 8601 time stamp; None for anything else, and for a bare number."""
    if not {"-", ":"} & set(text.strip()[1:]):
        return None
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def csv_rows(path: Path) -> Rows:
    """Rows of a CSV file by the names in its first line. Raises TraceError.

    Columns are separated by whichever of , ; tab and | its first line has most of; a line
    `sep=;`, as Excel writes it, says so as well. Blanks around names and cells mean nothing.
    """
    text = read_text(path)
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:
        delimiter, text = first.strip()[4], rest
    else:
        head = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = max(_DELIMITERS, key=head.count)
    return Rows(path, _cells(path, text, delimiter), decimal_comma=delimiter == ";")


def _cells(path: Path, text: str, delimiter: str) -> Iterator[tuple[str, dict[str, str]]]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    names: list[str] | None = None
    try:
        for line in lines:
            cells = [cell.strip() for cell in line]
            if not any(cells):
                continue
            where = f"line {lines.line_num}"
            if names is None:
                names = _names(path, cells)
                continue
            if any(cells[len(names) :]):
                raise TraceError(
                    f"{path}: {where}: {len(cells)} cells, expected {len(names)} (columns are "
                    f"separated by {delimiter!r}; decimal commas need semicolons between columns)"
                )
            yield where, dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise TraceError(f"{path}: not sound CSV ({first_line(error)})") from error


def _names(path: Path, cells: list[str]) -> list[str]:
    """Column names, each of them once. Empty ones, behind a last delimiter, are no columns."""
    twice = [name for i, name in enumerate(cells) if name and name in cells[:i]]
    if twice:
        raise TraceError(f"{path}: two columns are called {shorten(twice[0])!r}")
    return cells


def json_rows(path: Path) -> Rows:
    """Rows of a JSON file: a list of tables, or {name of a recording: list}. Raises TraceError."""
    text = read_text(path)
    try:
        log = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: not sound JSON ({first_line(error)})") from error
    named = log if isinstance(log, dict) else {None: log}
    for rows in named.values():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise TraceError(f"{path}: expected a list of rows, each a table with t_s and mbps")
    return Rows(path, _tables(named))


def json_line_rows(path: Path) -> Rows:
    """Rows of a file with a JSON table on each line, or of a JSON file. Raises TraceError."""
    lines = [(k, line) for k, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    try:
        rows = [(f"line {k}", json.loads(line)) for k, line in lines]
    except (ValueError, RecursionError):
        return json_rows(path)
    if len(rows) == 1 and not _is_flat(rows[0][1]):
        return json_rows(path)
    wrong = next((where for where, row in rows if not isinstance(row, dict)), None)
    if wrong:
        raise TraceError(f"{path}: {wrong}: expected a JSON table, a row of the log")
    return Rows(path, iter(rows))


def _is_flat(row: Any) -> bool:
    return isinstance(row, dict) and not any(isinstance(one, list | dict) for one in row.values())


def _tables(named: Mapping[Any, list[dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    for name, rows in named.items():
        for row in rows:
            number += 1
            trace = {} if name is None else {"trace": name}
            yield f"row {number}", trace | {key.strip(): value for key, value in row.items()}
