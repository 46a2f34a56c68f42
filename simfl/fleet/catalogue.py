"""Device and network classes: one TOML file each, every number with its unit and source.

A class is looked for in the folder `devices` beside the scenario, then in simfl's own catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StringConstraints, ValidationError, model_validator

from simfl.errors import CatalogueError, did_you_mean
from simfl.files import read_toml
from simfl.fleet.energy import PowerOptions
from simfl.fleet.laws import FlopRate
from simfl.fleet.network.link import LinkOptions
from simfl.fleet.table import Table

Text = Annotated[str, StringConstraints(min_length=1)]


class Quantity(Table):
    """One number of a class.

    low, high: plausible range within the class.
    mark: C computed from published measurements, S stated by the source, D derived from either
        under an assumption, M the author's estimate.
    """

    value: float
    low: float | None = None
    high: float | None = None
    unit: Text
    source: Text
    mark: Literal["C", "S", "D", "M"]

    @model_validator(mode="after")
    def _within(self) -> Quantity:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not low <= self.value <= high:
            raise ValueError(f"{self.value:g} is not within low = {low:g} and high = {high:g}")
        return self


def _in(unit: str, bounds: str, holds: Callable[[float], bool]) -> AfterValidator:
    """Holds a quantity to its unit and its bounds."""

    def check(quantity: Quantity) -> Quantity:
        if quantity.unit != unit:
            raise ValueError(f"unit = {quantity.unit!r}, expected {unit!r}")
        if not holds(quantity.value):
            raise ValueError(f"value = {quantity.value:g}, expected {bounds}")
        return quantity

    return AfterValidator(check)


def _positive(unit: str) -> AfterValidator:
    return _in(unit, "more than 0", lambda value: value > 0.0)


def _not_negative(unit: str) -> AfterValidator:
    return _in(unit, "at least 0", lambda value: value >= 0.0)


Speed = Annotated[Quantity, _positive("GFLOP/s")]
Bandwidth = Annotated[Quantity, _positive("Mbit/s")]
Time = Annotated[Quantity, _not_negative("s")]
Memory = Annotated[Quantity, _not_negative("MB")]
Power = Annotated[Quantity, _not_negative("W")]
Sigma = Annotated[Quantity, _not_negative("ln")]  #: of natural logarithms
Loss = Annotated[Quantity, _in("1", "0 to less than 1", lambda value: 0.0 <= value < 1.0)]
Correlation = Annotated[Quantity, _in("1", "-1 to 1", lambda value: abs(value) <= 1.0)]


class DeviceClass(Table):
    """A class of devices.

    spread_sigma: between devices.
    jitter_sigma: between tasks.
    """

    kind: Literal["device"]
    about: Text
    extends: Text | None = None  #: the class whose numbers it has where it gives none itself
    network: Text | None = None  #: the network class of a group that names none
    train_gflops: Speed
    spread_sigma: Sigma
    jitter_sigma: Sigma
    setup_s: Time | None = None
    step_overhead_s: Time
    memory_mb: Memory
    train_w: Power
    radio_w: Power

    def compute(self) -> FlopRate:
        """The class's training speed as an option."""
        return FlopRate(
            gflops=self.train_gflops.value,
            spread_sigma=self.spread_sigma.value,
            jitter_sigma=self.jitter_sigma.value,
            setup_s=self.setup_s.value if self.setup_s else 0.0,
            step_overhead_s=self.step_overhead_s.value,
        )

    def power(self) -> PowerOptions:
        """The class's power as an option."""
        return PowerOptions(train_w=self.train_w.value, radio_w=self.radio_w.value)


class NetworkClass(Table):
    """A class of access networks; the quantities are those of `LinkOptions`.

    loss: share of packets lost. The rates were measured with it, so it is not taken off again.
    """

    kind: Literal["network"]
    about: Text
    extends: Text | None = None  #: the class whose numbers it has where it gives none itself
    down_mbps: Bandwidth
    up_mbps: Bandwidth
    latency_s: Time
    down_sigma: Sigma
    up_sigma: Sigma
    correlation: Correlation
    jitter_sigma: Sigma
    latency_sigma: Sigma
    loss: Loss | None = None

    def link(self) -> LinkOptions:
        """The class as an option."""
        numbers = {name: quantity.value for name, quantity in quantities(self).items()}
        numbers.pop("loss", None)
        return LinkOptions.model_validate(numbers)


@dataclass(frozen=True)
class ClassInfo:
    """One line of the catalogue."""

    name: str
    kind: str
    about: str
    path: Path


