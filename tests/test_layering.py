"""The tree is the architecture: who may know whom, read from the import statements."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import simfl

ROOT = Path(simfl.__file__).parent
LEAVES = (
    "directions",
    "errors",
    "units",
    "streams",
    "params",
    "structure",
    "messages",
    "registry",
    "files",
    "fingerprint",
    "lazy",
)

# What each part may know of simfl, besides itself and the leaves. Every module lies in one.
KNOWS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LEAVES, ()),
    "fleet": (),
    "strategy": (),
    "wire": (),
    "learn": ("strategy.base", "strategy.special_rules"),  # trainers call the hooks of rules
    "world": (),
    "clock": ("fleet", "strategy.base", "world"),
    "results": (),
    "callbacks": (),
    "notebook": ("clock.kernel", "results.formatting"),  # progress bars of runs and studies
    "scenario": ("fleet", "strategy", "wire", "learn", "world"),
    "engine": (
        *("fleet", "strategy", "wire", "learn", "world", "clock", "scenario", "results"),
        *("callbacks", "notebook", "__version__"),
    ),
    "engine.exchange": ("learn", "wire", "strategy.base"),
    "engine.workload": (
        *("engine.exchange", "engine.overflow", "learn", "wire", "clock.workload"),
        *("strategy.base", "strategy.special_rules"),
        "strategy.aggregation",  # how running statistics enter the model, whatever the strategy
    ),
    "studies": ("scenario", "engine", "results", "notebook"),
    "interop": ("fleet",),  # formats of other projects become traces and device classes
    "interop.measure": ("fleet", "learn", "scenario", "engine.loading"),
    "interop.flower": ("fleet", "strategy.base", "clock", "scenario", "results", "engine"),
    "cli": (
        *("fleet", "strategy", "world", "scenario", "engine", "studies", "results", "interop"),
        *("clock.kernel", "notebook", "__version__"),
    ),
    "testing": (  # contracts are tried on everything
        *("fleet", "strategy", "wire", "learn", "scenario", "results", "engine"),
    ),
    "__main__": ("cli",),
}

# The public face assembles the others and may know all of them.
FACE = ("__init__",)

# Where each third-party library is imported: these places and no others.
HOMES: dict[str, tuple[str, ...]] = {
    "IPython": ("notebook",),
    "click": ("cli",),
    "constriction": ("wire.residual",),
    "PIL": ("learn.datasets.folders",),
    "filelock": ("engine.session", "learn.trainers.dense"),
    "flwr": ("interop.flower.bridge.compat",),
    "joblib": ("engine.identity", "fingerprint", "interop.flower", "studies.backends"),
    "llvmlite": ("learn.trainers.dense",),
    "matplotlib": ("results.html", "results.plots"),
    "numba": ("learn.trainers.dense",),
    "optuna": ("studies.spaces",),
    "pandas": ("learn.datasets.frames", "results", "studies.tuning"),
    "pooch": ("learn",),
    "pyarrow": ("fleet.traces", "results"),
    "pydantic": ("fleet", "scenario"),
    "pydantic_core": ("scenario",),
    "ray": ("learn.trainers.on_ray", "studies.ray"),
    "rich": ("cli.console", "results.compare"),
    "safetensors": ("engine.checkpoints.checkpoint", "results.model"),
    "scipy": ("interop.fit", "results.evidence"),
    "simpy": ("clock.events", "clock.living.environment"),
    "tensorboard": ("results.export",),
    "tomli_w": (
        *("cli.catalogue", "interop.measure", "interop.pilots", "results.report", "scenario"),
    ),
    "torch": (
        *("engine.checkpoints.snapshot", "engine.overflow", "interop", "learn", "params"),
        *("strategy", "testing", "wire"),
    ),
    "cloudpickle": (
        "learn.trainers.packing",
        "studies.backends",
    ),
    "typer": ("cli",),
    "torchmetrics": ("learn",),
}

# Light enough for every room.
ANYWHERE = {"annotated_types", "numpy"}


@dataclass(frozen=True)
class Import:
    """One imported name. typing: only a type checker performs it."""

    file: Path
    line: int
    name: str
    typing: bool

    @property
    def module(self) -> str:
        """The dotted name of the file that imports."""
        return ".".join(("simfl", *self.file.relative_to(ROOT).with_suffix("").parts))

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


@cache
def imports() -> list[Import]:
    """Every import statement of the package, those inside functions included."""
    files = sorted(ROOT.rglob("*.py"))
    return [i for file in files for i in walk(file, ast.parse(file.read_text("utf-8")))]


def walk(file: Path, node: ast.AST, typing: bool = False) -> Iterator[Import]:
    """Imports below a node of the syntax tree."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(file, child.lineno, a.name, typing) for a in child.names)
        elif isinstance(child, ast.ImportFrom):
            home = "torch" if child.module == "simfl.lazy" else child.module
            names = (f"{home}.{a.name}" for a in child.names)
            yield from (Import(file, child.lineno, name, typing) for name in names)
        else:
            yield from walk(file, child, typing or is_typing_block(child))


