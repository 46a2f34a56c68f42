"""Error messages of scenarios: where, what was given, and what would do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from simfl.errors import InputError, ScenarioError, did_you_mean

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake. `text` goes on where the key path ends; `error` is what it is raised as.

    given, options: a word, and those that would do; the nearest is looked for when it is shown.
    """

    path: KeyPath
    text: str
    error: type[InputError] = ScenarioError
    given: str = ""
    options: tuple[str, ...] = ()
    unknown: bool = False  #: is `given` a key that its table does not have?
    homes: tuple[str, ...] = ()  #: sections that do have it

    def __str__(self) -> str:
        hint = f" {did_you_mean(self.given, self.options)}" if self.options else ""
        home = f"; {' and '.join(self.homes)} has an option of this name" if self.homes else ""
        return f"{dotted(self.path)}{self.text}{hint}{home}"

    def below(self, *outer: str | int) -> Problem:
        """The same mistake, seen from further out."""
        return replace(self, path=(*outer, *self.path))


_WORD = re.compile(r"[\w-]{1,60}")


def dotted(path: KeyPath) -> str:
    """A key path as `--set` takes it: `fleet.group.0.count`; other than short words in quotes.

    >>> dotted(("fleet", "group", 0, "my phones"))
    'fleet.group.0."my phones"'
    """
    return ".".join(str(key) if _WORD.fullmatch(str(key)) else shown(str(key)) for key in path)


