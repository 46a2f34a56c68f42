"""QuAFL: contacts at the server's own clock."""

from __future__ import annotations

import torch
from lab import Lab

from simfl.strategy.methods.quafl import OwnModel, Quafl

CENTRES = [[float(i), 1.0 - i] for i in range(6)]


def by_device(device, index):
    return 3.0 + 4.0 * device


class Watched(Lab):
    """Sums the server's and the contacted devices' models before and after each contact."""

    def apply(self, change):
        before = self.params.flat.clone()
        answers = [self.open[serial] for serial in change.weights]
        s = len(answers)
        own = [(u.base + u.delta).flat for u in answers]
        super().apply(change)
        after = self.params.flat + sum(
            self.rule.prepare(before, {"contacted": s}, {"y": y}, None)[0] for y in own
        )
        self.sums = [*getattr(self, "sums", []), (before + sum(own), after)]


def test_a_contact_conserves_the_sum_of_all_models():
    lab = Watched(CENTRES, by_device).play(Quafl(cohort=2, every_s=4.0), versions=20)
    assert len(lab.sums) == 20
    assert all(torch.allclose(before, after, atol=1e-5) for before, after in lab.sums)


def test_contacts_come_at_the_servers_clock():
    lab = Lab(CENTRES, by_device).play(Quafl(cohort=2, every_s=4.0), versions=10)
    assert lab.now_s == 40.0


def test_contacted_devices_answer_with_what_they_have():
    lab = Lab(CENTRES, by_device).play(Quafl(cohort=3, every_s=4.0), versions=20)
    steps = {u.device: set() for u, _, _ in lab.applied}
    for u, _, _ in lab.applied:
        steps[u.device].add(u.steps)
    assert steps[0] == {5}
    assert min(steps[5]) < 5


def test_a_device_goes_on_from_its_own_model():
    """The next task starts from (X + sY)/(s + 1) with the X that it received."""
    start, context = OwnModel().prepare(
        torch.tensor([1.0]), {"contacted": 3}, {"y": torch.tensor([5.0])}, None
    )
    assert start.item() == 4.0
    assert context == {}


def test_a_device_never_contacted_starts_from_the_model_received():
    start, _ = OwnModel().prepare(torch.tensor([1.0]), {}, {}, None)
    assert start.item() == 1.0


def test_lost_tasks_are_replaced_at_the_next_tick():
    lab = Lab(CENTRES, by_device, lost_tasks=lambda serial: serial % 4 == 1)
    lab.play(Quafl(cohort=2, every_s=4.0), versions=25)
    asked = [device for _, device, _, _ in lab.asked]
    assert set(asked) == set(range(6))
    assert min(asked.count(device) for device in range(6)) > 1
