"""Progress bars for notebooks, which `simfl.run` and `simfl.study` show there by themselves."""

from __future__ import annotations

import html
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simfl.clock.kernel import Status


@dataclass
class Pace:
    """Estimates the time left, counting from the first share that was reported.

    Loading of data and runs that were finished earlier come before it and do not count.
    """

    first: tuple[float, float] | None = None  #: (share, when)

    def left_s(self, done: float, now_s: float) -> float | None:
        """Seconds that may be left at this share of the whole; None while nothing is known."""
        if self.first is None:
            self.first = (done, now_s)
        share, since_s = self.first
        return (now_s - since_s) * (1.0 - done) / (done - share) if done > share else None


class _Bar:
    """One line of HTML that is redrawn in place; stays: as it was last, else it goes in the end."""

    def __init__(self, stays: bool = True) -> None:
        self._handle: Any = None
        self._stays = stays
        self._pace = Pace()

    def show(self, done: float, words: str, at_most: bool = False) -> None:
        """Draws a bar filled to this share, with words beside it."""
        from simfl.results import formatting

        left_s = self._pace.left_s(done, time.monotonic())
        left = "" if left_s is None else f", {formatting.seconds(left_s)} left"
        left = left.replace(", ", ", at most ") if at_most else left
        self._draw(f"<progress value={done:.3f} max=1></progress> {html.escape(words + left)}")

    def close(self) -> None:
        """The bar stays as it is, or leaves nothing."""
        if self._handle is not None and not self._stays:
            self._draw("")

    def _draw(self, text: str) -> None:
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(text), display_id=True)
        else:
            self._handle.update(HTML(text))


class RunBar(_Bar):
    """Progress of a run: how far it is, virtual time, accuracy, loss and staleness."""

    def update(self, status: Status) -> None:
        """Redraws the bar."""
        from simfl.results import formatting

        words = (
            f"t {formatting.seconds(status.time_s)}, version {status.versions}, "
            f"accuracy {formatting.share(status.accuracy)}, loss {formatting.number(status.loss)}, "
            f"staleness {formatting.number(status.staleness_p50)}"
            f"/{formatting.number(status.staleness_p95)}"
        )
        self.show(status.stop_fraction, words, at_most=status.target)


class StudyBar(_Bar):
    """Progress of a study: runs that ended, and which was the last."""

    def update(self, done: int, total: int, run: str) -> None:
        """Redraws the bar."""
        self.show(done / total, f"{done}/{total}: {run}")


def run_bar() -> RunBar | None:
    """A bar that goes when the run has ended, if this is a notebook."""
    return RunBar(stays=False) if _in_notebook() else None


def study_bar() -> StudyBar | None:
    """A bar of a study, if this is a notebook."""
    return StudyBar(stays=False) if _in_notebook() else None


def _in_notebook() -> bool:
    """True in a Jupyter kernel; False in a terminal, IPython's among them."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
