"""Docstrings: every public name has one, and parameters are described a line each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import simfl

ROOT = Path(simfl.__file__).parent
Def = ast.FunctionDef | ast.ClassDef

#: Names at the beginning of a line or a sentence, as in "steps: of a task. lr: its rate."
NAMES = re.compile(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*): ", re.MULTILINE)


@cache
def trees() -> dict[str, ast.Module]:
    files = sorted(ROOT.rglob("*.py"))
    return {str(f.relative_to(ROOT)): ast.parse(f.read_text("utf-8")) for f in files}


def definitions() -> Iterator[tuple[str, Def]]:
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, Def):
                yield f"{file}:{node.lineno} {node.name}", node


def methods(owner: ast.ClassDef) -> list[ast.FunctionDef]:
    return [n for n in owner.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]


def is_foreign(owner: ast.ClassDef, own: set[str]) -> bool:
    """Whether a class has a base that is not simfl's, which says what its methods do."""
    names = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in owner.bases}
    return bool(names - own - {"Protocol", "Generic", "ABC"})


def test_every_public_name_is_documented() -> None:
    """A method's name has one meaning, which the class that defines it tells."""
    classes = [node for _, node in definitions() if isinstance(node, ast.ClassDef)]
    told = {m.name for owner in classes for m in methods(owner) if ast.get_docstring(m)}
    own = {owner.name for owner in classes}
    missing = [file for file, tree in trees().items() if not ast.get_docstring(tree)]
    for file, tree in trees().items():
        for node in tree.body:
            if not isinstance(node, Def) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                missing.append(f"{file}: {node.name}")
            if isinstance(node, ast.ClassDef) and not is_foreign(node, own):
                missing += [f"{file}: {node.name}.{m.name}" for m in methods(node)
                            if not ast.get_docstring(m) and m.name not in told]  # fmt: skip
    assert missing == []


def parameters(node: Def) -> set[str]:
    if isinstance(node, ast.FunctionDef):
        given = node.args
        return {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self"}
    fields = {n.target.id for n in node.body
              if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}  # fmt: skip
    made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    return fields.union(*map(parameters, made))


def crowded(node: Def) -> list[str]:
    """Parameters that a docstring describes in the middle of a line."""
    known, text = parameters(node), ast.get_docstring(node) or ""
    if len(known) < 3:
        return []
    found = [m for m in NAMES.finditer(text) if set(m[1].split(", ")) <= known]
    return [m[1] for m in found if m.start() and text[m.start() - 1] != "\n"]


def test_parameters_have_a_line_each() -> None:
    found = {where: late for where, node in definitions() if (late := crowded(node))}
    assert found == {}


def test_a_crowded_docstring_is_found() -> None:
    """The rule can fail."""
    text = 'def f(a, b, c):\n    """Adds.\n\n    a: one. b: two.\n    c: three.\n    """'
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.FunctionDef)
    assert crowded(node) == ["b"]
