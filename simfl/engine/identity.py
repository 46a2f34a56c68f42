"""What a run depends on, as one flat table of text: two runs with the same table are the same run.

    {"learning.lr": "0.05", "device class phone-mid": "blake2b:5f0c...", "torch": "2.13.0", ...}

Options stand under their key paths; what the options only name (device classes, traces, data,
models, code) is known by a digest of what it holds. `identity.json` of a run folder keeps the
table. Whatever goes on from a folder compares: a run is never finished as another run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from simfl.errors import InputError
from simfl.files import put, read_object
from simfl.fingerprint import array_digest, digest, file_digest, source_digest
from simfl.fleet.catalogue import catalogue_dirs, load_device, load_network
from simfl.scenario import LearningOptions, Scenario
from simfl.scenario.complain import dotted
from simfl.scenario.foreign import Foreign
from simfl.scenario.naming import parts_of

FILE = "identity.json"

Identity = Mapping[str, str]

#: Options that change no result.
_INDIFFERENT = ("learning.data_dir", "checkpoint.every_s", "checkpoint.wall_s")
#: Options whose "auto" a machine decides.
_CHOSEN = ("learning.trainer", "learning.device")
_LONGEST = 80  # characters of an option's value that are kept as they are


def identity_of(scenario: Scenario, timing: bool = False, problem: Any = None) -> dict[str, str]:
    """Everything that a run's results depend on.

    scenario: settled, with the trainer that is used in the place of "auto".
    timing: True if nothing is learnt.
    problem: `build.Problem`, whose tensors are digested; None if there is none.
    """
    return {
        **options(scenario, timing),
        **surroundings(scenario),
        **({} if problem is None else made(problem)),
    }


def surroundings(scenario: Scenario) -> dict[str, str]:
    """What the scenario names, without its data and models: needs milliseconds."""
    alone = scenario.model_copy(update={"callbacks": []})  # they watch, and change nothing
    return {**_classes(alone), **_traces(alone), **_code(alone), **_versions(alone)}


def options(scenario: Scenario, timing: bool = False) -> dict[str, str]:
    """The scenario's options by key path, and whether anything is learnt."""
    learns = isinstance(scenario.learning, LearningOptions) and not timing
    flat = dict(_flat(scenario.model_copy(update={"callbacks": []}).resolved()))
    kept = {key: value for key, value in flat.items() if key not in _INDIFFERENT}
    return {"played": "with learning" if learns else "with timing only", **kept}


def made(problem: Any) -> dict[str, str]:
    """Digests of a learning problem: data sets, who holds what, and the untrained model."""
    from simfl.learn.datasets.given import data_digest

    data, initial = problem.data, problem.initial
    values = array_digest(initial.flat.numpy())
    found = {
        "data set": data_digest(data.dataset),
        "partition": array_digest(data.partition.indices, data.partition.offsets),
        "model": digest(str(problem.model), str(initial.layout), values),
    }
    if data.held is not None:
        found["examples held back"] = array_digest(data.held.indices, data.held.offsets)
    if hasattr(data, "later"):
        found["later data set"] = data_digest(data.later)
    return found


def compare(old: Identity, new: Identity) -> list[str]:
    """One sentence for each difference, in the order of the new table; none if they agree."""
    keys = dict.fromkeys((*new, *old))
    unlike = (key for key in keys if old.get(key) != new.get(key) or new[key] == _UNKNOWN)
    return [_difference(key, old, new) for key in unlike]


def same_options(old: Identity, scenario: Scenario, timing: bool = False) -> list[str]:
    """How a scenario's options differ from a run's, as `compare`; "auto" fits any choice."""
    new = options(scenario, timing)
    free = [key for key in _CHOSEN if new.get(key) == '"auto"']
    there = {key: value for key, value in old.items() if _is_option(key)}
    before, now = ({k: v for k, v in table.items() if k not in free} for table in (there, new))
    return compare(before, now)


def write(folder: Path, identity: Identity) -> None:
    """The run folder says what its run depends on."""
    put(folder / FILE, (json.dumps(dict(identity), indent=2) + "\n").encode())


