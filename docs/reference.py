"""Pages that are made from the code, so that they cannot lag behind it: a hook of mkdocs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import simfl
from simfl import testing
from simfl.cli import app
from simfl.cli.help import command as command_of
from simfl.fleet.catalogue import catalogue_dirs, list_classes, load_class, quantities
from simfl.results.tables import FURTHER, TABLES
from simfl.scenario.parts import ALL, STRATEGY, Family
from simfl.scenario.schema import options_of, schema

ROOT = Path(__file__).parents[1]

#: Links that lead out of docs/ or into it, as they are on the site.
MOVED = {
    r"\]\(docs/": "](",
    r"\]\((?:\.\./)?CONTRIBUTING\.md": "](contributing.md",
    r"\]\((?:\.\./)?CHANGELOG\.md": "](changelog.md",
    r"\]\((?:\.\./)?devices\)": "](reference/devices.md)",
}
WORDS = {"integer": "whole number", "boolean": "true or false", "string": "text"}
BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages to the site's files."""
    from mkdocs.structure.files import File

    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with its links put right."""
    for old, new in MOVED.items():
        markdown = re.sub(old, new, markdown)
    return markdown


def of_root(name: str) -> str:
    """A document of the repository's root."""
    return (ROOT / name).read_text(encoding="utf-8")


def scenario() -> str:
    """Every key of a scenario, from its JSON Schema, in the order in which a file is written."""
    whole = schema()
    below = list(sections(whole))
    parts = [
        "# Scenarios",
        "A scenario is one TOML file. Keys that are not here are errors. The same as JSON Schema: "
        "`simfl schema`.",
        *_section("The whole file", whole),
    ]
    for title, one in below:
        parts += _section(f"`{title}`", one)
    return "\n\n".join(parts) + "\n"


