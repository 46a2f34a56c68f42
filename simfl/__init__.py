"""simfl, the virtual-time laboratory for federated learning.

The nouns:    a *device* is one simulated client, a row of the *fleet*; a *task* is one piece of
              local work sent to it, an *update* what comes back; a *strategy* decides who is
              asked and how updates become the next *version*; a *local rule* says how a device
              learns, a *codec* how tensors travel; a *scenario* names all of these and a *run*
              plays it once; a *study* is many runs compared.
              Plug-ins are dataclasses whose options are bounded types: `Count`, `Fraction`, ...
The verbs:    `load` a scenario, `run` it, `study` it under many strategies and seeds, `open` the
              folder of an earlier run or study, `plot` what was seen; `flower` runs apps of Flower.

Nothing heavy is imported before one of its names is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simfl import callbacks
    from simfl.engine.build import fleet_of
    from simfl.engine.run import run
    from simfl.errors import DataError, InputError, SimflError
    from simfl.fleet.columns import Fleet
    from simfl.fleet.traces import Trace, write_trace
    from simfl.interop import flower
    from simfl.learn.datasets.as_dataset import as_dataset
    from simfl.learn.datasets.base import DataDir, Dataset
    from simfl.learn.datasets.frames import table
    from simfl.learn.loops.base import Trained
    from simfl.learn.loops.device_data import DeviceData
    from simfl.learn.loops.task_work import TaskWork
    from simfl.learn.objective.base import Objective
    from simfl.messages import Task, Update
    from simfl.params import Params
    from simfl.results import Result
    from simfl.results import plots as plot
    from simfl.results.compare import compare
    from simfl.results.metrics import staleness_of
    from simfl.results.stats import how_made, target_table
    from simfl.results.study import Study
    from simfl.results.study import open_folder as open
    from simfl.scenario import Scenario, load
    from simfl.strategy.aggregation import discounted, mean, weighted
    from simfl.strategy.base import Change, LocalRule, Report, Server, Strategy, Wait, Work
    from simfl.strategy.common import State
    from simfl.strategy.local_rules import Proximal
    from simfl.strategy.methods.asynchronous import Buffered
    from simfl.strategy.methods.fedavg import FedAvg
    from simfl.strategy.special_rules import PersonalRule
    from simfl.studies.study import study
    from simfl.units import Count, Duration, Fraction, Index, NonNegative, Positive, Seconds, Share
    from simfl.wire.codec import Codec, StatefulCodec, Wire

__all__ = [
    "Buffered",
    "Change",
    "Codec",
    "Count",
    "DataDir",
    "DataError",
    "Dataset",
    "DeviceData",
    "Duration",
    "FedAvg",
    "Fleet",
    "Fraction",
    "Index",
    "InputError",
    "LocalRule",
    "NonNegative",
    "Objective",
    "Params",
    "PersonalRule",
    "Positive",
    "Proximal",
    "Report",
    "Result",
    "Scenario",
    "Seconds",
    "Server",
    "Share",
    "SimflError",
    "State",
    "StatefulCodec",
    "Strategy",
    "Study",
    "Task",
    "TaskWork",
    "Trace",
    "Trained",
    "Update",
    "Wait",
    "Wire",
    "Work",
    "as_dataset",
    "callbacks",
    "compare",
    "discounted",
    "fleet_of",
    "flower",
    "how_made",
    "load",
    "mean",
    "open",
    "plot",
    "run",
    "staleness_of",
    "study",
    "table",
    "target_table",
    "weighted",
    "write_trace",
]

__version__ = "0.1.0"

_HOMES = {
    "load": "simfl.scenario:load",
    "run": "simfl.engine.run:run",
    "study": "simfl.studies.study:study",
    "open": "simfl.results.study:open_folder",
    "plot": "simfl.results.plots",
    "callbacks": "simfl.callbacks",
    "flower": "simfl.interop.flower",
    "Scenario": "simfl.scenario:Scenario",
    "Result": "simfl.results:Result",
    "Study": "simfl.results.study:Study",
    "Fleet": "simfl.fleet.columns:Fleet",
    "Params": "simfl.params:Params",
    "Task": "simfl.messages:Task",
    "Update": "simfl.messages:Update",
    "Strategy": "simfl.strategy.base:Strategy",
    "LocalRule": "simfl.strategy.base:LocalRule",
    "Server": "simfl.strategy.base:Server",
    "Wait": "simfl.strategy.base:Wait",
    "Change": "simfl.strategy.base:Change",
    "Work": "simfl.strategy.base:Work",
    "Report": "simfl.strategy.base:Report",
    "Codec": "simfl.wire.codec:Codec",
    "Wire": "simfl.wire.codec:Wire",
    "StatefulCodec": "simfl.wire.codec:StatefulCodec",
    "SimflError": "simfl.errors:SimflError",
    "InputError": "simfl.errors:InputError",
    "Trace": "simfl.fleet.traces:Trace",
    "write_trace": "simfl.fleet.traces:write_trace",
    "Dataset": "simfl.learn.datasets.base:Dataset",
    "as_dataset": "simfl.learn.datasets.as_dataset:as_dataset",
    "table": "simfl.learn.datasets.frames:table",
    "Trained": "simfl.learn.loops.base:Trained",
    "DeviceData": "simfl.learn.loops.device_data:DeviceData",
    "TaskWork": "simfl.learn.loops.task_work:TaskWork",
    "Objective": "simfl.learn.objective.base:Objective",
    "DataDir": "simfl.learn.datasets.base:DataDir",
    "DataError": "simfl.errors:DataError",
    "mean": "simfl.strategy.aggregation:mean",
    "discounted": "simfl.strategy.aggregation:discounted",
    "weighted": "simfl.strategy.aggregation:weighted",
    "State": "simfl.strategy.common:State",
    "FedAvg": "simfl.strategy.methods.fedavg:FedAvg",
    "Buffered": "simfl.strategy.methods.asynchronous:Buffered",
    "PersonalRule": "simfl.strategy.special_rules:PersonalRule",
    "Proximal": "simfl.strategy.local_rules:Proximal",
    "compare": "simfl.results.compare:compare",
    "staleness_of": "simfl.results.metrics:staleness_of",
    "target_table": "simfl.results.stats:target_table",
    "how_made": "simfl.results.stats:how_made",
    "Count": "simfl.units:Count",
    "Index": "simfl.units:Index",
    "Seconds": "simfl.units:Seconds",
    "Duration": "simfl.units:Duration",
    "NonNegative": "simfl.units:NonNegative",
    "Positive": "simfl.units:Positive",
    "Fraction": "simfl.units:Fraction",
    "Share": "simfl.units:Share",
    "fleet_of": "simfl.engine.build:fleet_of",
}


def __getattr__(name: str) -> Any:
    """A public name, imported at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'simfl' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    home = import_module(module)
    return globals().setdefault(name, getattr(home, attribute) if attribute else home)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
