"""App folders, run configs, and the Flower that is installed, or is not."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from simfl.cli import main as command
from simfl.errors import InputError, PluginError
from simfl.interop.flower import app as folders
from simfl.interop.flower.app import configured, read_config
from simfl.interop.flower.bridge.installed import installed

PROJECT = """
[project]
name = "mine"
[tool.flwr.app.components]
serverapp = "petals.server:app"
clientapp = "petals.client:app.inner"
[tool.flwr.app.config]
rounds = 3
name = "a b"
optimiser.lr = 0.1
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT, "utf-8")
    (tmp_path / "petals").mkdir()
    (tmp_path / "petals" / "__init__.py").touch()
    (tmp_path / "petals" / "server.py").write_text("calls = []\napp = calls.append", "utf-8")
    source = "from types import SimpleNamespace as N\napp = N(inner=len)"
    (tmp_path / "petals" / "client.py").write_text(source, "utf-8")
    return tmp_path


def test_a_folder_says_what_its_apps_are_and_how_they_are_configured(app: Path) -> None:
    folder = folders.read(app)
    assert (folder.name, folder.server, folder.client) == (
        "mine", "petals.server:app", "petals.client:app.inner",
    )  # fmt: skip
    assert folder.config == {"rounds": 3, "name": "a b", "optimiser.lr": 0.1}


def test_apps_are_imported_anew_for_every_run(app: Path) -> None:
    path = list(sys.path)
    for _ in range(2):
        with folders.loaded(folders.read(app)) as (server, client):
            assert sys.modules["petals.server"].calls == []
            server(1)
            assert client is len
        assert not any(name.startswith("petals") for name in sys.modules)
    assert sys.path == path


def test_an_app_that_cannot_be_imported_is_told(app: Path) -> None:
    (app / "petals" / "client.py").write_text("import no_such_thing", "utf-8")
    with (
        pytest.raises(PluginError, match=r"petals.client:app.inner cannot be imported.*no_such"),
        folders.loaded(folders.read(app)),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "not a Flower app"),
        ("[tool.flwr.app", "pyproject.toml"),
        ("[project]\nname = 'x'", "components.serverapp is missing"),
        (PROJECT.replace("petals.client:app.inner", "petals"), "components.clientapp is missing"),
    ],
)
def test_a_folder_that_is_no_app_is_told(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text, "utf-8")
    with pytest.raises(InputError, match=said):
        folders.read(tmp_path)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        (
            "a=1 b=0.5 c=true d='x y' e.f=\"z\"",
            {"a": 1, "b": 0.5, "c": True, "d": "x y", "e.f": "z"},
        ),
        (["a = 1", "b=-2e-3"], {"a": 1, "b": -2e-3}),
    ],
)
def test_a_run_config_is_read_as_flower_reads_it(given, found) -> None:
    assert read_config(given) == found


def test_a_run_config_comes_from_files_and_pairs_and_the_last_word_counts(tmp_path: Path) -> None:
    """Flower takes one file or pairs; here any number of both."""
    (tmp_path / "a b.toml").write_text("rounds = 2\n[optimiser]\nlr = 0.1\n", "utf-8")
    (tmp_path / "c.toml").write_text("rounds = 4", "utf-8")
    first, second = str(tmp_path / "a b.toml"), tmp_path / "c.toml"
    assert read_config(first) == {"rounds": 2, "optimiser.lr": 0.1}
    assert read_config(["rounds=9", first, "optimiser.lr=0.2"]) == {
        "rounds": 2,
        "optimiser.lr": 0.2,
    }
    assert read_config([first, second])["rounds"] == 4
    assert read_config("file='x.toml'") == {"file": "x.toml"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "c.toml: cannot be read"),
        ("rounds = ", "c.toml"),
        ("rounds = [1]", r"c.toml: rounds = \[1\] is neither a number, a text nor true or false"),
    ],
)
def test_a_run_config_file_that_will_not_do_is_told(
    text: str | None, said: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "c.toml").write_text(text, "utf-8")
    with pytest.raises(InputError, match=said) as caught:
        read_config(tmp_path / "c.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["a", "a=b", "a=1 b", "=1"])
def test_a_run_config_that_cannot_be_read_is_told(given: str) -> None:
    with pytest.raises(InputError, match="run config: "):
        read_config(given)


def test_a_key_that_the_app_does_not_have_is_told() -> None:
    assert configured({"lr": 0.1, "rounds": 3}, {"lr": 1.0}) == {"lr": 1.0, "rounds": 3}
    with pytest.raises(InputError, match=r"'round' is not a key of the app .did you mean 'rounds'"):
        configured({"rounds": 3}, {"round": 1})


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, r"Flower is not installed \(pip install 'simfl\[flower\]'"),
        ("1.8.0", "Flower 1.8.0 is too old, simfl needs 1.22"),
        ("9.0.0", "Flower 9.0.0 is not one that simfl knows"),
    ],
)
def test_a_flower_that_will_not_do_is_told_in_one_paragraph(
    version: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", told)
    monkeypatch.setitem(sys.modules, "simfl.interop.flower.bridge.patches", None)
    with pytest.raises(InputError, match=said) as caught:
        installed()
    assert "\n" not in str(caught.value)


def test_the_command_needs_flower_only_when_it_plays(
    app: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "simfl.interop.flower.bridge.patches", None)
    monkeypatch.chdir(tmp_path)
    assert command(["flower", str(app), "--fleet", "flower/phones", "--run-config", "x=1"]) == 2
    assert "'x' is not a key of the app" in capsys.readouterr().err
    assert command(["flower", str(app), "--fleet", "flower/phones"]) == 2
    assert "Flower" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
