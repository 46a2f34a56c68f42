"""The report: one file, complete, and the same for the same runs."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import simfl
from simfl.cli import main
from simfl.errors import InputError
from simfl.results.report import report

VOID = {"meta", "img", "br"}
BROWSE = """
import sys
from PyQt6.QtCore import QTimer, QUrl
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication
LOOK = '''JSON.stringify({
    title: document.title,
    tables: document.querySelectorAll("table").length,
    pictures: [...document.images].map(one => one.naturalWidth > 0),
    fetched: performance.getEntriesByType("resource").map(one => one.name.slice(0, 5)),
})'''
app = QApplication(sys.argv)
view = QWebEngineView()
view.loadFinished.connect(
    lambda ok: view.page().runJavaScript(LOOK, lambda said: (print(said), app.quit()))
)
view.load(QUrl.fromLocalFile(sys.argv[1]))
QTimer.singleShot(60_000, app.quit)
app.exec()
"""


class Page(HTMLParser):
    """Tags that were left open, words, and what is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def page(small: simfl.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(small, tmp_path_factory.mktemp("report") / "study.html")


def test_the_file_is_complete_and_refers_to_nothing_else(page) -> None:
    seen = Page(page.read_text("utf-8"))
    assert seen.open == []
    assert seen.links
    assert {link.partition(",")[0] for link in seen.links} == {"data:image/svg+xml;base64"}
    for link in seen.links:
        picture = base64.b64decode(link.partition(",")[2]).decode()
        outside = [
            x
            for x in re.findall(r'(?:href|src)="([^"]+)"', picture)
            if not x.startswith(("#", "data:"))
        ]
        assert outside == []


def test_it_tells_costs_runs_and_scenarios(small, page) -> None:
    words = Page(page.read_text("utf-8")).words
    for said in ("Costs to accuracy 0.6", "3 of 3", "0 of 3", "buffered", "timid", "[strategy]"):
        assert said in words
    for run in small.runs().values():
        assert run.digest in words


def test_the_same_runs_give_the_same_bytes(small, tmp_path) -> None:
    runs = list(small.runs().values())[:1]
    first, again = (report(runs, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == again


def test_names_are_words_and_no_markup(small, tmp_path) -> None:
    (run,) = small.runs(strategy="timid").values()
    run.scenario["name"] = "<script>alert(1)</script>"
    text = report([run], tmp_path / "r.html").read_text("utf-8")
    assert "<script>" not in text
    assert "<script>" in Page(text).words


@pytest.mark.usefixtures("broken")
def test_a_study_with_failures_names_them(bench, tmp_path) -> None:
    raises = {**bench["strategy"], "kind": "broken:Raises"}
    study = simfl.study(bench, [bench["strategy"], raises], seeds=[1], out=tmp_path / "s")
    words = Page(report(study, tmp_path / "r.html").read_text("utf-8")).words
    assert "Failed cells" in words
    assert "on purpose" in words


def test_nothing_to_report_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="at least one run"):
        report([], tmp_path / "r.html")


def test_the_command_takes_runs_or_a_study(small, tmp_path, capsys) -> None:
    assert main(["report", str(small.folder), "-o", str(tmp_path / "study.html")]) == 0
    one = next(iter(small.results.values())).folder
    assert main(["report", str(one), "-o", str(tmp_path / "run.html")]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / f"{n}.html") for n in ("study", "run")
    ]
    assert "Progress" in (tmp_path / "study.html").read_text("utf-8")


def test_a_browser_shows_every_picture_and_fetches_nothing(page) -> None:
    """A real one, without a window: needs PyQt6-WebEngine, of the extra `browser`."""
    pytest.importorskip("PyQt6.QtWebEngineWidgets", exc_type=ImportError)
    quiet = {"QT_QPA_PLATFORM": "offscreen",
             "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", BROWSE, str(page)],
        capture_output=True, text=True, env=os.environ | quiet,
    )  # fmt: skip
    assert done.stdout, done.stderr
    seen = json.loads(done.stdout)
    assert seen["title"] == "small"
    assert seen["tables"] == 3
    assert all(seen["pictures"])
    assert set(seen["fetched"]) <= {"data:"}
