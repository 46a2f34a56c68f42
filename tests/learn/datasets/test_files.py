"""Data sets of files: tables, folders of images, texts, and what Hugging Face's library saves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import simfl
from simfl.errors import DataError
from simfl.learn.datasets.base import DATASETS, DataDir
from simfl.learn.datasets.folders import Images
from simfl.learn.datasets.frames import Table
from simfl.learn.datasets.rows import Rows
from simfl.learn.datasets.text import Text

FRAME = pd.DataFrame(
    {
        "rooms": np.arange(20) % 7,
        "area": np.arange(20.0) * 3,
        "city": ["Ulm", "Bonn"] * 10,
        "price": np.arange(20.0) + 0.5,
        "sold": np.arange(20) % 3 == 0,
    }
)


def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_a_table_is_read_from_a_file_beside_the_scenario(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"houses.{suffix}"
    FRAME.to_parquet(path) if suffix == "parquet" else FRAME.to_csv(path, index=False)
    part = Table(path.name, "price", user="city", test_share=0.2)
    data = part(DataDir(None, tmp_path), rng())
    assert (data.classes, data.outputs, len(data), len(data.x_test)) == (None, 1, 16, 4)
    assert np.bincount(data.users).tolist() == [8, 8]
    assert data.x.shape == (16, 3)  # rooms, area, sold
    assert data.x.mean(0).abs().max() < 1e-6
    assert sorted([*data.y.tolist(), *data.y_test.tolist()]) == FRAME.price.tolist()


def test_each_row_keeps_its_target_and_tests_are_scaled_as_training_rows_are():
    data = simfl.table(FRAME, target="price", features=["area"])
    x, y = (torch.cat(pair) for pair in ((data.x, data.x_test), (data.y, data.y_test)))
    slope = (x[:, 0] - x[0, 0]) / torch.where(y == y[0], 1, y - y[0])
    assert slope[y != y[0]].std() < 1e-6
    raw = simfl.table(FRAME, target="price", features=["area"], standardise=False)
    assert torch.equal(raw.x[:, 0] / 3 + 0.5, raw.y)


@pytest.mark.parametrize(
    ("target", "classes", "more"),
    [
        ("city", 2, {}),
        ("sold", 2, {"features": ["area"]}),
        ("rooms", 7, {"features": ["area"]}),
        ("rooms", None, {"features": ["area"], "values": True}),
        (["price", "area"], None, {"features": ["rooms"]}),
    ],
)
def test_the_target_is_a_class_or_a_value(target, classes, more):
    assert simfl.table(FRAME, target=target, **more).classes == classes


def test_texts_become_flags_where_that_is_asked_for():
    assert simfl.table(FRAME, target="price", one_hot=True).x.shape[1] == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "prize"}, "there is no column 'prize' (did you mean 'price'?"),
        ({"target": "price"}, "the column 'city' holds"),
        ({"target": "price"}, "set one_hot = true, or name the columns"),
        ({"target": "price", "features": ["price"]}, "'price' is the target"),
        ({"target": "price", "features": ["area"], "test_share": 0.0}, "test_share = 0.0 of 20"),
    ],
)
def test_a_table_that_does_not_fit_says_which_column(options, said):
    with pytest.raises(DataError) as caught:
        simfl.table(FRAME, **options)
    assert said in str(caught.value)


def test_empty_cells_are_counted():
    holes = FRAME.assign(area=[np.nan, np.nan, *range(18)])
    with pytest.raises(DataError, match="the column 'area' has 2 empty cells"):
        simfl.table(holes, target="price", one_hot=True)


def test_a_path_for_a_name_is_answered_with_what_to_write():
    with pytest.raises(
        simfl.InputError, match=r'"kind": "table", "path": "houses.csv", "target": "'
    ):
        DATASETS.get("houses.csv")
    with pytest.raises(simfl.InputError, match='"kind": "images", "path": "my/pictures"}'):
        DATASETS.get("my/pictures")


def test_a_table_that_is_not_there_names_the_places():
    with pytest.raises(DataError, match=r"'gone.csv' is not there: looked for /beside/gone.csv, /"):
        Table("gone.csv", "y")(DataDir(None, Path("/beside")), rng())


def paint(root: Path, folders: list[str], size: int = 4, each: int = 5) -> None:
    for shade, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (size, size), (shade * 100, i, 255)).save(root / folder / f"{i}.png")


def test_a_folder_of_images_is_a_folder_for_each_class(tmp_path: Path):
    paint(tmp_path / "pictures", ["cat", "dog"])
    data = Images("pictures")(DataDir(None, tmp_path), rng())
    assert (data.classes, data.batchwise) == (2, None)
    assert data.x.shape == (8, 3, 4, 4)
    assert np.bincount(data.y_test).tolist() == [1, 1]
    assert torch.allclose(data.x[:, 0, 0, 0], data.y * 100 / 255)
    assert data.x[:, 2].min() == 1.0


def test_images_come_in_two_folders_too_and_are_read_later_where_they_are_many(
    tmp_path: Path, monkeypatch
):
    paint(tmp_path / "p", ["train/cat", "train/dog", "test/dog"])
    small = Images("p", size=2, gray=True)
    data = small(DataDir(tmp_path), rng())
    assert (data.x.shape, data.y_test.tolist()) == ((10, 1, 2, 2), [1] * 5)
    monkeypatch.setattr("simfl.learn.datasets.folders._KEPT_BYTES", 0)
    later = small(DataDir(tmp_path), rng())
    assert isinstance(later.x, Rows)
    assert torch.equal(later.batch(np.array([7, 1]))[0], data.x[[7, 1]])


def test_images_of_several_sizes_or_damaged_ones_are_named(tmp_path: Path):
    paint(tmp_path / "p", ["cat"])
    paint(tmp_path / "p", ["dog"], size=3)
    with pytest.raises(DataError, match=r"the sizes \(3, 3\), \(4, 4\), expected one: give `size`"):
        Images("p")(DataDir(tmp_path), rng())
    (tmp_path / "p" / "cat" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1.png: not an image"):
        Images("p", size=2, test_share=0.3)(DataDir(tmp_path), rng())
    with pytest.raises(DataError, match="no images, expected"):
        Images("p/cat")(DataDir(tmp_path), rng())


def test_text_files_are_users_in_windows_of_characters(tmp_path: Path):
    (tmp_path / "letters").mkdir()
    for name, text in {"a": "abcabcabc" * 4, "b": "cab" * 9}.items():
        (tmp_path / "letters" / f"{name}.txt").write_text(text)
    data = Text("letters", window=3)(DataDir(None, tmp_path), rng())
    assert (data.sequence, data.classes) == (True, 3)
    assert np.bincount(data.users).tolist() == [9, 7]
    assert torch.equal(data.x[:, 1:], data.y[:, :-1])
    assert len(Text("letters/a.txt", window=3)(DataDir(None, tmp_path), rng())) == 9
    with pytest.raises(DataError, match="no text is long enough, expected one with 5 windows of 9"):
        Text("letters", window=9)(DataDir(None, tmp_path), rng())


def hugging(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "pixels": datasets.Array2D((2, 2), "float32"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "who": datasets.Value("int64"),
        }
    )
    rows = {
        "pixels": [[[i, 1.0], [2.0, 3.0]] for i in range(8)],
        "label": [i % 2 for i in range(8)],
        "who": [i // 4 for i in range(8)],
    }
    half = datasets.Dataset.from_dict(rows, features)
    return datasets.DatasetDict({"train": half, "test": half})


def test_data_of_hugging_face_come_as_objects_and_from_disk(tmp_path: Path, capsys):
    whole = hugging(tmp_path)
    data = simfl.as_dataset(whole.remove_columns("who"))
    assert (data.classes, data.x.shape, data.y.tolist()) == (2, (8, 2, 2), [0, 1] * 4)
    assert data.batch(np.array([5]))[0][0, 0, 0] == 5.0
    whole.save_to_disk(str(tmp_path / "saved"))
    part = DATASETS.get("huggingface")("saved", x="pixels", y="label", user="who")
    again = part(DataDir(None, tmp_path), rng())
    assert again.users.tolist() == [0] * 4 + [1] * 4
    assert torch.equal(again.x[:], data.x[:])
    with pytest.raises(DataError, match="which of its columns pixels, label, who are x and y"):
        simfl.as_dataset(whole)
    with pytest.raises(DataError, match=r"a Dataset alone has no test examples.*train_test_split"):
        simfl.as_dataset(whole["train"])
    with pytest.raises(DataError, match=r"no column 'pixel' \(did you mean 'pixels'"):
        DATASETS.get("huggingface")("saved", x="pixel")(DataDir(None, tmp_path), rng())


def test_a_scenario_file_names_a_table(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "houses.csv", index=False)
    path = tmp_path / "s.toml"
    options = {"kind": "table", "path": "houses.csv", "target": "sold", "features": ["area"]}
    written = ", ".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    path.write_text(
        'fleet.group = [{ count = 2, device = "phone-mid" }]\n'
        'strategy = { kind = "fedavg", cohort = 2, steps = 2 }\nstop.versions = 1\n'
        f'learning = {{ dataset = {{ {written} }}, model = "softmax" }}\n'
    )
    assert simfl.run(path).summary["versions"] == 1
