"""The options of everything, for machines as JSON Schema and for people as rows of words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simfl.scenario import Scenario
from simfl.scenario.complain import shown
from simfl.scenario.parts import ALL, Family, options_model

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
}
_BOUNDS = (
    ("exclusiveMinimum", ">"),
    ("minimum", ">="),
    ("exclusiveMaximum", "<"),
    ("maximum", "<="),
)


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a scenario, with the options of every part by kind."""
    whole = Scenario.model_json_schema()
    defs = whole["$defs"]
    for family in ALL:
        kinds = {kind: _table(family, kind) for kind in family.registry.names()}
        for table in kinds.values():
            defs |= table.pop("$defs", {})
        defs |= {f"{family.key}.{kind}": table for kind, table in kinds.items()}
        defs[family.key] = _any_of(family.key, list(kinds))
    linked: dict[str, Any] = _linked({"$schema": _DRAFT, **whole, "title": "simfl scenario"})
    return linked


def _linked(schema: Any) -> Any:
    """The schema with references in place of the marks that `Family` leaves."""
    if isinstance(schema, list):
        return [_linked(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    link = {"$ref": f"#/$defs/{schema['part']}"} if isinstance(schema.get("part"), str) else {}
    return link | {
        key: _linked(inner) for key, inner in schema.items() if not (link and key == "part")
    }


def _table(family: Family, kind: str) -> dict[str, Any]:
    """The schema of one part written as a table."""
    part = family.registry.get(kind)
    table = options_model(part).model_json_schema()
    table["properties"] = {"kind": {"const": kind}, **table.get("properties", {})}
    table["required"] = ["kind", *table.get("required", [])]
    return table | {"title": kind, "description": first_line(part)}


def _any_of(key: str, kinds: list[str]) -> dict[str, Any]:
    """A part is its name, one of the tables, or a table that names code by dotted path."""
    dotted = {"type": "string", "pattern": "^[^:]+:[^:]+$"}
    foreign = {"type": "object", "properties": {"kind": dotted}, "required": ["kind"]}
    tables = [{"$ref": f"#/$defs/{key}.{kind}"} for kind in kinds]
    return {"anyOf": [{"enum": kinds}, dotted, *tables, foreign]}


def first_line(part: Any) -> str:
    """What the docstring of a part says first."""
    return (part.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class Option:
    """One option as people read it."""

    name: str
    type: str  #: with its bounds: "whole number >= 1"
    default: str  #: empty where the option must be given


def options_of(part: type) -> list[Option]:
    """The options of a part's class, in the order of its definition."""
    table = options_model(part).model_json_schema()
    rows = table.get("properties", {}).items()
    return [Option(name, " or ".join(_types(one)), _default(one)) for name, one in rows]


def _types(schema: Mapping[str, Any]) -> Iterator[str]:
    """The alternatives of a schema in words; that there may be nothing goes without saying."""
    if "anyOf" in schema:
        for inner in schema["anyOf"]:
            yield from _types(inner)
    elif "part" in schema:
        yield str(schema["part"]).replace("-", " ")
    elif "enum" in schema or "const" in schema:
        yield " | ".join(shown(value) for value in schema.get("enum", [schema.get("const")]))
    elif schema.get("type") == "array":
        inner = schema.get("items") or {}
        yield " ".join(["list of", *_types(inner)]) if inner else "list"
    elif schema.get("type") != "null":
        word = _WORDS.get(schema.get("type", ""), schema.get("type", "any"))
        bounds = [f"{sign} {schema[key]:g}" for key, sign in _BOUNDS if key in schema]
        yield f"{word} {', '.join(bounds)}".strip()


def _default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema:
        return ""
    default = schema["default"]
    if isinstance(default, dict):
        options = [f"{key} = {shown(value)}" for key, value in default.items() if key != "kind"]
        return " ".join([default["kind"], *([f"({', '.join(options)})"] if options else [])])
    return "-" if default is None else shown(default)
