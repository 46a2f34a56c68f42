"""The documentation: every command in it works, and the site has no dead ends."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import simfl
from simfl.cli import main
from simfl.strategy import STRATEGIES

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"
FILE = re.compile(r"```toml\n# (\S+\.toml)\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


RUN = "import sys; from simfl.cli import main; sys.exit(main())"


class Links(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            if name == "id" and value:
                self.anchors.append(value)


def test_the_tutorial_s_commands_work_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = commands_of(TUTORIAL)
    assert len(lines) > 10
    for line in lines:
        program, *words = shlex.split(line)
        assert (program, main(words)) == ("simfl", 0), line


def test_the_commands_about_flower_work_with_a_shipped_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flwr", reason="needs Flower: pip install 'simfl[flower]'")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "scenarios" / "flower" / "message", "my-app")
    page = ROOT / "docs" / "flower.md"
    (log,) = re.findall(r"```csv\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    Path("pilot.csv").write_text(log, "utf-8")
    lines = [line for line in commands_of(page) if "pip" not in line]
    assert lines
    for line in lines:
        program, *words = shlex.split(line)
        assert (program, main(words)) == ("simfl", 0), line


def commands_of(page: Path) -> list[str]:
    """The lines of a page's shell blocks; its scenarios are in the current folder."""
    text = page.read_text("utf-8")
    for name, source in FILE.findall(text):
        Path(name).write_text(source, "utf-8")
    return [line for block in SHELL.findall(text) for line in block.splitlines()]


@pytest.mark.study  # ten CPU seconds; tests/engine/checkpoints kills and resumes every day
@pytest.mark.skipif(os.name != "posix", reason="needs a shell and SIGKILL")
def test_a_killed_run_is_resumed_and_verified_as_the_page_says(tmp_path: Path) -> None:
    (story,) = SHELL.findall((ROOT / "docs" / "reliability.md").read_text("utf-8"))
    program = tmp_path / "simfl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{RUN}" "$@"\n', "utf-8")
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", story], cwd=tmp_path, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Killed" in done.stderr
    assert simfl.run("quickstart").digest in done.stdout
    assert "broken" not in done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_link_of_the_site_is_broken(site) -> None:
    pages = {page: Links(page) for page in sorted(site.rglob("*.html")) if page.name != "404.html"}
    broken = [
        f"{page.relative_to(site)} -> {link}"
        for page, found in pages.items()
        for link in found.links
        if not leads_somewhere(page, link, pages)
    ]
    assert len(pages) > 15
    assert broken == []


def leads_somewhere(page: Path, link: str, pages: dict[Path, Links]) -> bool:
    """Links to other sites are not followed."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target = target / "index.html"
    known = pages[target].anchors if target in pages else []
    return target.exists() and (not parts.fragment or unquote(parts.fragment) in known)


def test_the_reference_knows_every_strategy_and_key(site) -> None:
    strategies = Links(site / "reference" / "strategies" / "index.html").anchors
    assert set(STRATEGIES.names()) <= set(strategies)
    scenario = (site / "reference" / "scenario" / "index.html").read_text("utf-8")
    assert "drop_probability" in scenario


def test_the_site_needs_no_network(site) -> None:
    """Fonts and scripts come from the site itself."""
    pages = [Links(page) for page in sorted(site.rglob("index.html"))]
    fetched = [link for page in pages for link in page.links if link.endswith((".js", ".css"))]
    assert fetched
    assert [link for link in fetched if urlsplit(link).netloc] == []
