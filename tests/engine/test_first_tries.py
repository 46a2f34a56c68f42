"""Nine first tries of a notebook user: each works, or says in one sentence what to write instead.

What it says is then written, and works.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset, random_split

import simfl
from simfl.errors import SimflError

QUICK: dict[str, Any] = {
    "fleet.group": [{"device": "phone-mid", "count": 4}],
    "strategy": {"kind": "fedavg", "cohort": 2},
    "learning.partition": "iid",
    "stop": {"versions": 2},
    "progress": False,
}
DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(60, 5)).astype("float32")
Y = (X[:, 0] > 0).astype(int)
TENSORS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
FRAME = pd.DataFrame(X, columns=list("abcde")).assign(dear=Y)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.line(x)
        return found


def play(given: dict[str, Any], folder: Path) -> simfl.Result:
    return simfl.run("quickstart", out=folder / "run", **{"model": Net, **QUICK, **given})


def whole(folder: Path) -> Any:
    return simfl.Dataset("mine", X[20:], Y[20:], X[:20], Y[:20], 2)


def csv(folder: Path) -> Any:
    FRAME.to_csv(folder / "homes.csv", index=False)
    return str(folder / "homes.csv")


def hugging(folder: Path) -> Any:
    datasets = pytest.importorskip("datasets", reason="needs simfl[huggingface]")
    return datasets.Dataset.from_dict({"x": X.tolist(), "y": Y.tolist()})


def pair(folder: Path) -> Any:
    draws = torch.Generator().manual_seed(0)
    return tuple(random_split(TENSORS, [0.8, 0.2], generator=draws))


Try = Callable[[Path], Any]
WORKS: dict[str, Try] = {
    "a Dataset object": lambda folder: {"dataset": whole(folder)},
    "a module instance": lambda folder: {"dataset": whole(folder), "model": Net()},
    "a module class": lambda folder: {"dataset": whole(folder), "model": Net},
    "a tuple of numpy arrays": lambda folder: {"dataset": (X[20:], Y[20:], X[:20], Y[:20])},
}
#: The try, what is said, and what is then written.
SAYS: dict[str, tuple[Try, str, Try]] = {
    "a TensorDataset": (
        lambda folder: {"dataset": TENSORS},
        "train, test = torch.utils.data.random_split(data, [0.8, 0.2])",
        lambda folder: {"dataset": pair(folder)},
    ),
    "a pandas frame": (
        lambda folder: {"dataset": FRAME},
        'write dataset=simfl.table(frame, target="COLUMN") (columns: a, b, c, d, e, dear)',
        lambda folder: {"dataset": simfl.table(FRAME, target="dear")},
    ),
    "a CSV path": (
        lambda folder: {"dataset": csv(folder)},
        'write dataset={"kind": "table", "path": ',
        lambda folder: {"dataset": {"kind": "table", "path": csv(folder), "target": "dear"}},
    ),
    "a list of one set per device": (
        lambda folder: {"dataset": [(X[:20], Y[:20], X[20:], Y[20:])] * 4},
        'set learning.partition = "user"',
        lambda folder: {
            "dataset": [(X[:20], Y[:20], X[20:], Y[20:])] * 4,
            "learning.partition": "user",
        },
    ),
    "a Hugging Face set": (
        lambda folder: {"dataset": hugging(folder)},
        "write dataset=data.train_test_split(0.2)",
        lambda folder: {"dataset": hugging(folder).train_test_split(0.2, seed=0)},
    ),
}


@pytest.mark.parametrize("given", WORKS.values(), ids=WORKS)
def test_it_works(given: Try, tmp_path: Path) -> None:
    assert play(given(tmp_path), tmp_path).summary["versions"] == 2


@pytest.mark.parametrize(("given", "said", "then"), SAYS.values(), ids=SAYS)
def test_it_says_what_to_write_and_that_works(
    given: Try, said: str, then: Try, tmp_path: Path
) -> None:
    with pytest.raises(SimflError) as told:
        play(given(tmp_path), tmp_path)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert play(then(tmp_path), tmp_path).summary["versions"] == 2


def test_a_language_model_learns_which_token_comes_next() -> None:
    """Of a text that repeats itself every next token can be known."""
    text = np.tile(np.arange(6), 20)
    windows = np.stack([text[at : at + 6] for at in range(60)])
    x, y = windows[:, :-1], windows[:, 1:]
    data = simfl.Dataset("alphabet", x[:48], y[:48], x[48:], y[48:], 6, sequence=True)
    given = {
        "dataset": data,
        "model": {"kind": "causal-transformer", "width": 16, "heads": 2, "layers": 1},
        "learning.objective": "next-token",
        "learning.metrics": ["perplexity"],
        "learning.optimizer": "adam",
        "learning.lr": 0.03,
        "strategy.epochs": 3,
        "stop": {"versions": 6},
    }
    seen = simfl.run("quickstart", **{**QUICK, **given}).evaluations
    assert seen.accuracy.iloc[0] < 0.5
    assert seen.accuracy.iloc[-1] > 0.9
    assert seen.perplexity.iloc[-1] < 1.5
    assert np.isclose(np.log(seen.perplexity.iloc[-1]), seen.loss.iloc[-1], rtol=1e-4)


class Lazy(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return X[i], int(Y[i])


@pytest.mark.study
def test_two_workers_read_their_own_examples() -> None:
    torch.manual_seed(0)
    given = {"dataset": (Lazy(), Lazy()), "model": Net(), **QUICK}
    one, two = (simfl.run("quickstart", **given, workers=n) for n in (1, 2))
    assert one.digest == two.digest


def test_transforms_of_torchvision_draw_from_the_task() -> None:
    """They draw from torch's global generator, which follows from the task."""
    try:
        from torchvision.transforms import v2
    except Exception as error:  # a build for another torch fails in its own way
        pytest.skip(f"needs a torchvision that fits this torch: {error!r}"[:100])
    turns = v2.Compose([v2.RandomCrop(8, padding=1), v2.RandomHorizontalFlip()])
    changed = {**QUICK, "learning.partition": "iid", "learning.transforms": [turns]}
    first, second = (simfl.run("quickstart", **changed) for _ in range(2))
    assert first.digest == second.digest
    assert first.digest != simfl.run("quickstart", **QUICK).digest


LARGE = """
import resource, sys
from pathlib import Path
import numpy as np, torch, simfl

class OnDisk(torch.utils.data.Dataset):
    '''One megabyte an example, in a sparse file of four gigabytes.'''
    targets = [i % 2 for i in range(4096)]
    def __init__(self, path):
        self.path = path
    def __len__(self):
        return 4096
    def __getitem__(self, i):
        x = np.fromfile(self.path, np.float32, 2**18, offset=i * 2**20)
        return np.append(x[:15], 1.0 + i % 2).astype("float32"), self.targets[i]

path = Path("large.bin")
with path.open("wb") as file:
    file.truncate(4 * 2**30)
data = OnDisk(str(path))
test = torch.utils.data.Subset(data, range(64))
done = simfl.run("quickstart", dataset=(data, test), model="softmax", progress=False,
    **{"stop": {"versions": 2}, "learning.batch_size": 32, "strategy.epochs": 0.5})
print(done.summary["versions"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.study
def test_a_data_set_of_four_gigabytes_takes_less_than_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    versions, kilobytes = done.stdout.split() or (0, 0)
    assert int(versions) == 2, done.stderr
    assert int(kilobytes) < 2**20