def catalogue_dirs(beside: Path | None = None) -> list[Path]:
    """Where classes are looked for, first match first. beside: the scenario's folder."""
    package = Path(__file__).parents[1]
    shipped = package / "_catalogue" / "devices"
    own = [shipped if shipped.is_dir() else package.parent / "devices"]
    return own if beside is None else [beside / "devices", *own]


def list_classes(dirs: Sequence[Path]) -> list[ClassInfo]:
    """Every class, devices first, by name. Raises CatalogueError on a malformed file."""
    entries = ((name, path, _read(path, dirs)) for name, path in _files(dirs).items())
    infos = [ClassInfo(name, entry.kind, entry.about, path) for name, path, entry in entries]
    return sorted(infos, key=lambda info: (info.kind, info.name))


def load_class(name: str, dirs: Sequence[Path]) -> DeviceClass | NetworkClass:
    """The class of this name, of either kind. Raises CatalogueError."""
    return _load(name, dirs, (DeviceClass, NetworkClass), "class")


def load_device(name: str, dirs: Sequence[Path]) -> DeviceClass:
    """The device class of this name. Raises CatalogueError."""
    return _load(name, dirs, (DeviceClass,), "device class")


def load_network(name: str, dirs: Sequence[Path]) -> NetworkClass:
    """The network class of this name. Raises CatalogueError."""
    return _load(name, dirs, (NetworkClass,), "network class")


def quantities(entry: DeviceClass | NetworkClass) -> dict[str, Quantity]:
    """The numbers of a class by key, in the order of its definition."""
    pairs = ((name, getattr(entry, name)) for name in type(entry).model_fields)
    return {name: value for name, value in pairs if isinstance(value, Quantity)}


def _load(name: str, dirs: Sequence[Path], wanted: tuple[type, ...], noun: str) -> Any:
    files = _files(dirs)
    if name in files and isinstance(entry := _read(files[name], dirs), wanted):
        return entry
    options = [other for other, path in files.items() if isinstance(_read(path, dirs), wanted)]
    raise CatalogueError(f"{name!r} is not a {noun} of the catalogue {did_you_mean(name, options)}")


def _files(dirs: Sequence[Path]) -> dict[str, Path]:
    return {path.stem: path for folder in reversed(dirs) for path in sorted(folder.glob("*.toml"))}


def class_files(name: str, dirs: Sequence[Path]) -> list[Path]:
    """The file of a class and those of the classes that it extends. Raises CatalogueError."""
    files = _files(dirs)
    if name not in files:
        raise CatalogueError(
            f"{name!r} is not a class of the catalogue {did_you_mean(name, files)}"
        )
    return [path for path, _ in _ancestry(files[name], dirs)]


def _ancestry(path: Path, dirs: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """A class's file and table, then those that it extends, one after another."""
    found = [(path, read_toml(path, CatalogueError))]
    while (name := found[-1][1].get("extends")) is not None:
        above, known = found[-1][0], [path for path, _ in found]
        files = {other: at for other, at in _files(dirs).items() if at not in known}
        for folder in reversed(dirs):  # a class may extend the shipped one of its own name
            file = folder / f"{name}.toml"
            files |= {name: file} if file.is_file() and file not in known else {}
        if name not in files:
            circle = "itself, round a circle" if name in {at.stem for at in known} else repr(name)
            hint = did_you_mean(str(name), files)
            raise CatalogueError(f"{above}: extends {circle}, expected another class {hint}")
        found.append((files[name], read_toml(files[name], CatalogueError)))
    return found


def _read(path: Path, dirs: Sequence[Path]) -> DeviceClass | NetworkClass:
    """The class of a file; a quantity replaces the one that it extends, source and all."""
    table: dict[str, Any] = {}
    for _, above in reversed(_ancestry(path, dirs)):
        table = {**{key: value for key, value in table.items() if key != "about"}, **above}
    kind = table.get("kind")
    if kind not in ("device", "network"):
        raise CatalogueError(f'{path}: kind = {kind!r}, expected "device" or "network"')
    model: type[DeviceClass | NetworkClass] = DeviceClass if kind == "device" else NetworkClass
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise CatalogueError(f"{path}: {_first(error, model)}") from error


def _first(error: ValidationError, model: type[Table]) -> str:
    """The first complaint, with its key path; a misspelt key rather than that it is missing."""
    complaint = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    *outer, key = map(str, complaint["loc"])
    where = ".".join([*outer, key])
    if complaint["type"] == "extra_forbidden":
        known, whose = (Quantity, "a quantity") if outer else (model, f"a {model.__name__}")
        return f"{where} is not a key of {whose} {did_you_mean(key, known.model_fields)}"
    if complaint["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {complaint['msg'].removeprefix('Value error, ')}"
