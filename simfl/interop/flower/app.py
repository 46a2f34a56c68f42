"""An app as a folder: what its pyproject.toml names, and how it is configured."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simfl.errors import InputError, PluginError, did_you_mean
from simfl.interop.flower.options import Value

#: A table, or "key=value key=value ..." in one text or several.
RunConfig = str | Iterable[str] | Mapping[str, Value] | None

_PAIR = re.compile(r"""([\w.-]+)\s*=\s*("(?:\\.|[^"])*"|'[^']*'|[^\s"']+)""")


@dataclass(frozen=True)
class Folder:
    """server, client: where the apps are, as "module:attribute". config: the default run config."""

    path: Path
    name: str
    server: str
    client: str
    config: Mapping[str, Value]


def read(path: str | Path) -> Folder:
    """What an app folder says of itself. Raises InputError."""
    file = Path(path) / "pyproject.toml"
    try:
        whole = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: not a Flower app, it has no pyproject.toml ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: {error}") from error
    app = whole.get("tool", {}).get("flwr", {}).get("app", {})
    components = app.get("components", {})
    for key in ("serverapp", "clientapp"):
        if not re.fullmatch(r"[\w.]+:[\w.]+", str(components.get(key, ""))):
            raise InputError(
                f'{file}: tool.flwr.app.components.{key} is missing: expected "module:attribute"'
            )
    name = str(whole.get("project", {}).get("name", Path(path).resolve().name))
    config = dict(_flat(app.get("config", {})))
    return Folder(Path(path), name, components["serverapp"], components["clientapp"], config)


def configured(config: Mapping[str, Value], changes: Mapping[str, Value]) -> dict[str, Value]:
    """The app's run config with values replaced. Raises InputError for a key that it lacks."""
    unknown = [key for key in changes if key not in config]
    if unknown:
        hint = did_you_mean(unknown[0], config)
        raise InputError(f"run config: {unknown[0]!r} is not a key of the app {hint}")
    return {**config, **changes}


@contextmanager
def loaded(folder: Folder) -> Iterator[tuple[Any, Any]]:
    """The server app and the client app, imported anew; forgotten when the run is over.

    Raises PluginError if one of them cannot be imported.
    """
    root = str(folder.path.resolve())
    sys.path.insert(0, root)
    before = set(sys.modules)
    try:
        yield _import(folder.server), _import(folder.client)
    finally:
        sys.path.remove(root)
        for name in set(sys.modules) - before:
            where = getattr(sys.modules[name], "__file__", None) or ""
            if Path(where).is_relative_to(root):
                del sys.modules[name]


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise PluginError(f"the app's {target} cannot be imported: {error!r}") from error
    return found


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def told(given: RunConfig) -> dict[str, Value]:
    """A run config as a table; "k=v ..." is read as Flower reads it. Raises InputError."""
    if isinstance(given, Mapping):
        return dict(given)
    text = given if isinstance(given, str) else " ".join(given or ())
    rest = _PAIR.sub("", text).strip()
    if rest:
        raise InputError(f'run config: cannot read {rest!r}; expected "key=value key=value ..."')
    found: dict[str, Value] = {}
    for key, value in _PAIR.findall(text):
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            raise InputError(
                f"run config: {key} = {value} is not a TOML value; put quotes around text"
            ) from None
    return found