def sections(whole: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each table below the root once, under the path at which it is met first."""
    seen: set[str] = set()
    queue = [(key, one) for key, one in whole["properties"].items()]
    while queue:
        path, one = queue.pop(0)
        for name, is_list in tables_in(one):
            table = whole["$defs"].get(name, {})
            if name in seen or "properties" not in table or "." in name:
                continue
            seen.add(name)
            title = f"[[{path}]]" if is_list else f"[{path}]"
            fixed = next(
                ((k, v["const"]) for k, v in table["properties"].items() if "const" in v), None
            )
            title += "" if fixed is None else f' {fixed[0]} = "{fixed[1]}"'
            ANCHORS[name] = _anchor(title)
            yield title, table
            queue[:0] = [(f"{path}.{key}", inner) for key, inner in table["properties"].items()]


def tables_in(one: dict[str, Any], is_list: bool = False) -> Iterator[tuple[str, bool]]:
    """Names of the tables that a value may be, and whether it is a list of them."""
    if "$ref" in one:
        yield one["$ref"].rpartition("/")[2], is_list
    for option in one.get("anyOf", one.get("oneOf", [])):
        yield from tables_in(option, is_list)
    if one.get("type") == "array":
        yield from tables_in(one.get("items", {}), True)
    if isinstance(one.get("additionalProperties"), dict):
        yield from tables_in(one["additionalProperties"], is_list)


#: Where the page of scenarios describes a table, by its name in the JSON Schema.
ANCHORS: dict[str, str] = {}


def _section(name: str, table: dict[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield _paragraphs(table.get("description", ""))
    needed = table.get("required", [])
    rows = [
        (f"`{key}`", _words(one), "needed" if key in needed else _default(one))
        for key, one in table["properties"].items()
    ]
    yield _table(("key", "value", "default"), rows)


def _words(one: dict[str, Any]) -> str:
    """What a value may be; tables and parts link to their own section."""
    if "$ref" in one:
        return _link(one["$ref"].rpartition("/")[2])
    if "anyOf" in one or "oneOf" in one:
        inner = [_words(option) for option in one.get("anyOf", one.get("oneOf"))]
        return " or ".join(dict.fromkeys(word for word in inner if word))
    if "enum" in one or "const" in one:
        return ", ".join(f"`{value}`" for value in one.get("enum", [one.get("const")]))
    if one.get("type") == "array":
        return f"list of {_words(one.get('items', {})) or 'values'}"
    if one.get("type") == "null":
        return ""
    if isinstance(one.get("additionalProperties"), dict):
        return f"table of {_words(one['additionalProperties']) or 'values'}"
    word = WORDS.get(one.get("type", ""), one.get("type", "any value"))
    return " ".join(
        [word, *(f"{bound} {one[key]:g}" for key, bound in BOUNDS.items() if key in one)]
    )


def _link(name: str) -> str:
    if any(family.key == name for family in ALL):
        page = "strategies.md" if name == STRATEGY.key else "parts.md"
        return f"[{name.replace('-', ' ')}]({page}#{_anchor(name)})"
    return f"[{_spaced(name)}](#{ANCHORS.get(name, _anchor(name))})"


def _default(one: dict[str, Any]) -> str:
    default = one.get("default")
    return "" if default is None or isinstance(default, dict | list) else f"`{default}`".lower()


def strategies() -> str:
    """Every strategy: what it does, its reference, its options, the notes of its file."""
    return "# Strategies\n\n" + "\n\n".join(_family(STRATEGY))


def parts() -> str:
    """Every other part that a scenario can name."""
    others = [family for family in ALL if family.key != STRATEGY.key]
    pages = ["\n\n".join(_family(family)) for family in others]
    return "# Other parts\n\n" + "\n\n".join(pages)


def _family(family: Family) -> Iterator[str]:
    yield f"## {family.key}"
    if not family.registry.names():
        yield f"Not by a name of simfl's: {family.objects}."
    for kind in family.registry.names():
        yield from _part(kind, family.registry.get(kind), notes=family is STRATEGY)


def _part(kind: str, part: Any, notes: bool) -> Iterator[str]:
    yield f"### {kind}"
    yield _paragraphs(inspect.getdoc(part) or "")
    reference = getattr(part, "reference", "")
    if reference:
        yield f"Reference: {reference}."
    options = options_of(part) if isinstance(part, type) else []
    if options:
        rows = [(f"`{o.name}`", _escaped(o.type), _escaped(o.default)) for o in options]
        yield _table(("option", "value", "default"), rows)
    module = inspect.getmodule(part)
    if notes and module is not None and module.__doc__:
        yield f"```text\n{inspect.cleandoc(module.__doc__)}\n```"


def devices() -> str:
    """The catalogue: every number with its unit, mark and source."""
    dirs = catalogue_dirs()
    pages = [
        "# Device classes",
        "Marks: C computed from published measurements, S stated by the source, D derived under an "
        "assumption, M an estimate.",
    ]
    for entry in list_classes(dirs):
        rows = [
            (f"`{key}`", f"{q.value:g}", q.unit, q.mark, _escaped(q.source))
            for key, q in quantities(load_class(entry.name, dirs)).items()
        ]
        pages += [f"## {entry.name}", f"{entry.kind}: {_escaped(entry.about)}"]
        pages.append(_table(("number", "value", "unit", "mark", "source"), rows))
    return "\n\n".join(pages)


def tables() -> str:
    """What a run leaves behind: every column with its unit and meaning."""
    pages = [
        "# Tables",
        "One row per task, evaluation and version, in Parquet and as pandas frames.",
    ]
    further = {f"{table}, further columns": columns for table, columns in FURTHER.items()}
    for name, columns in {**TABLES, **further}.items():
        rows = [(f"`{c.name}`", c.unit, _escaped(c.meaning)) for c in columns]
        pages += [f"## {name}", _table(("column", "unit", "meaning"), rows)]
    return "\n\n".join(pages)


def python() -> str:
    """Every public name with its docstring, by mkdocstrings."""
    pages = [
        "# Python",
        "Everything below is imported from `simfl` itself; other modules may change.",
    ]
    bounded = [name for name in simfl.__all__ if hasattr(getattr(simfl, name), "__metadata__")]
    modules = ["plot", "flower"]
    for name in [*(name for name in simfl.__all__ if name not in bounded + modules), *modules]:
        pages.append(f"## {name}\n\n::: {_home(name)}")
    pages.append(
        "## Bounded types\n\nFor the options of plug-ins: a value out of bounds is refused."
    )
    rows = [(f"`{name}`", _bounds(getattr(simfl, name))) for name in bounded]
    pages.append(_table(("type", "values"), rows))
    pages.append("# For test suites\n\nEverything below is imported from `simfl.testing`.")
    parts = (getattr(testing, name) for name in testing.__all__)
    for part in (part for part in parts if hasattr(part, "__qualname__")):
        pages.append(f"## {part.__name__}\n\n::: {part.__module__}.{part.__qualname__}")
    return "\n\n".join(pages)


def _bounds(bounded: Any) -> str:
    kind = {int: "whole number", float: "number"}[bounded.__origin__]
    return f"{kind}, `{', '.join(map(str, bounded.__metadata__))}`"


def _home(name: str) -> str:
    """The dotted name under which a public name is defined."""
    return simfl._HOMES[name].replace(":", ".")


def commands() -> str:
    """Every command with its arguments and options."""
    pages = ["# Commands"]
    group: Any = command_of(app)
    for name, command in group.commands.items():
        for full, leaf in _leaves(f"simfl {name}", command):
            rows = [
                (f"`{one.metavar or one.name}`" if one.param_type_name == "argument" else
                 f"`{', '.join(one.opts)}`", _escaped(getattr(one, "help", None) or ""))
                for one in leaf.params if one.name != "help"
            ]  # fmt: skip
            pages += [f"## {full}", leaf.help or "", _table(("", "what it does"), rows)]
    return "\n\n".join(pages)


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command, or those below it."""
    for inner, below in getattr(command, "commands", {}).items():
        yield from _leaves(f"{name} {inner}", below)
    if not hasattr(command, "commands"):
        yield name, command


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _paragraphs(text: str) -> str:
    """A docstring as Markdown: its first line is a sentence, and options are a list."""
    head, _, rest = text.strip().partition("\n")
    blocks = [_listed(block) for block in re.split(r"\n\s*\n", rest.strip()) if block]
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join([_escaped(head), *blocks])).strip()


