from __future__ import annotations

import pytest
from pydantic import ValidationError

from simfl.fleet.faults import FaultOptions
from simfl.fleet.options import GroupOptions
from simfl.fleet.presence.base import AlwaysOptions

PLAIN = {"device": "phone-mid", "count": 3}


def test_a_group_needs_little():
    group = GroupOptions.model_validate(PLAIN)
    assert (group.presence, group.faults) == (AlwaysOptions(), FaultOptions())


def test_presence_may_be_named_in_short():
    assert GroupOptions.model_validate({**PLAIN, "presence": "always"}).presence == AlwaysOptions()
    diurnal = GroupOptions.model_validate({**PLAIN, "presence": "diurnal"}).presence
    assert diurnal.kind == "diurnal"


def test_what_was_read_can_be_written_and_read_again():
    group = GroupOptions.model_validate(
        {
            "compute": {"kind": "uniform", "low_s": 1, "high_s": 2},
            "network": {"down_mbps": 3, "up_mbps": 4},
            "presence": {"kind": "onoff", "mean_on_s": 5.0, "mean_off_s": 6.0},
            "count": 2,
        }
    )
    assert GroupOptions.model_validate(group.model_dump(exclude_none=True)) == group


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"count": "3"}, ("count",)),
        ({"count": 0}, ("count",)),
        ({"count": True}, ("count",)),
        ({"cuont": 3}, ("cuont",)),
        ({"device": 7}, ("device",)),
        ({"device": ""}, ("device",)),
        ({"device": None}, ()),
        ({"network": {"down_mbps": 0.0, "up_mbps": 1.0}}, ("network", "in_place", "down_mbps")),
        ({"network": {"down_mbps": 1.0}}, ("network", "in_place")),
        ({"presence": {"kind": "diurnal", "hours": 8}}, ("presence", "diurnal", "hours")),
        ({"presence": "nightly"}, ("presence",)),
        (
            {"presence": {"kind": "diurnal", "mean_hours": 24.0}},
            ("presence", "diurnal", "mean_hours"),
        ),
        ({"faults": {"drop_probability": 2.0}}, ("faults", "drop_probability")),
    ],
)
def test_one_mistake_is_one_complaint_at_its_place(change, where):
    with pytest.raises(ValidationError) as caught:
        GroupOptions.model_validate({**PLAIN, **change})
    assert [complaint["loc"] for complaint in caught.value.errors()] == [where]