def read(folder: Path) -> dict[str, str] | None:
    """What the run in a folder depends on; None if the folder does not say, or not any more."""
    with suppress(InputError):
        return {str(key): str(value) for key, value in read_object(folder / FILE).items()}
    return None


def worded(differences: list[str]) -> str:
    """The first three differences as one clause, and how many more there are."""
    more = len(differences) - 3
    return "; ".join(differences[:3]) + (f"; and {more} more" if more > 0 else "")


def _difference(key: str, old: Identity, new: Identity) -> str:
    before, now = old.get(key), new.get(key)
    if now == _UNKNOWN:
        return f"{key} cannot be compared"
    if before is None:
        return f"{key} is {_shown(now)}, and was not there"
    if now is None:
        return f"{key} was {_shown(before)}, and is not there"
    if before.strip('"').startswith(_MARK) and now.strip('"').startswith(_MARK):
        return f"{key} has changed"
    return f"{key} was {_shown(before)} and is {_shown(now)}"


_MARK = "blake2b:"
_UNKNOWN = "unknown"


def _shown(value: str | None) -> str:
    return "set" if value is None or value.strip('"').startswith(_MARK) else value


def _is_option(key: str) -> bool:
    return key == "played" or key.partition(".")[0] in Scenario.model_fields


def _flat(table: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, str]]:
    """Values of nested tables by dotted path, as JSON; long ones as a digest."""
    if isinstance(table, Mapping) and table:
        for key, value in table.items():
            yield from _flat(value, (*path, key))
    elif isinstance(table, list) and any(isinstance(value, dict) for value in table):
        for at, value in enumerate(table):
            yield from _flat(value, (*path, at))
    else:
        text = json.dumps(table, default=str, ensure_ascii=False)
        yield dotted(path), text if len(text) <= _LONGEST else digest(text)


def _classes(scenario: Scenario) -> dict[str, str]:
    """The device and network classes in use, by what they say."""
    dirs = catalogue_dirs(scenario.path.parent if scenario.path else None)
    found: dict[str, str] = {}
    for group in scenario.fleet.group:
        network = group.network
        if group.device is not None:
            device = load_device(group.device, dirs)
            found[f"device class {group.device}"] = digest(device.model_dump_json())
            network = network or device.network
        if isinstance(network, str) and network != "none":
            rates = load_network(network, dirs).model_dump_json()
            found[f"network class {network}"] = digest(rates)
    return found


def _traces(scenario: Scenario) -> dict[str, str]:
    return {f"trace {path.name}": file_digest(path) for path in scenario.trace_files()}


def _code(scenario: Scenario) -> dict[str, str]:
    """Code that is not simfl's own, and what its objects hold beside options."""
    found: dict[str, str] = {}
    for path, part in parts_of(scenario):
        origin = _origin(part)
        if origin is not None and not f"{origin.__module__}.".startswith("simfl."):
            found[f"code of {dotted(path)}"] = source_digest(origin) or _UNKNOWN
            if not isinstance(part, Foreign) and hasattr(part, "__dict__") and not _tells(part):
                found[f"state of {dotted(path)}"] = _state(part)
        files: list[Path] = part.files() if hasattr(part, "files") else []
        if files:
            found[f"files of {dotted(path)}"] = digest(*map(file_digest, files))
    return found


def _origin(part: Any) -> Any:
    """The function or class that a part's behaviour is written in; None if it was not imported."""
    if isinstance(part, Foreign) or _tells(part):
        return part.function
    part = part.func if isinstance(part, partial) else part
    return part if hasattr(part, "__code__") else type(part)


def _tells(part: Any) -> bool:
    """Whether it was given as an object whose state is among the options."""
    return hasattr(part, "described")


def _state(part: Any) -> str:
    """Digest of what an object holds."""
    from joblib import hash as hash_of

    if getattr(part, "__closure__", None):
        return _UNKNOWN
    try:
        return digest(str(hash_of(vars(part))))
    except Exception:  # whatever a stranger's attributes raise
        return _UNKNOWN


def _versions(scenario: Scenario) -> dict[str, str]:
    """Of simfl, and where there is learning of torch."""
    learns = isinstance(scenario.learning, LearningOptions)
    return {name: metadata.version(name) for name in ("simfl", *(("torch",) * learns))}
