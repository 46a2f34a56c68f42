"""Parts: what a scenario names by `kind`, and the options that go with it.

A part is written `{ kind = "proximal", mu = 0.1 }`, or just `"proximal"`. Its class is a frozen
dataclass found through a Registry; the types of its fields are the schema, bounds included. A
field of one part that holds another is known by its type: see `FAMILIES`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from datetime import date, time
from difflib import get_close_matches
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import BaseModel, ConfigDict, Strict, ValidationError, create_model
from pydantic_core import core_schema

from simfl.errors import InputError, ScenarioError
from simfl.learn.objective.base import Objective
from simfl.registry import OBJECT, Registry, target_of
from simfl.scenario.complain import Problem, carried, problems_of, shown, unknown
from simfl.scenario.foreign import Foreign, given_before, is_table, recorded
from simfl.strategy.base import LocalRule, Strategy
from simfl.strategy.optimiser import ServerOptimiser
from simfl.strategy.selection import Selection
from simfl.strategy.weighting import Weighting
from simfl.wire.codec import Codec


@dataclass
class Reading:
    """What a scenario may do while it is read, and what it asked for."""

    trusted: bool = True  #: may dotted paths be imported?
    foreign: list[str] = field(default_factory=list)  #: the dotted paths met


@dataclass(frozen=True)
class Family:
    """The parts that can stand behind one key; as an annotation, it makes them from tables.

    home: "module:NAME" of the registry, imported at first use.
    duties: what every part has; of "run|next", one will do.
    way_in: "module:function" that makes parts of Python objects.
    objects: these, in words.
    """

    home: str
    duties: tuple[str, ...] = ("__call__",)
    way_in: str = ""
    objects: str = ""

    @property
    def registry(self) -> Registry:
        """The family's names and parts."""
        module, _, name = self.home.partition(":")
        registry: Registry = getattr(importlib.import_module(module), name)
        return registry

    @property
    def key(self) -> str:
        """What the JSON Schema calls the family."""
        return self.registry.noun.replace(" ", "-")

    def make(self, given: Any, reading: Reading) -> Any:
        """The part that a table describes. Raises PydanticCustomError with all its problems."""
        if not (isinstance(given, str) or is_table(given)):
            given = self._taken_in(given)
        if not isinstance(given, str | dict):
            return self._object(given)
        table = {"kind": given} if isinstance(given, str) else given
        kind, options = table.get("kind"), {k: v for k, v in table.items() if k != "kind"}
        if not isinstance(kind, str):
            raise carried([self._kindless(table)])
        try:
            return self._named(kind, options, reading)
        except InputError as error:
            path = ("kind",) if isinstance(given, dict) else ()
            raise carried([Problem(path, f": {error}")]) from error

    def _object(self, given: Any) -> Any:
        """A part made in Python, or its class. Raises PydanticCustomError."""
        if not any(map(partial(_does, given), self.duties)):
            raise carried([Problem((), f" = {shown(given)}, expected {self._wanted()}")])
        try:
            if isinstance(given, type) and not self._is_function:
                given = given()
            if not self._is_function:
                self.complete(given)
        except (InputError, TypeError) as error:
            raise carried([Problem((), f": {error}")]) from error
        return recorded(given)

    @property
    def _is_function(self) -> bool:
        return self.duties == ("__call__",)

    def complete(self, part: Any, name: str = "") -> None:
        """Raises ScenarioError if the part lacks what the engine asks it for."""
        missing = [duty for duty in self.duties if not _does(part, duty)]
        if isinstance(part, type) or missing:
            lacks = "is a class" if not missing else "has no " + ", no ".join(map(_quoted, missing))
            name = name or getattr(part, "__qualname__", type(part).__qualname__)
            raise ScenarioError(f"{name} is no {self.registry.noun}: it {lacks}")

    def _taken_in(self, given: Any, **options: Any) -> Any:
        """A part in the place of an object that is none yet. Raises PydanticCustomError."""
        if not self.way_in:
            return given
        module, _, name = self.way_in.partition(":")
        try:
            return getattr(importlib.import_module(module), name)(given, **options)
        except InputError as error:
            raise carried([Problem((), f" {error}", type(error))]) from error

    def _named(self, kind: str, options: dict[str, Any], reading: Reading) -> Any:
        if ":" in kind and not kind.startswith("simfl."):
            reading.foreign.append(kind)
            if not reading.trusted:
                return Foreign(kind, options)
        if kind.startswith(OBJECT):
            raise ScenarioError(given_before(kind, self.registry.noun))
        part = self.registry.get(kind)
        if not is_dataclass(part):
            taken = self._taken_in(part, **options)
            if taken is not part:
                return taken
        if self._is_function and callable(part) and not is_dataclass(part):
            return Foreign(kind, options, part)
        made = build(part, kind, options, reading) if isinstance(part, type) else None
        self.complete(made, repr(kind))
        return made

    def _kindless(self, table: Mapping[str, Any]) -> Problem:
        """What is wrong with a table that names no part: a misspelt key, if one is near."""
        if "kind" in table:
            return Problem(("kind",), f" = {shown(table['kind'])}, expected {self._wanted()}")
        near = get_close_matches("kind", table, n=1)
        if near:
            return unknown((near[0],), f"a {self.registry.noun}", ["kind"])
        return Problem(("kind",), f" is missing: expected {self._wanted()}")

    def _wanted(self) -> str:
        names = ", ".join(self.registry.names())
        others = f", or {self.objects}" * bool(self.objects)
        return f"the name of a {self.registry.noun}, or a table with its `kind` ({names}){others}"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            lambda given, info: self.make(given, info.context or Reading())
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"part": self.key}  # pydantic refuses references that it did not make


