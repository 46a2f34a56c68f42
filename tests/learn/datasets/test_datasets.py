from __future__ import annotations

import gzip
import struct
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from simfl.errors import DataError, ScenarioError
from simfl.learn.datasets.base import DATASETS, DataDir, Dataset
from simfl.learn.datasets.images import (
    Cifar10,
    Cifar100,
    Digits,
    Emnist,
    FashionMnist,
    Femnist,
    Mnist,
)
from simfl.learn.datasets.synthetic import Synthetic
from simfl.learn.datasets.text import Shakespeare, speeches
from simfl.streams import Streams

TEXT = "A:\nto be or not\nto be\n\nB:\nno\n\nA:\nthat is it\n"


def rng() -> np.random.Generator:
    return Streams(3).generator("data")


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def write_mnist(folder: Path, n: int = 6) -> None:
    pixels = np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2) * 5
    for stem in ("train", "t10k"):
        write_idx(folder / f"{stem}-images-idx3-ubyte.gz", pixels)
        write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", np.arange(n, dtype=np.uint8))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every download fails, and no folder is set."""

    def refuse(*_: object, **__: object) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.delenv("SIMFL_DATA_DIR", raising=False)


def test_every_shipped_name_is_a_part_that_imports() -> None:
    assert all(is_dataclass(DATASETS.get(name)) for name in DATASETS.names())


def test_an_unknown_data_set_suggests_the_nearest() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'mnist'"):
        DATASETS.get("mnits")


