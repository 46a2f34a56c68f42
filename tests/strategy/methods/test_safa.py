"""SAFA: everybody trains, the server keeps everybody's model."""

from __future__ import annotations

import pytest
import torch
from lab import Lab

from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.safa import Safa

CENTRES = [[float(i), 1.0 - i] for i in range(6)]


def by_device(device, index):
    return 1.0 + device * 0.71


def one_is_slow(device, index):
    return 100.0 if device == 5 else 1.0 + 0.1 * device


def test_a_full_quota_without_losses_is_fedavg_on_everybody():
    sizes = [1, 2, 3, 4, 5, 6]
    a, b = (
        Lab(CENTRES, by_device, sizes=sizes).play(s, versions=5)
        for s in (Safa(quota=1.0), FedAvg(cohort=6))
    )
    assert torch.allclose(a.params.flat, b.params.flat, atol=1e-5)
    assert a.now_s == b.now_s


def test_the_model_is_the_weighted_mean_of_the_cache():
    lab = Lab(CENTRES, by_device, sizes=[1, 2, 3, 4, 5, 6]).play(Safa(quota=0.5), versions=9)
    state = lab.state
    share = torch.tensor(lab.examples / lab.examples.sum(), dtype=torch.float32)
    cache = torch.stack([state.cache.get(i, state.initial).flat for i in range(6)])
    assert torch.allclose(state.total.flat, share @ cache, atol=1e-5)


def test_a_round_ends_with_its_quota():
    lab = Lab(CENTRES, by_device).play(Safa(quota=0.5), versions=1)
    assert [u.device for u, _, _ in lab.applied] == [0, 1, 2]


def test_devices_picked_last_time_make_room_for_others():
    lab = Lab(CENTRES, one_is_slow).play(Safa(quota=0.5), versions=2)
    first, second = ({u.device for u, _, _ in part} for part in (lab.applied[:3], lab.applied[3:]))
    assert {3, 4} <= second - first


def test_deprecated_devices_are_stopped_and_start_anew():
    lab = Lab(CENTRES, one_is_slow).play(Safa(quota=0.5, lag=2, deadline_s=3.0), versions=8)
    assert {cause for _, cause in lab.cancelled} == {"deprecated"}
    assert sum(device == 5 for _, device, _, _ in lab.asked) > 1
    assert max(staleness for _, staleness, _ in lab.applied) <= 3


def test_what_a_deprecated_device_had_sent_is_forgotten():
    late = lambda device, index: 100.0 if device == 5 and index else 1.0 + 0.1 * device  # noqa: E731
    lab = Lab(CENTRES, late).play(Safa(quota=0.5, lag=0, deadline_s=3.0), versions=6)
    assert torch.equal(lab.state.cache[5].flat, lab.models[-2].flat)


def then_slow(device, index):
    """All arrive together once; then 0, 1 and 2 are quick and the others are not."""
    return 1.0 if index == 0 or device < 3 else 11.0


def test_updates_that_come_too_late_to_be_picked_count_in_the_next_round():
    lab = Lab(CENTRES, then_slow).play(Safa(quota=0.5, deadline_s=2.0), versions=2)
    devices = [u.device for u, _, _ in lab.applied]
    assert devices == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert [staleness for _, staleness, _ in lab.applied] == [0] * 3 + [1] * 3 + [0] * 3


def test_a_newer_update_supersedes_one_that_did_not_count_yet():
    lab = Lab(CENTRES).play(Safa(quota=0.5), versions=2)
    assert [cause for _, cause in lab.discarded] == ["superseded"] * 3


@pytest.mark.parametrize("options", [{"quota": 0.3}, {"quota": 0.9, "deadline_s": 2.0, "lag": 0}])
def test_every_update_is_applied_or_discarded_or_waits(options):
    lab = Lab(CENTRES, by_device, lost_tasks=lambda serial: serial % 7 == 3)
    lab.play(Safa(**options), versions=15)
    waiting = {
        u.task for key in ("picked", "undrafted", "bypassed") for u in getattr(lab.state, key)
    }
    assert set(lab.open) == waiting