def shown(value: Any) -> str:
    """A value as TOML would have it, or nearly so, on at most sixty characters."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def all_of(names: Sequence[str]) -> str:
    """Names as a sentence lists them: `a, b and c`.

    >>> all_of(["a", "b", "c"])
    'a, b and c'
    """
    return f"{', '.join(names[:-1])} and {names[-1]}"


def unknown(path: KeyPath, owner: str, options: Iterable[str]) -> Problem:
    """A key that is not read."""
    return Problem(
        path,
        f" is not an option of {owner}",
        given=str(path[-1]),
        options=tuple(options),
        unknown=True,
    )


def carried(problems: Sequence[Problem]) -> PydanticCustomError:
    """Problems as an error that pydantic takes along; `problems_of` finds them again."""
    return PydanticCustomError("problems", "see context", {"problems": tuple(problems)})


def problems_of(
    error: ValidationError, model: type[BaseModel], data: Any, owner: str = ""
) -> list[Problem]:
    """What pydantic found, one problem for each key path; unknown keys, often the cause, first.

    owner: the part whose options the outermost table holds, beside its `kind`; a section, by
    default, is called by its name.
    """
    found: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        missing = detail["type"] == "missing"
        found.setdefault(_path_in(data, detail["loc"], missing), []).append(detail)
    above = {path[:depth] for path in found for depth in range(len(path))}
    deepest = [path for path in found if path not in above]
    deepest.sort(key=lambda path: found[path][0]["type"] != "extra_forbidden")
    return [one for path in deepest for one in _described(path, found[path], model, owner)]


def _described(
    path: KeyPath, details: list[ErrorDetails], model: type[BaseModel], owner: str
) -> list[Problem]:
    first = details[0]
    kind, context = first["type"], first.get("ctx", {})
    if kind == "problems":
        return [problem.below(*path) for problem in context["problems"]]
    if kind == "extra_forbidden":
        part = owner if len(path) == 1 else ""
        tables = _tables_at(model, path[:-1])
        meant = [table for table in tables if {table.__name__, _kind(table)} & set(first["loc"])]
        options = _keys(meant or tables) + ["kind"] * bool(part)
        return [unknown(path, part or _section(path[:-1]), options)]
    if kind == "missing":
        return [Problem(path, " is missing")]
    if kind == "value_error":
        return [Problem(path, f": {context['error']}")]
    if kind == "union_tag_not_found":
        return [_without_kind(path, first["input"], _tables_at(model, path))]
    if kind == "union_tag_invalid":
        hint = did_you_mean(str(context["tag"]), map(_kind, _tables_at(model, path)))
        return [Problem((*path, "kind"), f" = {shown(context['tag'])} is not known {hint}")]
    wanted = " or ".join(dict.fromkeys(_expected(detail) for detail in details))
    return [Problem(path, f" = {shown(first['input'])}, expected {wanted}")]


def _expected(detail: ErrorDetails) -> str:
    words = _EXPECTED.get(detail["type"])
    return words(detail.get("ctx", {})) if words else detail["msg"].removeprefix("Input should be ")


def _bound(words: str, key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda context: f"a number {words} {context[key]:g}"


def _just(words: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda context: words


# How pydantic's error types read; others keep pydantic's own words.
_EXPECTED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    **dict.fromkeys(("int_type", "int_from_float"), _just("a whole number")),
    **dict.fromkeys(("list_type", "tuple_type"), _just("a list")),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), _just("a table")),
    "float_type": _just("a number"),
    "string_type": _just("text"),
    "bool_type": _just("true or false"),
    "finite_number": _just("a finite number"),
    "greater_than": _bound("above", "gt"),
    "greater_than_equal": _bound("not below", "ge"),
    "less_than": _bound("below", "lt"),
    "less_than_equal": _bound("not above", "le"),
    "too_short": lambda context: f"at least {context['min_length']} of them",
    "string_too_short": _just("text that is not empty"),
    "string_pattern_mismatch": _just("letters, digits, and - _ . or spaces between them"),
    "literal_error": lambda context: str(context["expected"]),
}


def _path_in(data: Any, loc: tuple[str | int, ...], missing: bool) -> KeyPath:
    """The keys of `loc` that are really in the data: pydantic adds names of union members."""
    path: list[str | int] = []
    words = [word for key in loc for word in _as_nested(data, key)]
    for i, key in enumerate(words):
        inside = isinstance(data, Mapping) and key in data
        if inside or (isinstance(data, list) and isinstance(key, int) and key < len(data)):
            path.append(key)
            data = data[key]
        elif missing and i == len(words) - 1:
            path.append(key)
    return tuple(path)


def _as_nested(data: Any, key: str | int) -> list[str | int]:
    """A key path that was flattened while it was read, as the tables that it was written as."""
    written = isinstance(key, int) or "." not in key or f'"{key}"' in json.dumps(data, default=str)
    return [key] if written or isinstance(key, int) else list(key.split("."))


def _without_kind(path: KeyPath, given: Any, tables: list[type[BaseModel]]) -> Problem:
    """A table whose `kind` is missing, unless a wrong key is the reason."""
    keys = _keys(tables)
    for key in given if isinstance(given, dict) else ():
        if key not in keys:
            return unknown((*path, key), _section(path), keys)
    return Problem((*path, "kind"), f" is missing (options: {', '.join(map(_kind, tables))})")


def _tables_at(model: type[BaseModel], path: KeyPath) -> list[type[BaseModel]]:
    """What may stand at a key path: the models that its annotations mention."""
    tables = [model]
    for key in path:
        if isinstance(key, str):
            inner = [table.model_fields[key] for table in tables if key in table.model_fields]
            if inner:  # else a key that the author chose, with the same tables behind it
                tables = [table for field in inner for table in tables_in(field.annotation)]
    return tables


def tables_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for inner in get_args(annotation) for table in tables_in(inner)]


def _keys(tables: Iterable[type[BaseModel]]) -> list[str]:
    return sorted({name for table in tables for name in table.model_fields})


def _kind(table: type[BaseModel]) -> Any:
    return table.model_fields["kind"].default if "kind" in table.model_fields else None


def _section(path: KeyPath) -> str:
    names = [key for key in path if isinstance(key, str)]
    return f"[{'.'.join(names)}]" if names else "a scenario"