_OPTION = re.compile(r"(\w+(?:, \w+)*): (.*)")


def _listed(block: str) -> str:
    """A paragraph whose lines that begin with the name of an option become a list."""
    joined = re.sub(r"\n +", " ", block)  # lines that go on with the option of the one before
    found = [(line, _OPTION.fullmatch(line)) for line in joined.split("\n")]
    if not any(option for _, option in found):
        return _escaped(block)
    return "".join(
        _item(*option.groups()) if option else f"\n{_escaped(line)}\n" for line, option in found
    )


def _item(names: str, meaning: str) -> str:
    marked = ", ".join(f"`{name}`" for name in names.split(", "))
    return f"- {marked}: {_escaped(meaning)}\n"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is; what stands between backticks is shown so anyway."""
    pieces = text.split("`")
    pieces[::2] = [re.sub(r"([|*_<\[\]])", r"\\\1", piece) for piece in pieces[::2]]
    return "`".join(pieces)


def _spaced(name: str) -> str:
    """A class's name as words: `GroupOptions` is "group"."""
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
    return words.removesuffix(" options").removesuffix(" section")


def _anchor(name: str) -> str:
    """As mkdocs makes it of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", name).strip().lower())


#: Generated pages by their place on the site.
PAGES: dict[str, Callable[[], str]] = {
    "index.md": lambda: of_root("README.md"),
    "contributing.md": lambda: of_root("CONTRIBUTING.md"),
    "changelog.md": lambda: of_root("CHANGELOG.md"),
    "reference/scenario.md": scenario,
    "reference/strategies.md": strategies,
    "reference/parts.md": parts,
    "reference/devices.md": devices,
    "reference/tables.md": tables,
    "reference/commands.md": commands,
    "reference/python.md": python,
}
