"""The first tries of somebody in a notebook: objects in the place of names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import simfl
from simfl.errors import InputError, PluginError, ScenarioError, SimflError

QUICK: dict[str, Any] = {"stop.versions": 2, "stop.target": None, "fleet.group": [
    {"device": "phone-mid", "count": 4}], "strategy": {"kind": "fedavg", "cohort": 2},
    "learning.partition": "iid", "progress": False}  # fmt: skip


class Net(nn.Module):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(5, hidden), nn.Linear(hidden, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.outer(self.inner(x).relu())
        return out


class Needy(Net):
    def __init__(self, hidden: int, classes: int) -> None:
        super().__init__(hidden)


def data(seed: int = 0, n: int = 60) -> simfl.Dataset:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=rng)
    y = (x[:, 0] > 0).long()
    return simfl.Dataset("mine", x[20:], y[20:], x[:20], y[:20], 2)


def line(dataset: simfl.Dataset, hidden: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(5, hidden), nn.Linear(hidden, dataset.classes))


def play(**given: Any) -> simfl.Result:
    return simfl.run("quickstart", **{"dataset": data(), **QUICK, **given})


WORKS = {
    "a module": nn.Sequential(nn.Linear(5, 2)),
    "a compiled module": torch.compile(Net(), backend="eager"),
    "a class": Net,
    "a function of the data set": line,
    "a lambda of the data set": lambda d: nn.Linear(5, d.classes),
    "a lambda of nothing": lambda: Net(3),
    "a class that asks for the data set": type(
        "Asks", (nn.Linear,), {"__init__": lambda self, dataset: nn.Linear.__init__(self, 5, 2)}
    ),
    "a short name": "softmax",
    "a table": {"kind": "mlp", "hidden": [4]},
}


@pytest.mark.parametrize("model", WORKS.values(), ids=WORKS)
def test_a_model_may_be(model: Any) -> None:
    assert play(model=model).summary["versions"] == 2


REFUSED = {
    "a class that needs what only its author knows": (
        Needy,
        r"model \S*Needy: needs hidden, classes, .* write model=Needy\(hidden=\.\.\., classes=",
    ),
    "a dictionary of tensors": (Net().state_dict(), "net.load_state_dict"),
    "a list of layers": ([nn.Linear(5, 2)], "an nn.Module, its class, or a function"),
    "a number": (3, "an nn.Module, its class, or a function of the data set"),
    "a function that makes no model": (lambda: 3, "must make a torch Module, not 3"),
    "of another shape": (nn.Linear(4, 2), r"model Linear: failed .* batch of shape \(1, 5\)"),
}


TENSORS = (torch.randn(30, 5), torch.arange(30) % 2)
PAIRS = torch.utils.data.TensorDataset(*TENSORS)
FRAME = pd.DataFrame({"a": range(30), "b": [0, 1] * 15})

DATA = {
    "a Dataset": data(),
    "a function": data,
    "a tuple of arrays": (*TENSORS, *(part.numpy() for part in TENSORS)),
    "a pair of torch data sets": (PAIRS, PAIRS),
    "a function that gives a tuple": lambda: (*TENSORS, *TENSORS),
}


@pytest.mark.parametrize("dataset", DATA.values(), ids=DATA)
def test_a_data_set_may_be(dataset: Any) -> None:
    assert play(dataset=dataset, model=lambda d: nn.Linear(5, 2)).summary["versions"] == 2


def test_a_list_is_one_data_set_per_device() -> None:
    given = {"dataset": [TENSORS * 2] * 4, "model": lambda d: nn.Linear(5, 2)}
    with pytest.raises(simfl.DataError, match=r'set learning.partition = "user"'):
        play(**given)
    assert play(**given, **{"learning.partition": "user"}).summary["versions"] == 2


NO_DATA = {
    "one torch data set": (PAIRS, r"no test examples: write dataset=\(train, test\)"),
    "two arrays": (TENSORS, r"write dataset=\(x, y, x_test, y_test\)"),
    "a frame": (FRAME, r'write dataset=simfl.table\(frame, target="COLUMN"\)'),
    "a path": (Path("some.csv"), r'write dataset=\{"kind": "table", "path": "some.csv"'),
    "a number": (3, r"an? int is no data set: expected a simfl.Dataset"),
}


@pytest.mark.parametrize(("dataset", "said"), NO_DATA.values(), ids=NO_DATA)
def test_a_data_set_may_not_be(dataset: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as told:
        play(dataset=dataset, model=Net)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("model", "said"), REFUSED.values(), ids=REFUSED)
def test_a_model_may_not_be(model: Any, said: str) -> None:
    with pytest.raises((ScenarioError, PluginError), match=said) as told:
        play(model=model)
    assert "\n" not in str(told.value)


def test_the_module_given_is_where_learning_begins_and_stays_as_it_was() -> None:
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = play(model=net, **{"stop.versions": None, "stop.updates": 1, "learning.lr": 1e-30})
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.allclose(result.params[name], value)


def test_an_object_in_a_table_is_the_same_run_as_one_beside_it() -> None:
    net = Net()
    first, second = play(model=net), play(**{"learning.model": net})
    loaded = simfl.load("quickstart", {"learning.model": net, "learning.dataset": data()})
    assert first.digest == second.digest == simfl.run(loaded, **QUICK).digest


def test_a_folder_says_what_the_objects_were_and_takes_them_again(tmp_path: Path) -> None:
    net = Net(4)
    first = play(model=net, out=tmp_path)
    told = (tmp_path / "scenario.toml").read_text("utf-8")
    assert 'kind = "object:Net"\nparameters = 34' in told
    assert 'kind = "object:mine"\nexamples = 40\ntest_examples = 20' in told
    with pytest.raises(InputError, match=r"object:\w+ was a Python object.* give it again"):
        simfl.run(tmp_path / "scenario.toml")
    again = simfl.run(tmp_path / "scenario.toml", model=net, dataset=data(), progress=False)
    assert again.digest == first.digest


def test_a_run_goes_on_with_the_same_objects_and_with_no_others(tmp_path: Path) -> None:
    net = Net()
    first = play(model=net, out=tmp_path)
    assert play(model=net, out=tmp_path, resume=True).digest == first.digest
    with pytest.raises(InputError, match=r"learning\.model\.digest has changed"):
        play(model=Net(), out=tmp_path, resume=True)
    with pytest.raises(InputError, match=r"learning\.dataset\.digest has changed"):
        play(model=net, dataset=data(1), out=tmp_path, resume=True)


def test_two_lambdas_are_two_models(tmp_path: Path) -> None:
    """Their names are the same, but a study must not take one for the other."""
    sizes = {"small": lambda: Net(2), "large": lambda: Net(4)}
    study = simfl.study(
        "quickstart", dataset=data(), seeds=[1], sweep={"learning.model": sizes},
        out=tmp_path, **QUICK,
    )  # fmt: skip
    assert study.table["up_bytes"].nunique() == 2


def test_what_cannot_be_sent_is_said_before_processes_start(tmp_path: Path) -> None:
    net = Net()
    net.lock = __import__("threading").Lock()
    with pytest.raises(SimflError, match=r"cannot be copied .*: give the function or the class"):
        play(model=net)
    generator = (n for n in range(3))
    with pytest.raises(ScenarioError, match=r"learning\.model cannot be sent .* workers = 1"):
        simfl.study("quickstart", dataset=data(), model=lambda: next(generator) or Net(),
                    seeds=[1, 2], workers=2, out=tmp_path, **QUICK)  # fmt: skip


SCRIPT = """
import torch, simfl
class Net(torch.nn.Linear):
    def __init__(self): super().__init__(64, 10)
    def forward(self, x): return super().forward(x.flatten(1))
print("begins")
torch.manual_seed(0)
given = {"model": Net(), "progress": False, "stop.versions": 2, "learning.trainer": "one-by-one"}
print(len({simfl.run("quickstart", workers=n, **given).digest for n in (1, 2)}))
"""


@pytest.mark.study
def test_a_script_without_a_guard_and_a_class_of_its_own_trains_on_workers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT, "utf-8")
    done = subprocess.run(
        [sys.executable, "mine.py"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.split() == ["begins", "1"], done.stderr
