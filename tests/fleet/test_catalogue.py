from __future__ import annotations

from pathlib import Path

import pytest

from simfl.errors import CatalogueError
from simfl.fleet.catalogue import (
    DeviceClass,
    catalogue_dirs,
    list_classes,
    load_class,
    load_device,
    load_network,
    quantities,
)

SHIPPED = catalogue_dirs()
NAMES = {
    "device": "cloud-vcpu desktop-gpu gpu-a100 gpu-t4 gpu-v100 jetson-agx-xavier jetson-nano"
    " jetson-orin-nano jetson-tx2 laptop-cpu mcu-cortex-m4 mcu-cortex-m7 phone-flagship phone-high"
    " phone-low phone-mid raspberry-pi-3 raspberry-pi-4 raspberry-pi-5 raspberry-pi-zero-2",
    "network": "3g 3g-evdo 5g-low-band 5g-mid-band 5g-mmwave home-broadband home-cable home-dsl"
    " home-fibre lan lorawan lte lte-driving lte-m nb-iot satellite-geo satellite-leo wifi",
}


def test_the_shipped_catalogue_is_complete_and_every_file_is_sound():
    infos = list_classes(SHIPPED)
    for kind, names in NAMES.items():
        assert [info.name for info in infos if info.kind == kind] == names.split()
    assert all(info.about and info.path.is_file() for info in infos)


@pytest.mark.parametrize("name", " ".join(NAMES.values()).split())
def test_every_number_has_a_source_and_a_mark(name):
    numbers = quantities(load_class(name, SHIPPED))
    assert len(numbers) >= 7
    assert all(len(number.source) > 10 and number.mark for number in numbers.values())


@pytest.mark.parametrize("name", NAMES["device"].split())
def test_every_device_class_has_a_network_class_to_default_to(name):
    network = load_device(name, SHIPPED).network
    assert network is not None
    assert load_network(network, SHIPPED).link().down_mbps > 0.0


def test_a_class_becomes_the_options_that_say_the_same_in_place():
    law = load_device("phone-mid", SHIPPED).compute()
    assert (law.gflops, law.spread_sigma) == (6.0, 0.35)
    link = load_network("lte", SHIPPED).link()
    assert (link.down_mbps, link.up_mbps, link.latency_s) == (117.0, 31.2, 0.0445)


def test_an_unknown_class_is_told_its_nearest_kin():
    with pytest.raises(CatalogueError, match=r"'phone-mdi' .* device class .*'phone-mid'"):
        load_device("phone-mdi", SHIPPED)


def test_a_class_of_the_other_kind_is_none():
    with pytest.raises(CatalogueError, match="'lte' is not a device class") as caught:
        load_device("lte", SHIPPED)
    assert "phone-mid" in str(caught.value)
    assert "wifi" not in str(caught.value)


def test_a_name_is_no_path():
    with pytest.raises(CatalogueError):
        load_class("../devices/lte", SHIPPED)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A scenario's folder with a device class of its own."""
    (tmp_path / "devices").mkdir()
    mine = (SHIPPED[-1] / "phone-mid.toml").read_text(encoding="utf-8")
    (tmp_path / "devices" / "my-phone.toml").write_text(mine, encoding="utf-8")
    return tmp_path


def test_classes_beside_the_scenario_add_to_the_catalogue_and_override_it(beside):
    dirs = catalogue_dirs(beside)
    assert isinstance(load_class("my-phone", dirs), DeviceClass)
    assert load_network("lte", dirs) == load_network("lte", SHIPPED)
    slow = (beside / "devices" / "my-phone.toml").read_text(encoding="utf-8")
    slow = slow.replace("value = 6.0", "value = 2.0")
    (beside / "devices" / "phone-mid.toml").write_text(slow, encoding="utf-8")
    assert load_device("phone-mid", dirs).train_gflops.value == 2.0


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("train_w", "trian_w", r"trian_w is not a key of a DeviceClass \(did you mean 'train_w'"),
        ("low = 1.2", "lo = 1.2", r"train_gflops.lo is not a key of a quantity .*'low'"),
        ("memory_mb = ", "# memory_mb = ", "memory_mb is missing"),
        ("value = 6.0", 'value = "6"', "train_gflops.value: .*number"),
        ("value = 6.0", "value = inf", "train_gflops.value: .*finite"),
        ("value = 0.35", "value = -0.35", "spread_sigma: value = -0.35, expected at least 0"),
        ("value = 6.0", "value = 60.0", "train_gflops: 60 is not within low = 1.2"),
        ('unit = "GFLOP/s"', 'unit = "GFLOPS"', "unit = 'GFLOPS', expected 'GFLOP/s'"),
        ('mark = "S"', 'mark = "X"', "jitter_sigma.mark"),
        ('kind = "device"', 'kind = "gadget"', "kind = 'gadget', expected"),
        ('kind = "device"', "kind device", "line 1"),
        ('mark = "S", source = "', 'mark = "S", origin = "', "jitter_sigma.origin is not a key"),
        (', mark = "S"', "", "jitter_sigma.mark is missing"),
    ],
)
def test_a_malformed_class_says_file_key_and_what_was_expected(beside, old, new, complaint):
    path = beside / "devices" / "my-phone.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(CatalogueError, match=complaint) as caught:
        load_class("my-phone", catalogue_dirs(beside))
    assert "my-phone.toml" in str(caught.value)


def test_a_file_that_is_no_text_is_refused(beside):
    (beside / "devices" / "my-phone.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogueError, match=r"my-phone\.toml"):
        load_class("my-phone", catalogue_dirs(beside))


def test_a_class_may_extend_another_and_change_a_few_of_its_numbers(tmp_path) -> None:
    own = tmp_path / "devices"
    own.mkdir()
    (own / "phone-old.toml").write_text(
        'kind = "device"\nabout = "a phone of some years ago"\nextends = "phone-mid"\n'
        'train_gflops = { value = 1.0, unit = "GFLOP/s", source = "measured here", mark = "C" }\n',
        "utf-8",
    )
    dirs = catalogue_dirs(tmp_path)
    old, usual = load_device("phone-old", dirs), load_device("phone-mid", dirs)
    assert (old.train_gflops.value, old.train_gflops.low) == (1.0, None)
    assert (old.memory_mb, old.about) == (usual.memory_mb, "a phone of some years ago")


def test_a_class_that_extends_nothing_there_is_or_itself_is_refused(tmp_path) -> None:
    own = tmp_path / "devices"
    own.mkdir()
    for name, above in (("a", "b"), ("b", "a"), ("c", "phone-midd")):
        text = f'kind = "device"\nabout = "x"\nextends = "{above}"\n'
        (own / f"{name}.toml").write_text(text, "utf-8")
    dirs = [own, *catalogue_dirs()]
    with pytest.raises(CatalogueError, match="round a circle"):
        load_device("a", dirs)
    with pytest.raises(CatalogueError, match="did you mean 'phone-mid'"):
        load_device("c", dirs)
