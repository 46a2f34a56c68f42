"""The report: one file, complete, and the same for the same runs."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import simfl
from simfl.cli import main
from simfl.errors import InputError
from simfl.results import html
from simfl.results.report import report

VOID = {"meta", "img", "br"}
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
LOOK = """<script>addEventListener("load", () => { document.title = JSON.stringify({
    tables: document.querySelectorAll("table").length,
    wide: document.documentElement.scrollWidth - innerWidth,
    letters: Math.min(
        ...[...document.querySelectorAll("td:first-child")].map(one => one.offsetWidth)),
    dark: getComputedStyle(document.body).backgroundColor,
    pictures: [...document.images].map(one => one.naturalWidth > 0),
    fetched: performance.getEntriesByType("resource").map(one => one.name.slice(0, 5)),
}); })</script>"""


class Page(HTMLParser):
    """Tags that were left open, words, and what is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.names: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.names += [value or "" for name, value in attrs if name == "id"]
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
    inside = [link[1:] for link in seen.links if link.startswith("#")]
    assert inside
    assert set(inside) <= set(seen.names), "the contents list leads to sections"
    pictures = [link for link in seen.links if not link.startswith("#")]
    assert {link.partition(",")[0] for link in pictures} == {"data:image/svg+xml;base64"}
    for link in pictures:
        picture = base64.b64decode(link.partition(",")[2]).decode()
        outside = [
            x
            for x in re.findall(r'(?:href|src)="([^"]+)"', picture)
            if not x.startswith(("#", "data:"))
        ]
        assert outside == []


def test_it_tells_costs_runs_and_scenarios(small, page) -> None:
    words = Page(page.read_text("utf-8")).words
    told = ("Environment", "torch", "signed-rank", "Costs to accuracy 0.6", "3 of 3", "0 of 3",
            "buffered", "timid", "[strategy]")  # fmt: skip
    for said in told:
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
    assert "Failed runs" in words
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


def browse(page: Path, *options: str) -> str:
    """What a real browser, without a window, says about a page."""
    if BROWSER is None:
        pytest.skip("needs Chromium")
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    done = subprocess.run(
        [BROWSER, *quiet, *options, page.as_uri()], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_every_picture_and_nothing_runs_out_of_the_window(
    page, tmp_path, width
) -> None:
    watched = tmp_path / "watched.html"
    watched.write_text(page.read_text("utf-8").replace("</body>", f"{LOOK}</body>"), "utf-8")
    dom = browse(watched, f"--window-size={width},900", "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title
    seen = json.loads(unescape(title[1]))
    assert seen["tables"] == 6
    assert seen["wide"] <= 0
    assert seen["letters"] > 30, "a name is broken letter by letter"
    assert all(seen["pictures"])
    assert set(seen["fetched"]) <= {"data:"}


def test_what_is_folded_away_is_printed_whole(tmp_path) -> None:
    """Four hundred lines fill pages; a folded heading alone fills none."""
    page = html.Page("long")
    page.section("one", html.folded("scenario", "\n".join(f"line {i}" for i in range(400))))
    path, printed = tmp_path / "long.html", tmp_path / "long.pdf"
    path.write_text(page.text(), "utf-8")
    browse(path, "--no-pdf-header-footer", f"--print-to-pdf={printed}")
    assert len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes())) > 6


def test_a_comparison_leaves_a_run_s_own_picture_alone(small, tmp_path, capsys) -> None:
    folders = []
    for number, run in enumerate(list(small.runs().values())[:2]):
        folders.append(str(shutil.copytree(run.folder, tmp_path / str(number))))
    assert main(["plot", folders[0], "participation"]) == 0
    own = (tmp_path / "0" / "participation.png").read_bytes()
    assert main(["plot", *folders, "participation"]) == 0
    assert (tmp_path / "0" / "participation.png").read_bytes() == own
    assert capsys.readouterr().out.split()[1] == str(tmp_path / "0" / "participation-compared.png")
