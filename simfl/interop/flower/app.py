"""An app as a folder: what its pyproject.toml names, and its run config.

A run config is TOML files and "key=value ..." texts, as `flwr run` takes them.
"""

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

from simfl.errors import InputError, PluginError, did_you_mean, shorten
from simfl.files import parse_toml, read_toml
from simfl.interop.flower.options import Value
from simfl.interop.flower.virtual_time.callers import Code


@dataclass(frozen=True)
class Folder:
    """The apps of a folder with a pyproject.toml.

    server, client: where the apps are, as "module:attribute".
    config: the default run config.
    """

    path: Path
    name: str
    server: str
    client: str
    config: Mapping[str, Value]


def read(path: str | Path) -> Folder:
    """What an app folder says of itself. Raises InputError."""
    file = Path(path) / "pyproject.toml"
    try:
        whole = read_toml(file)
    except InputError as error:
        raise InputError(
            f"{path}: not a Flower app with a sound pyproject.toml ({error})"
        ) from error
    app = _table(whole, "tool", "flwr", "app")
    components = _table(app, "components")
    for key in ("serverapp", "clientapp"):
        if not re.fullmatch(r"[\w.]+:[\w.]+", str(components.get(key, ""))):
            raise InputError(
                f'{file}: tool.flwr.app.components.{key} is missing: expected "module:attribute"'
            )
    name = str(_table(whole, "project").get("name", Path(path).resolve().name))
    config = table_of(_table(app, "config"), str(file))
    return Folder(Path(path), name, components["serverapp"], components["clientapp"], config)


def _table(whole: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table behind these keys; an empty one where there is none."""
    for key in keys:
        found = whole.get(key)
        whole = found if isinstance(found, Mapping) else {}
    return whole


def code_of(folder: Folder, packages: Iterable[str] = ()) -> Code:
    """The code of the app of a folder: all below it, and its packages wherever they are."""
    own = [target.partition(":")[0].partition(".")[0] for target in (folder.server, folder.client)]
    return Code((folder.path.resolve(),), tuple(dict.fromkeys([*own, *packages])))


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


def load_client(target: str) -> Any:
    """The client app of an app whose folder can be imported from."""
    return _import(target)


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise PluginError(f"the app's {target} cannot be imported: {error!r}") from error
    return found


# The run config.

#: A table, a TOML file, or "key=value key=value ...": one of them or, but for a table, several.
RunConfig = str | Path | Iterable[str | Path] | Mapping[str, Value] | None

_PAIR = re.compile(r"""([\w.-]+)\s*=\s*("(?:\\.|[^"])*"|'[^']*'|[^\s"']+)""")
_EXPECTED = 'expected "key=value key=value ..." or a .toml file'


def read_config(given: RunConfig) -> dict[str, Value]:
    """A run config as a flat table; of what is given twice, the later counts. Raises InputError."""
    if isinstance(given, Mapping):
        return table_of(given, "run config")
    found: dict[str, Value] = {}
    texts: list[str] = []
    for part in [given] if isinstance(given, str | Path) else given or ():
        if _names_a_file(part):
            found |= _pairs(texts) | _file(Path(str(part).strip()))
            texts = []
        else:
            texts.append(str(part))
    return found | _pairs(texts)


def configured(config: Mapping[str, Value], changes: Mapping[str, Value]) -> dict[str, Value]:
    """The app's run config with values replaced. Raises InputError for a key that it lacks."""
    unknown = [key for key in changes if key not in config]
    if unknown:
        hint = did_you_mean(unknown[0], config)
        raise InputError(f"run config: {unknown[0]!r} is not a key of the app {hint}")
    return {**config, **changes}


def table_of(table: Mapping[str, Any], where: str) -> dict[str, Value]:
    """Nested tables as one, keys joined by dots. Raises InputError for what Flower cannot take."""
    found = dict(_flat(table))
    for key, value in found.items():
        if not isinstance(value, Value):
            raise InputError(
                f"{where}: {key} = {shorten(repr(value))} is neither a number, a text nor true or "
                "false, which is all that a run config can hold"
            )
    return found


def _names_a_file(part: str | Path) -> bool:
    text = str(part).strip()
    return isinstance(part, Path) or (text.endswith(".toml") and not _PAIR.match(text))


def _file(path: Path) -> dict[str, Value]:
    try:
        table = read_toml(path)
    except InputError as error:
        raise InputError(f"run config: {error}") from error
    return table_of(table, f"run config: {path}")


def _pairs(texts: Iterable[str]) -> dict[str, Value]:
    text = " ".join(texts)
    rest = _PAIR.sub("", text).strip()
    if rest:
        raise InputError(f"run config: cannot read {rest!r}; {_EXPECTED}")
    return {key: _value(key, value) for key, value in _PAIR.findall(text)}


def _value(key: str, value: str) -> Value:
    try:
        found: Value = parse_toml(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        raise InputError(
            f"run config: {key} = {value} is not a TOML value; put quotes around text"
        ) from None
    return found


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