STRATEGY = Family("simfl.strategy:STRATEGIES", ("init", "step", "local"))
CODEC = Family("simfl.wire:CODECS", ("nbytes", "encode", "decode"))
DATASET = Family(
    "simfl.learn.datasets.base:DATASETS",
    way_in="simfl.learn.datasets.given:as_part",
    objects="what simfl.as_dataset takes, such as (x, y, x_test, y_test)",
)
PARTITION = Family("simfl.learn.partition.base:PARTITIONS")
TRANSFORM = Family("simfl.learn.datasets.transforms:TRANSFORMS")
CALLBACK = Family("simfl.callbacks:CALLBACKS", ("open",))
PROCESS = Family(
    "simfl.world:PROCESSES",
    ("run|next",),
    way_in="simfl.world.function:as_part",
    objects="a function of (env, world) that yields events",
)
MODEL = Family(
    "simfl.learn.models.base:MODELS",
    way_in="simfl.learn.models.given:as_part",
    objects="an nn.Module, its class, or a function of the data set that makes one",
)
OBJECTIVE = Family(
    "simfl.learn.objective.base:OBJECTIVES",
    ("loss",),
    objects="an object with `loss(outputs, targets) -> (n,)`",
)
OPTIMIZER = Family(
    "simfl.learn.optimizers:OPTIMIZERS", objects="a class of torch.optim, as torch.optim:RMSprop"
)
SCHEDULE = Family("simfl.learn.schedules:SCHEDULES", objects="a function of the version")
TRAINING = Family(
    "simfl.learn.loops.base:TRAINING",
    way_in="simfl.learn.loops.given:as_part",
    objects="a function of (model, data, work), by its name package.module:function",
)
EVALUATION = Family(
    "simfl.learn.loops.base:EVALUATIONS",
    way_in="simfl.learn.loops.given:as_part",
    objects="a function of (model, dataset), by its name package.module:function",
)
METRIC = Family(
    "simfl.learn.objective.metrics:METRICS",
    objects="a function of (outputs, targets), or a metric of torchmetrics",
)
DEPLOYMENT = Family("simfl.interop.flower.deployment.options:DEPLOYMENTS", ("facts",))

_RULE = ("prepare", "penalty", "correct", "report", "sends", "passes")

#: Which family a field of this type takes its part from.
FAMILIES: dict[type, Family] = {
    LocalRule: Family("simfl.strategy:LOCAL_RULES", _RULE),
    Selection: Family("simfl.strategy:SELECTIONS", ("init", "choose", "observe")),
    Weighting: Family("simfl.strategy:WEIGHTINGS"),
    ServerOptimiser: Family("simfl.strategy:SERVER_OPTIMISERS", ("init", "step")),
    Codec: CODEC,
    Objective: OBJECTIVE,
    Strategy: STRATEGY,
}
ALL = (
    *dict.fromkeys((STRATEGY, *FAMILIES.values())),
    DATASET,
    TRANSFORM,
    PARTITION,
    MODEL,
    METRIC,
    OPTIMIZER,
    SCHEDULE,
    TRAINING,
    EVALUATION,
    CALLBACK,
    DEPLOYMENT,
    PROCESS,
)


