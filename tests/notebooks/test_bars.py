"""Progress in a notebook: one line of HTML, redrawn."""

from __future__ import annotations

import pytest

from simfl import notebook
from simfl.clock.kernel import Status
from simfl.notebook import RunBar, StudyBar

display = pytest.importorskip("IPython.display")


class Handle:
    """A place on the page."""

    def __init__(self, first: str) -> None:
        self.drawn = [first]

    def update(self, html) -> None:
        self.drawn.append(html.data)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    shown: list[Handle] = []

    def show(html, display_id: bool) -> Handle:
        shown.append(Handle(html.data))
        return shown[-1]

    monkeypatch.setattr(display, "display", show)
    return shown


def test_a_study_has_one_bar_that_fills(page, monkeypatch) -> None:
    monkeypatch.setattr(notebook.time, "monotonic", iter([0.0, 60.0]).__next__)
    bar = StudyBar()
    bar.update(1, 4, "strategy <b>, seed 0")
    bar.update(4, 4, "seed 1")
    bar.close()
    (place,) = page
    assert place.drawn == [
        "<progress value=0.250 max=1></progress> 1/4: strategy &lt;b&gt;, seed 0",
        "<progress value=1.000 max=1></progress> 4/4: seed 1, 0 s left",
    ]


def test_a_run_tells_time_version_and_accuracy(page) -> None:
    RunBar().update(Status(7200.0, 41, 500, 20, 2.0, 9.0, 0, 0, 0.873, 0.25, 0.4))
    assert page[0].drawn == [
        "<progress value=0.250 max=1></progress> t 2 h, version 41, accuracy 87.3 %, loss 0.4, "
        "staleness 2/9"
    ]


def test_a_bar_that_was_not_asked_for_leaves_nothing(page) -> None:
    bar = RunBar(stays=False)
    bar.update(Status(7200.0, 41, 500, 20, 2.0, 9.0, 0, 0, 0.873, 0.25, 0.4))
    bar.close()
    assert page[0].drawn[-1] == ""
    assert notebook.run_bar() is None, "there is no notebook here"
