"""What the command line shows: tables, paragraphs, and a run while it lives."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from simfl.notebook import Pace

if TYPE_CHECKING:
    from simfl.clock.kernel import Status

#: Seconds between two lines where there is no terminal.
LINE_EVERY_S = 5.0
_LOOKS_PER_S = 8


def out() -> Console:
    """Standard output: what was asked for. Lines are never broken where there is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=10_000)


def err() -> Console:
    """Standard error: progress and complaints."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None
) -> Table:
    """A plain table, without markup."""
    drawn = Table(box=None, title=title, title_justify="left", header_style="bold", pad_edge=False)
    for heading in headings:
        drawn.add_column(heading)
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn


def facts(pairs: Mapping[str, str]) -> Table:
    """Names and their values, in two columns."""
    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for subject, words in pairs.items():
        drawn.add_row(Text(subject), Text(words))
    return drawn


class Silent:
    """Progress display that shows nothing."""

    def update(self, status: Status) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Nothing is open."""


class Shown:
    """Progress of a run: one line that is rewritten on a terminal, else a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._last = time.monotonic()
        self._pace = Pace()
        self._live = None
        if console.is_terminal:
            self._live = Live(console=console, transient=True, auto_refresh=False)
            self._live.start()

    def update(self, status: Status) -> None:
        """Shows the status, unless the last one was shown just now."""
        now = time.monotonic()
        left_s = self._pace.left_s(status.stop_fraction, now)
        if now - self._last < (1 / _LOOKS_PER_S if self._live else LINE_EVERY_S):
            return
        self._last = now
        line = Text(
            progress_line(status, now - self._started, left_s), no_wrap=True, overflow="ellipsis"
        )
        if self._live:
            self._live.update(line, refresh=True)
        else:
            self._console.print(line)

    def close(self) -> None:
        """Removes the line from a terminal."""
        if self._live:
            self._live.stop()


class StudyProgress:
    """Progress of a study: a line for every run that ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace = Pace()

    def update(self, done: int, total: int, run: str) -> None:
        """Says which run ended, how many did, and how long the rest may take."""
        from simfl.results import formatting

        left_s = self._pace.left_s(done / total, time.monotonic())
        left = "" if left_s is None else f", {formatting.seconds(left_s)} left"
        self._console.print(Text(f"{done}/{total}{left}: {run}"))

    def close(self) -> None:
        """Nothing is open."""


def progress(quiet: bool) -> Silent | Shown:
    """Progress on standard error."""
    return Silent() if quiet else Shown(err())


def progress_line(status: Status, elapsed_s: float, left_s: float | None = None) -> str:
    """A status in one line.

    elapsed_s: seconds that the simulating machine has taken so far.
    left_s: those that it may still need; with a target to meet, at most.
    """
    from simfl.results import formatting

    done = status.stop_fraction
    sign = "at most " if status.target else ""
    parts = [
        f"{100 * done:.0f} %" + f", {sign}{formatting.seconds(left_s)} left" * (left_s is not None),
        f"t {formatting.seconds(status.time_s)}",
        f"version {status.versions}",
        f"accuracy {formatting.share(status.accuracy)}",
        f"loss {formatting.number(status.loss)}",
        f"staleness {formatting.number(status.staleness_p50)}"
        f"/{formatting.number(status.staleness_p95)}",
        f"{status.tasks / max(elapsed_s, 1e-9):.0f} tasks/s",
        f"{formatting.amount(status.down_bytes, 'B')} down",
        f"{formatting.amount(status.up_bytes, 'B')} up",
    ]
    return "  ".join(parts)
