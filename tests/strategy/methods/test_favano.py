"""FAVANO: contacts at the server's own clock, and steps that count alike."""

from __future__ import annotations

import pytest
import torch
from lab import Lab

from simfl.errors import ScenarioError
from simfl.strategy.methods.favano import Favano
from simfl.strategy.methods.quafl import OwnModel

CENTRES = [[float(i), 1.0 - i] for i in range(6)]


def by_device(device, index):
    return 3.0 + 4.0 * device


class Watched(Lab):
    """Works out each contact again, from the models of its devices."""

    def apply(self, change):
        answers = [self.open[serial] for serial in change.weights]
        moved = sum(u.base.flat + u.delta.flat / self.alpha(u) for u in answers)
        expected = (self.params.flat + moved) / (len(answers) + 1)
        super().apply(change)
        self.apart = max(
            getattr(self, "apart", 0.0), float((self.params.flat - expected).abs().max())
        )

    def alpha(self, given):
        return given.steps


def test_the_model_is_the_mean_of_server_and_answers_scaled_by_their_steps():
    lab = Watched(CENTRES, by_device).play(Favano(cohort=3, every_s=4.0), versions=20)
    assert lab.apart < 1e-5
    assert len({u.steps for u, _, _ in lab.applied}) > 1


def test_with_one_step_a_task_it_is_the_plain_mean_of_server_and_answers():
    class Plain(Watched):
        def alpha(self, given):
            return 1.0

    lab = Plain(CENTRES, by_device).play(Favano(cohort=3, every_s=4.0, steps=1), versions=20)
    assert lab.apart < 1e-6


def test_with_equal_steps_all_answers_weigh_alike():
    lab = Lab(CENTRES, lambda device, index: 3.0).play(Favano(cohort=3, every_s=4.0), versions=9)
    assert {u.steps for u, _, _ in lab.applied} == {5}
    assert {round(weight, 9) for _, _, weight in lab.applied} == {round(1 / 4 / 5, 9)}


def test_expected_steps_are_the_mean_over_a_device_s_answers():
    class Expected(Watched):
        def alpha(self, given):
            mine = [u.steps for u, _, _ in self.applied if u.device == given.device]
            return sum([*mine, given.steps]) / (len(mine) + 1)

    strategy = Favano(cohort=2, every_s=4.0, scale="expected")
    lab = Expected(CENTRES, by_device).play(strategy, versions=25)
    assert lab.apart < 1e-5
    by_steps = Lab(CENTRES, by_device).play(Favano(cohort=2, every_s=4.0), versions=25)
    assert not torch.equal(lab.params.flat, by_steps.params.flat)


def test_a_device_that_answered_goes_on_from_the_new_model():
    lab = Lab(CENTRES, by_device).play(Favano(cohort=2, every_s=4.0), versions=10)
    newest = {u.device: lab.models.index(u.base) for u, _, _ in lab.applied}
    assert max(newest.values()) > 2
    answered = {u.device for u, _, _ in lab.applied[-2:]}
    flying = {task.device: task.version for task in lab.flying.values()}
    assert {flying[device] for device in answered} == {10}


def test_running_statistics_are_a_mean_whatever_the_steps():
    lab = Lab([[1.0, 0.0], [2.0, 0.0]], by_device, buffers=1)
    lab.play(Favano(cohort=2, every_s=30.0), versions=1)
    assert lab.params.flat[1] == pytest.approx(10.0 / 3.0)  # two of them, five steps each


def test_quafl_s_rule_is_refused():
    with pytest.raises(ScenarioError, match="quafl"):
        Favano(local=OwnModel())
