"""Progress bars for notebooks: `simfl.study(..., progress=StudyBar())`. Needs IPython."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simfl.clock.kernel import Status


class _Bar:
    """One line of HTML that is redrawn in place and stays as it was last."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, done: float, words: str) -> None:
        """Draws a bar filled to this share, with words beside it."""
        from IPython.display import HTML, display

        drawn = HTML(f"<progress value={done:.3f} max=1></progress> {html.escape(words)}")
        if self._handle is None:
            self._handle = display(drawn, display_id=True)
        else:
            self._handle.update(drawn)

    def close(self) -> None:
        """The bar stays as it is."""


class RunBar(_Bar):
    """Progress of a run: how far it is, virtual time, accuracy."""

    def update(self, status: Status) -> None:
        """Redraws the bar."""
        from simfl.results import formatting

        words = f"t {formatting.seconds(status.time_s)}, version {status.versions}, accuracy "
        self.show(status.stop_fraction, words + formatting.share(status.accuracy))


class StudyBar(_Bar):
    """Progress of a study: cells that ended, and which was the last."""

    def update(self, done: int, total: int, cell: str) -> None:
        """Redraws the bar."""
        self.show(done / total, f"{done}/{total}: {cell}")