def is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def within(name: str, modules: tuple[str, ...]) -> bool:
    """True if a dotted name is one of these modules or lies in one."""
    return any(f"{name}.".startswith(f"simfl.{module}.") for module in modules)


def report(broken: list[Import]) -> str:
    return "\n".join(map(str, broken))


@pytest.mark.parametrize("part", KNOWS)
def test_a_part_knows_only_what_its_place_allows(part: str) -> None:
    """Annotations count: a type that must be named is knowledge too."""
    allowed = (part, *LEAVES, *KNOWS[part])
    mine = [i for i in imports() if place(i.module) == part and i.name.split(".")[0] == "simfl"]
    broken = [i for i in mine if not within(i.name, allowed)]
    assert not broken, report(broken)


def place(module: str) -> str | None:
    """The innermost part of KNOWS in which a module lies."""
    return max((part for part in KNOWS if within(module, (part,))), key=len, default=None)


def test_every_module_has_a_place() -> None:
    files = [f.relative_to(ROOT).with_suffix("") for f in sorted(ROOT.rglob("*.py"))]
    names = [".".join(file.parts) for file in files]
    assert [name for name in names if place(f"simfl.{name}") is None] == list(FACE)


def test_the_places_name_what_is_there() -> None:
    """A part that has moved must not leave a permission behind."""
    named = {*KNOWS, *(one for known in KNOWS.values() for one in known)} - {"__version__"}
    homes = {home for places in HOMES.values() for home in places}
    missing = [one for one in sorted(named | homes) if not is_there(one)]
    assert missing == []


def is_there(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_every_library_has_a_home() -> None:
    """Annotations do not count here: naming a type loads nothing."""
    found = {i.name.split(".")[0] for i in imports() if not i.typing}
    assert found - set(sys.stdlib_module_names) - ANYWHERE - {"simfl"} == set(HOMES)


@pytest.mark.parametrize("library", HOMES)
def test_a_library_stays_at_home(library: str) -> None:
    """In every one of its homes, and nowhere else."""
    users = [i for i in imports() if i.name.split(".")[0] == library and not i.typing]
    broken = [i for i in users if not within(i.module, HOMES[library])]
    assert not broken, report(broken)
    unused = [h for h in HOMES[library] if not any(within(i.module, (h,)) for i in users)]
    assert unused == []


def test_one_file_imports_flower() -> None:
    """Its names move; one file has to follow."""
    users = {i.file.name for i in imports() if i.name.split(".")[0] == "flwr"}
    assert users == {"compat.py"}


def test_the_walk_sees_every_kind_of_import() -> None:
    """A layering test that overlooks an import would hold nothing."""
    source = (
        "import a.b\nif TYPE_CHECKING:\n    from c import d\ndef f():\n    from e.g import h, i"
    )
    seen = [(i.name, i.typing) for i in walk(ROOT / "x.py", ast.parse(source))]
    assert seen == [("a.b", False), ("c.d", True), ("e.g.h", False), ("e.g.i", False)]


@pytest.mark.parametrize(
    ("part", "unseen"),
    [
        (
            "",
            {
                "numba",
                "numpy",
                "torch",
                "pandas",
                "matplotlib",
                "simpy",
                "pydantic",
                "scipy",
                "sklearn",
            },
        ),
        ("clock", {"torch", "pandas", "matplotlib", "sklearn"}),
        ("fleet", {"torch", "pandas", "simpy"}),
        ("results", {"torch", "simpy", "matplotlib"}),
        ("strategy", {"simpy", "pandas", "matplotlib"}),
        ("wire", {"simpy", "pandas", "matplotlib"}),
    ],
)
def test_loading_a_part_loads_nothing_that_it_must_not_see(part: str, unseen: set[str]) -> None:
    """All modules of the part, in a fresh interpreter: imports of imports count."""
    found = (ROOT / part).rglob("*.py") if part else [ROOT / "__init__.py"]
    files = sorted(file for file in found if file.parent.name != "plots")
    parts = [("simfl", *f.relative_to(ROOT).with_suffix("").parts) for f in files]
    names = [".".join(part).removesuffix(".__init__") for part in parts]
    code = (
        f"import sys, {', '.join(names)}\nprint(*sorted(set({sorted(unseen)}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")