def test_digits_are_split_by_class_and_the_same_for_every_seed() -> None:
    one = Digits()(DataDir(), rng())
    two = Digits()(DataDir(), Streams(4).generator("data"))
    assert one.x.shape == (1442, 1, 8, 8)
    assert one.x_test.shape == (355, 1, 8, 8)
    assert torch.equal(one.x, two.x)
    per_class = torch.bincount(one.y) + torch.bincount(one.y_test)
    assert torch.equal(torch.bincount(one.y_test), per_class // 5)


def test_training_pixels_are_standardised() -> None:
    data = Digits()(DataDir(), rng())
    assert data.x.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert data.x.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_test_pixels_are_scaled_as_training_pixels_are(tmp_path: Path, offline: None) -> None:
    write_mnist(tmp_path / "mnist")
    data = Mnist()(DataDir(tmp_path), rng())
    assert data.x.shape == (6, 1, 2, 2)
    assert torch.equal(data.x, data.x_test)
    assert data.y.tolist() == [0, 1, 2, 3, 4, 5]


def test_the_environment_names_the_folder_when_no_argument_does(
    tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "fashion-mnist")
    monkeypatch.setenv("SIMFL_DATA_DIR", str(tmp_path))
    assert len(FashionMnist()(DataDir(), rng())) == 6
    with pytest.raises(DataError):
        FashionMnist()(DataDir(tmp_path / "elsewhere"), rng())


def test_a_missing_file_says_where_it_was_expected_and_how_to_say_so(
    tmp_path: Path, offline: None
) -> None:
    with pytest.raises(DataError) as caught:
        Mnist()(DataDir(tmp_path), rng())
    said = str(caught.value)
    assert str(tmp_path / "mnist" / "train-images-idx3-ubyte.gz") in said
    assert "no network" in said
    assert "SIMFL_DATA_DIR" in said
    assert "data_dir" in said


def test_a_download_is_checked_against_the_published_md5(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: None
) -> None:
    write_mnist(tmp_path)
    asked = []

    def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
        asked.append((url, known_hash))
        return str(tmp_path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert len(Mnist()(DataDir(), rng())) == 6
    assert asked[0][1] == "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"
    assert len(asked) == 4


def test_cifar_reads_the_batches_that_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10"
    folder.mkdir()
    rows = np.arange(4 * 3073, dtype=np.uint64).astype(np.uint8).reshape(4, 3073)
    rows[:, 0] = [0, 1, 2, 3]
    (folder / "data_batch_2.bin").write_bytes(rows.tobytes())
    (folder / "test_batch.bin").write_bytes(rows[:2].tobytes())
    data = Cifar10()(DataDir(tmp_path), rng())
    assert data.x.shape == (4, 3, 32, 32)
    assert data.y_test.tolist() == [0, 1]


def test_cifar_without_any_training_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data_batch_1"):
        Cifar10()(DataDir(tmp_path), rng())


def test_femnist_knows_its_writers_and_inverts_its_paper(tmp_path: Path) -> None:
    folder = tmp_path / "femnist-writers"
    folder.mkdir()
    x = np.full((3, 28, 28), 255, np.uint8)
    x[0, 0, 0] = 0
    labels, writers = np.array([0, 61, 5], np.uint8), np.array([4, 4, 9], np.uint16)
    np.savez(
        folder / "femnist_writers.npz",
        **{"x_train": x, "y_train": labels, "writer_train": writers, "x_test": x, "y_test": labels},
    )
    data = Femnist()(DataDir(tmp_path), rng())
    assert data.x[0, 0, 0, 0] > data.x[0, 0, 1, 1]
    assert data.users is not None
    assert data.users.tolist() == [4, 4, 9]


def test_labels_out_of_range_are_refused() -> None:
    x, y = torch.zeros(2, 1), torch.tensor([0, 2])
    with pytest.raises(DataError, match="0 to 1"):
        Dataset("own", x, y, x, y, classes=2)


def test_inputs_without_labels_are_refused() -> None:
    x, y = torch.zeros(2, 1), torch.tensor([0])
    with pytest.raises(DataError, match="2 training inputs but 1 labels"):
        Dataset("own", x, y, x, y, classes=2)


def test_synthetic_data_of_one_seed_are_the_same() -> None:
    one, two = (Synthetic(users=5, examples=20)(DataDir(), rng()) for _ in range(2))
    assert torch.equal(one.x, two.x)
    assert torch.equal(one.y, two.y)


def test_balanced_synthetic_users_hold_what_was_asked_a_tenth_of_it_for_the_test() -> None:
    data = Synthetic(users=4, examples=50)(DataDir(), rng())
    assert data.users is not None
    assert np.bincount(data.users).tolist() == [45] * 4
    assert len(data.x_test) == 20


def test_synthetic_sizes_follow_a_heavy_tail_above_fifty() -> None:
    data = Synthetic(users=200)(DataDir(), rng())
    assert data.users is not None
    sizes = np.bincount(data.users)
    assert sizes.min() >= 45
    assert sizes.max() > 20 * np.median(sizes)


def test_alpha_moves_all_logits_alike_and_so_changes_no_label() -> None:
    one, two = (Synthetic(a, users=3, examples=40)(DataDir(), rng()) for a in (0.0, 5.0))
    assert torch.equal(one.y, two.y)


def test_iid_synthetic_users_share_one_classifier() -> None:
    """A linear model fitted to one half of the users is as good on the other half."""
    data = Synthetic(users=20, examples=200, features=5, classes=2, iid=True)(DataDir(), rng())
    half = len(data) // 2
    signs = 2.0 * data.y.double() - 1.0
    inputs = torch.cat([data.x, torch.ones(len(data), 1)], 1).double()
    weights = torch.linalg.lstsq(inputs[:half], signs[:half, None]).solution
    right = ((inputs[half:] @ weights)[:, 0].sign() == signs[half:]).double().mean()
    assert right > 0.9


def test_speeches_of_one_role_are_joined() -> None:
    assert speeches(TEXT) == {"A": "to be or not\nto be\nthat is it", "B": "no"}


def test_windows_predict_the_next_character_and_share_no_target(tmp_path: Path) -> None:
    (tmp_path / "shakespeare").mkdir()
    (tmp_path / "shakespeare" / "tinyshakespeare.txt").write_text(TEXT, "utf-8")
    data = Shakespeare(window=5)(DataDir(tmp_path), rng())
    assert torch.equal(data.x[0, 1:], data.y[0, :-1])
    assert data.x[1, 0] == data.y[0, -1]
    assert data.users is not None
    assert data.users.tolist() == [0] * 4  # B is too short for one window
    assert len(data.x_test) == 1
    assert data.classes == len({*"to be or not\nto be\nthat is it"})


@pytest.mark.parametrize("text", ["A:\nno\n", "no name here\n\nat all"])
def test_a_text_that_holds_no_windows_or_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "shakespeare").mkdir()
    (tmp_path / "shakespeare" / "tinyshakespeare.txt").write_text(text, "utf-8")
    with pytest.raises(DataError, match="tinyshakespeare"):
        Shakespeare()(DataDir(tmp_path), rng())


@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [
        ("mnist", (60000, 1, 28, 28), 10000, 10),
        ("fashion-mnist", (60000, 1, 28, 28), 10000, 10),
        ("femnist", (14708, 1, 28, 28), 1685, 62),
    ],
)
def test_real_images_have_their_published_shapes(
    data_dir: Path, name: str, train: tuple[int, ...], test: int, classes: int
) -> None:
    data = DATASETS.get(name)()(DataDir(data_dir), rng())
    assert data.x.shape == train
    assert len(data.x_test) == test
    assert len(torch.unique(data.y)) == classes


