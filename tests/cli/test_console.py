"""What people see while a run lives."""

from __future__ import annotations

import io
from dataclasses import replace
from math import nan

import pytest
from rich.console import Console

from simfl.cli import console
from simfl.clock.kernel import Status
from simfl.notebook import Pace

STATUS = Status(
    time_s=7200.0,
    versions=41,
    tasks=500,
    in_flight=20,
    staleness_p50=2.0,
    staleness_p95=9.0,
    down_bytes=41_500_000,
    up_bytes=2_000_000,
    accuracy=0.873,
    stop_fraction=0.25,
)


def test_a_line_says_when_how_far_how_fast_and_how_much() -> None:
    line = console.progress_line(STATUS, elapsed_s=10.0, left_s=30.0)
    assert line == (
        "25 %, 30 s left  t 2 h  version 41  accuracy 87.3 %  loss -  staleness 2/9  50 tasks/s  "
        "41.5 MB down  2 MB up"
    )


def test_a_run_that_has_just_begun_has_no_forecast() -> None:
    first = Status(0.0, 0, 0, 0, nan, nan, 0, 0, nan, 0.0)
    assert console.progress_line(first, elapsed_s=0.0).startswith("0 %  t 0 s  version 0")


def test_with_a_target_a_forecast_is_an_upper_bound() -> None:
    line = console.progress_line(replace(STATUS, target=True, loss=0.5), 10.0, 30.0)
    assert line.startswith("25 %, at most 30 s left")
    assert "loss 0.5" in line


def test_a_forecast_counts_from_the_first_that_was_seen() -> None:
    """Half an hour of loading before it says nothing about the rest."""
    pace = Pace()
    assert pace.left_s(0.1, 1800.0) is None
    assert pace.left_s(0.1, 1801.0) is None
    assert pace.left_s(0.2, 1802.0) == pytest.approx(16.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The machine's clock, which the test moves by hand."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def lines(screen: Console) -> list[str]:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


def test_without_a_terminal_there_is_a_line_now_and_then(clock: list[float]) -> None:
    screen = Console(file=io.StringIO(), width=200)
    shown = console.Shown(screen)
    for now in (101.0, 105.0, 106.0, 109.9, 110.0):
        clock[0] = now
        shown.update(STATUS)
    shown.close()
    assert len(lines(screen)) == 2
    assert all("version 41" in line for line in lines(screen))


def test_a_terminal_gets_one_line_that_is_rewritten_and_removed(clock: list[float]) -> None:
    screen = Console(file=io.StringIO(), width=60, force_terminal=True, legacy_windows=False)
    shown = console.Shown(screen)
    clock[0] = 101.0
    shown.update(STATUS)
    shown.update(STATUS)
    shown.close()
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("version 41") == 2  # when it was updated, and once more at the end
    assert text.rstrip().endswith("\x1b[2K")


def test_quiet_progress_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    watch = console.progress(quiet=True)
    watch.update(STATUS)
    watch.close()
    assert capsys.readouterr() == ("", "")


def test_cells_are_shown_as_they_are() -> None:
    """A list of bounds looks like markup to rich; it must not vanish."""
    screen = Console(file=io.StringIO(), width=80)
    screen.print(console.table(("option",), [("[bold] or [1, 2]",)]))
    screen.print(console.facts({"[a]": "[b]"}))
    assert "[bold] or [1, 2]" in screen.file.getvalue()  # type: ignore[attr-defined]
    assert "[a]  [b]" in screen.file.getvalue()  # type: ignore[attr-defined]
