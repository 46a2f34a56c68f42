"""Transforms: fixed ones for all inputs, random ones for training, from the task's own stream."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import simfl
from simfl.errors import DataError, PluginError
from simfl.learn.datasets.base import Dataset
from simfl.learn.datasets.transforms import Crop, Flip, Normalise, transformed
from simfl.scenario.foreign import Foreign

IMAGES = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5) + 1


def rng():
    return np.random.default_rng(3)


def data(x=IMAGES):
    return Dataset("mine", x, [0, 1], x * 2, [1, 0], 2)


def test_a_crop_moves_images_within_their_frame():
    many = IMAGES[:1].expand(200, 3, 4, 5)
    made = Crop(padding=1)(many, rng())
    assert made.shape == many.shape
    whole = torch.nn.functional.pad(IMAGES[0], (1, 1, 1, 1))
    places = [whole[:, r : r + 4, c : c + 5] for r in range(3) for c in range(3)]
    seen = [next(i for i, place in enumerate(places) if torch.equal(place, one)) for one in made]
    assert set(seen) == set(range(9))


def test_a_flip_mirrors_a_share_of_the_images():
    many = IMAGES[:1].expand(400, 3, 4, 5)
    made = Flip(share=0.25)(many, rng())
    turned = [bool(torch.equal(one, IMAGES[0].flip(-1))) for one in made]
    assert sum(turned) == pytest.approx(100, abs=30)
    assert all(
        torch.equal(one, IMAGES[0])
        for one, is_turned in zip(made, turned, strict=True)
        if not is_turned
    )
    assert torch.equal(Flip(share=0.0)(many, rng()), many)


def test_normalise_takes_the_training_inputs_mean_from_the_test_inputs():
    made = transformed(data(), [Normalise()])
    assert made.batchwise is None
    assert made.x.mean((0, 2, 3)).abs().max() < 1e-6
    assert made.x.std((0, 2, 3), correction=0).tolist() == pytest.approx([1.0] * 3)
    again = transformed(data(), [Normalise((1.0, 2.0, 3.0), (2.0,))])
    assert again.x_test[1, 2, 3, 4] == (IMAGES[1, 2, 3, 4] * 2 - 3) / 2


def test_random_transforms_are_for_training_alone_and_repeat():
    made = transformed(data(), [Normalise((0.0,), (2.0,)), Flip(), lambda x: x + random.random()])
    assert torch.equal(made.x_test, IMAGES)
    one, two = made.batch(np.arange(2), rng())[0], made.batch(np.arange(2), rng())[0]
    assert torch.equal(one, two)
    assert not torch.equal(one, made.x)
    assert torch.equal(made.batch(np.arange(2))[0], made.x)


def test_a_class_is_made_with_its_options_and_a_function_called_with_them():
    class Add:
        def __init__(self, amount):
            self.amount = amount

        def __call__(self, x):
            return x + self.amount

    def times(x, by):
        return x * by

    parts = [Foreign("m:Add", {"amount": 1.0}, Add), Foreign("m:times", {"by": 3.0}, times)]
    made = transformed(data(), parts)
    assert torch.equal(made.batch(np.arange(2), rng())[0], (IMAGES + 1) * 3)


def test_a_callable_that_is_fixed_is_for_test_inputs_too():
    def halved(x):
        return x[..., ::2]

    halved.fixed = True
    made = transformed(data(), [halved])
    assert made.x.shape == made.x_test.shape == (2, 3, 4, 3)


def boom(x):
    raise KeyError("no pixels")


@pytest.mark.parametrize(
    ("parts", "kind", "said"),
    [
        ([Flip(), Normalise()], DataError, "normalise is for test inputs, too, and stands behind"),
        ([lambda x: x[:, :2]], PluginError, "makes inputs of shape (3, 2, 5) of inputs of shape"),
        ([boom], PluginError, "transform boom failed (KeyError: 'no pixels') at test_transforms"),
        ([Normalise((1.0, 2.0), (1.0,))], DataError, "2 numbers for the 3 channels"),
    ],
)
def test_what_does_not_fit_is_named(parts, kind, said):
    with pytest.raises(kind) as caught:
        transformed(data(), parts)
    assert said in str(caught.value)


def test_images_are_needed_where_pixels_move():
    with pytest.raises(DataError, match=r"crop needs images .* inputs have the shape \(3,\)"):
        transformed(data(torch.ones(2, 3)), [Crop()])


def scenario(**learning):
    return {
        "fleet": {"group": [{"count": 3, "device": "phone-mid"}]},
        "learning": {"dataset": "digits", "model": "softmax", **learning},
        "strategy": {"kind": "fedavg", "cohort": 2, "steps": 3},
        "stop": {"versions": 2},
    }


def test_a_run_with_transforms_repeats_itself_and_differs_from_one_without():
    drawn = scenario(transforms=[{"kind": "crop", "padding": 1}, "flip"])
    one, two = simfl.run(drawn), simfl.run(drawn)
    assert one.summary["digest"] == two.summary["digest"]
    assert one.summary["digest"] != simfl.run(scenario()).summary["digest"]
    assert one.summary["trainer"].startswith("one-by-one: the option `transforms`")
    still = scenario(transforms=[{"kind": "flip", "share": 0.0}], trainer="one-by-one")
    plain = simfl.run(scenario(trainer="one-by-one"))
    assert simfl.run(still).summary["digest"] == plain.summary["digest"]


def test_a_misspelt_transform_is_answered_with_the_nearest():
    with pytest.raises(simfl.InputError, match="did you mean 'flip'"):
        simfl.run(scenario(transforms=["flipp"]))