def build(part: type, kind: str, options: dict[str, Any], reading: Reading) -> Any:
    """An instance of the part. Raises PydanticCustomError with all problems of its options."""
    model = options_model(part)
    try:
        checked = model.model_validate(options, context=reading)
    except ValidationError as error:
        raise carried(problems_of(error, model, options, owner=kind)) from error
    try:
        return part(**{name: getattr(checked, name) for name in checked.model_fields_set})
    except (InputError, ValueError, TypeError) as error:  # from the part's own checks
        raise carried([Problem((), f": {error}")]) from error


@cache
def options_model(part: type) -> type[BaseModel]:
    """The options of a part's class as a strict model. Raises ScenarioError."""
    try:
        hints = get_type_hints(part, include_extras=True)
        plan = {f.name: (_as_written(hints[f.name]), _default(f)) for f in option_fields(part)}
        return create_model(part.__name__, __config__=_STRICT, **plan)  # type: ignore[call-overload]
    except (pydantic.errors.PydanticUserError, NameError) as error:
        message = str(error).partition("\n")[0]
        raise ScenarioError(
            f"{part.__qualname__} has options no scenario can hold: {message}"
        ) from error


_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


def option_fields(part: Any) -> list[Field[Any]]:
    """The fields of a part (class or instance) that are options; none if it is no dataclass."""
    return [f for f in fields(part) if f.init] if is_dataclass(part) else []


def plain(value: Any, keep: Callable[[Any], bool] = lambda part: False) -> Any:
    """Options as TOML holds them: tables, lists and scalars. What is not set is left out.

    keep: which parts stay the objects that they are.
    """
    if value is None or isinstance(value, str | int | float | date | time):
        return value
    if isinstance(value, list | tuple):
        return [plain(item, keep) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item, keep) for key, item in value.items() if item is not None}
    if isinstance(value, BaseModel):
        names = sorted(type(value).model_fields, key=lambda name: name != "kind")
        return plain({name: getattr(value, name) for name in names}, keep)
    return value if keep(value) else plain(_table_of(value), keep)


def _table_of(part: Any) -> dict[str, Any]:
    """The kind and the options of a part."""
    if hasattr(part, "described"):  # it was given as a Python object
        table: dict[str, Any] = part.described()
        return table
    if isinstance(part, Foreign):
        return {"kind": part.kind, **part.options}
    options = {f.name: getattr(part, f.name) for f in option_fields(part)}
    return {"kind": kind_of(type(part)), **options}


def _does(part: Any, duty: str) -> bool:
    return any(hasattr(part, name) for name in duty.split("|"))


def _quoted(duty: str) -> str:
    return " or ".join(f"`{name}`" for name in duty.split("|"))


def kind_of(part: type) -> str:
    """The name under which a scenario finds this class."""
    target = target_of(part)
    loaded = [family.registry for family in ALL if family.home.partition(":")[0] in sys.modules]
    names = (registry.name_of(target) for registry in loaded)
    return next((name for name in names if name != target), target)


def _as_written(annotation: Any) -> Any:
    """The annotation with families in place of their base classes, and tuples taken from lists."""
    if isinstance(annotation, type) and annotation in FAMILIES:
        return Annotated[Any, FAMILIES[annotation]]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[_as_written(args[0]), *args[1:]]
    if origin in (Union, UnionType):
        return Union[*(_as_written(arg) for arg in args)]
    if origin is tuple:
        items = tuple(arg if arg is ... else _as_written(arg) for arg in args)
        return Annotated[tuple[items], Strict(False)]  # type: ignore[valid-type]
    return annotation


def _default(option: Field[Any]) -> Any:
    """The field's default for pydantic; the JSON Schema shows a part as its table."""
    if option.default_factory is not MISSING:
        return pydantic.Field(default_factory=option.default_factory)
    default = option.default
    if default is MISSING:
        return ...
    if any(kind in FAMILIES for kind in type(default).__mro__):
        shown_as = {"default": plain(default)}
        return pydantic.Field(default_factory=lambda: default, json_schema_extra=shown_as)
    return default
