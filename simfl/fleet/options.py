"""What a scenario says about one group of devices."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Interval
from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from simfl.fleet.energy import BatteryOptions, PowerOptions
from simfl.fleet.faults import FaultOptions
from simfl.fleet.laws import ComputeOptions
from simfl.fleet.network.link import LinkOptions
from simfl.fleet.presence.base import AlwaysOptions
from simfl.fleet.presence.diurnal import DiurnalOptions
from simfl.fleet.presence.onoff import OnOffOptions
from simfl.fleet.presence.trace import RecordedOptions
from simfl.fleet.table import Table
from simfl.fleet.traces import TraceName
from simfl.units import Count, Positive

Name = Annotated[str, StringConstraints(min_length=1)]


def _table(kind: Any) -> Any:
    """`presence = "always"` is short for `{ kind = "always" }`."""
    return {"kind": kind} if isinstance(kind, str) else kind


def _by_name_or_in_place(network: Any) -> str:
    return "name" if isinstance(network, str) else "in_place"


#: What `presence` may be.
PresenceOptions = Annotated[
    AlwaysOptions | DiurnalOptions | OnOffOptions | RecordedOptions,
    Field(discriminator="kind"),
    BeforeValidator(_table),
]

#: What `network` may be: the name of a network class, "none", or a link given in place.
NetworkOptions = Annotated[
    Annotated[Name, Tag("name")] | Annotated[LinkOptions, Tag("in_place")],
    Discriminator(_by_name_or_in_place),
]


class GroupOptions(Table):
    """`count` devices that have everything in common but chance.

    device: a device class; compute overrides its speed, power its watts.
    network: without one, that of the device class; without either, or "none", transfers take no
        time.
    cell: the `network.cell` that the devices are behind.
    capacity: a trace from which each device takes its own speeds, in place of the medians and
        spreads.
    correlation: of the logarithms of training speed and download rate over the devices.
    name: what the column `device_class` calls the group; by default the device class, the trace or
        the kind of its law.
    slowdown: how many times longer than usual everything that is computed takes.
    """

    name: Name | None = None
    device: Name | None = None
    network: NetworkOptions | None = None
    cell: Name | None = None
    compute: ComputeOptions | None = None
    capacity: TraceName | None = None
    correlation: Annotated[float, Interval(ge=-1.0, le=1.0)] = 0.0
    slowdown: Positive = 1.0
    presence: PresenceOptions = AlwaysOptions()
    faults: FaultOptions = FaultOptions()
    power: PowerOptions | None = None
    battery: BatteryOptions | None = None
    count: Count

    @model_validator(mode="after")
    def _can_train(self) -> GroupOptions:
        if self.device is None and self.compute is None and self.capacity is None:
            raise ValueError("a group needs `device` (a class of the catalogue) or `compute`")
        return self