def test_real_shakespeare_has_sixty_five_characters(data_dir: Path) -> None:
    data = Shakespeare()(DataDir(data_dir), rng())
    assert data.x.shape[1] == 80
    assert 60 <= data.classes <= 65  # punctuation that only ends speakers' names is not spoken
    assert data.users is not None
    assert len(np.unique(data.users)) > 250


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    from simfl.learn.datasets.images import _digits

    for ours, theirs in zip(_digits(), load_digits(return_X_y=True), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_cifar_100_has_fine_and_coarse_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100" / "cifar-100-binary"
    folder.mkdir(parents=True)
    rows = np.arange(4 * 3074, dtype=np.uint64).astype(np.uint8).reshape(4, 3074)
    rows[:, 0], rows[:, 1] = [0, 1, 2, 19], [99, 1, 2, 3]
    (folder / "train.bin").write_bytes(rows.tobytes())
    (folder / "test.bin").write_bytes(rows[:2].tobytes())
    fine = Cifar100()(DataDir(tmp_path), rng())
    assert (fine.x.shape, fine.classes, fine.y.tolist()) == ((4, 3, 32, 32), 100, [99, 1, 2, 3])
    coarse = Cifar100(coarse=True)(DataDir(tmp_path), rng())
    assert (coarse.classes, coarse.y_test.tolist()) == (20, [0, 1])


def test_emnist_stands_upright_and_its_letters_count_from_zero(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    for part in ("train", "test"):
        write_idx(tmp_path / "emnist" / f"emnist-letters-{part}-images-idx3-ubyte.gz", pixels)
        labels = np.array([1, 26], np.uint8)
        write_idx(tmp_path / "emnist" / f"emnist-letters-{part}-labels-idx1-ubyte.gz", labels)
    data = Emnist("letters")(DataDir(tmp_path), rng())
    assert (data.classes, data.y.tolist()) == (26, [0, 25])
    assert data.x.shape == (2, 1, 3, 2)
    assert torch.equal(data.x[0, 0, 1:, 0].diff(), data.x[0, 0, :2, 0].diff())
    assert data.x[0, 0, 0, 1] > data.x[0, 0, 2, 0]


def test_a_member_of_an_archive_is_unpacked_from_its_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: None
) -> None:
    def retrieve(url: str, known_hash: str, path: Path, processor: pooch.Untar) -> list[str]:
        assert known_hash == "md5:03b5dce01913d631647c71ecec9e9cb8"
        (member,) = processor.members
        file = tmp_path / Path(member).name
        file.write_bytes(bytes(3074))
        return [str(tmp_path / "other"), str(file)]

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert len(Cifar100()(DataDir(), rng())) == 1
