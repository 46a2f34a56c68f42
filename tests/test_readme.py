"""Documents do not lie: their Python runs, and prints what they say it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simfl.fleet.catalogue import load_device

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", re.DOTALL)
CLASS = re.compile(r"```toml\n(# devices/(\w+)\.toml\n.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#]+)[^)]*\)")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SNIPPETS = [
    pytest.param(code, said, id=f"{path.name}-{i}")
    for path in DOCUMENTS
    for i, (code, said) in enumerate(BLOCK.findall(path.read_text("utf-8")))
]


@pytest.mark.parametrize(("code", "said"), SNIPPETS)
def test_python_in_a_document_prints_what_it_says(
    code: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Words to the letter; numbers nearly, for other machines round floats in other ways."""
    if "from flwr" in code:
        pytest.importorskip("flwr", reason="needs Flower: pip install 'simfl[flower]'")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "<document>", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert words(printed) == words(said)
    assert numbers(printed) == pytest.approx(numbers(said), rel=0.1)


def test_the_device_class_of_the_guide_is_one(tmp_path: Path) -> None:
    ((source, name),) = CLASS.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    (tmp_path / f"{name}.toml").write_text(source, "utf-8")
    assert load_device(name, [tmp_path]).train_gflops.value > 0


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    links = LINK.findall(path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def words(text: str) -> list[str]:
    return NUMBER.sub("#", text).split()


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]
