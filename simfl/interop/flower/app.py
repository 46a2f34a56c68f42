"""An app as a folder: what its pyproject.toml names, and how it is configured."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simfl.errors import InputError, PluginError
from simfl.files import read_toml
from simfl.interop.flower.callers import Code
from simfl.interop.flower.config import table_of
from simfl.interop.flower.options import Value


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
