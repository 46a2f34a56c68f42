"""From a file to options that are ready to use, and back."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simfl.errors import ScenarioError
from simfl.scenario import TimingOptions, load, parse
from simfl.scenario.reading import shipped_names
from simfl.strategy.local_rules import Proximal
from simfl.strategy.methods.fedbuff import FedBuff
from simfl.wire.quantize import Quantize
from simfl.wire.sparse import TopK

TIMING = {
    "fleet": {"group": [{"compute": {"gflops": 5}, "count": 3}]},
    "learning": {"dataset": "none", "parameters": 10, "examples": 4, "flops_per_example": 1e3},
    "strategy": "fedavg",
    "stop": {"after_s": 10},
}


def timing(**changes: Any) -> dict[str, Any]:
    return {**TIMING, "strategy": {"kind": "fedavg", "cohort": 2}, **changes}


def test_the_example_of_the_documentation_is_valid(night: Path) -> None:
    scenario = load(night)
    assert (scenario.name, scenario.seed, scenario.fleet.devices) == ("night-phones", 7, 110)
    assert scenario.strategy == FedBuff(concurrency=20, buffer=5, epochs=5.0, local=Proximal(0.01))
    assert scenario.wire.up == (TopK(keep=0.1), Quantize(bits=8))
    assert scenario.wire.down == ()
    assert scenario.learning.training.lr == 0.05
    assert scenario.stop.target.accuracy == 0.97


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_scenario_is_valid_by_its_name(name: str) -> None:
    assert load(name).fleet.devices > 0


def test_a_resolved_scenario_gives_itself_back(night: Path) -> None:
    once = load(night)
    twice = parse(tomllib.loads(once.to_toml()))
    assert twice.to_toml() == once.to_toml()
    assert twice.hash == once.hash
    assert twice.strategy == once.strategy


@given(
    seed=st.integers(0, 2**62),
    count=st.integers(1, 10**6),
    mean_s=st.floats(1e-300, 1e300),
    name=st.from_regex(r"[a-z][a-z0-9 _.-]{0,20}[a-z0-9]", fullmatch=True),
)
def test_numbers_and_names_survive_the_way_through_toml(
    seed: int, count: int, mean_s: float, name: str
) -> None:
    group = {"compute": {"kind": "exponential", "mean_s": mean_s}, "count": count}
    once = parse(
        timing(
            seed=seed,
            name=name,
            fleet={"group": [{**group, "name": 'ünï "q"'}]},
            strategy={"kind": "fedavg", "cohort": 1},
        )
    )
    assert parse(tomllib.loads(once.to_toml())).resolved() == once.resolved()


def test_the_hash_follows_the_options_and_not_the_place_of_the_data(night: Path) -> None:
    same, other = load(night, ["learning.data_dir=/elsewhere"]), load(night, seed=8)
    assert load(night).hash == same.hash != other.hash


def test_nothing_of_a_scenario_can_be_changed(night: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(night).seed = 3


def test_a_scenario_without_a_name_bears_that_of_its_file(
    write: Callable[[str, str], Path], night: Path
) -> None:
    text = night.read_text(encoding="utf-8").replace('name = "night-phones"', "")
    assert load(write("owls.toml", text)).name == "owls"


def test_whole_numbers_will_do_where_any_number_would() -> None:
    scenario = parse(timing(stop={"after_s": 10}))
    assert scenario.stop.after_s == 10.0
    assert isinstance(scenario.stop.after_s, float)


def test_without_learning_sizes_are_stated_for_all_devices_or_for_each() -> None:
    for examples in (4, [4, 5, 6]):
        learning = {**TIMING["learning"], "examples": examples}
        assert isinstance(parse(timing(learning=learning)).learning, TimingOptions)


def test_a_part_made_in_python_is_taken_as_it_is() -> None:
    strategy = FedBuff(concurrency=2, local=Proximal(mu=0.5))
    scenario = parse(timing(), {"strategy": strategy})
    assert scenario.strategy is strategy
    assert parse(scenario.resolved()).strategy == strategy


def test_a_notebook_sees_the_scenario_in_one_line_that_unfolds() -> None:
    shown = parse(timing(name="owls"))._repr_html_()
    assert "<b>owls</b>: fedavg on 3 devices, seed 0" in shown
    assert "&quot;fedavg&quot;" in shown


def test_classes_beside_the_scenario_are_found_and_named(
    write: Callable[[str, str], Path], night: Path
) -> None:
    """They must travel with a resolved scenario; those of the catalogue need not."""
    catalogue = Path(__file__).parents[2] / "devices"
    own = write("devices/my-phone.toml", (catalogue / "phone-mid.toml").read_text("utf-8"))
    text = night.read_text("utf-8").replace('device = "phone-mid"', 'device = "my-phone"')
    assert load(write("mine.toml", text)).class_files() == [own]
    assert load(night).class_files() == []


def test_reading_a_scenario_without_learning_loads_no_heavy_library(tmp_path: Path) -> None:
    path = tmp_path / "timing.toml"
    path.write_text(parse(timing()).to_toml(), encoding="utf-8")
    code = (
        f"import sys\nfrom simfl.scenario import load\nload({str(path)!r}).to_toml()\n"
        "print(*sorted({'torch', 'pandas', 'matplotlib', 'simpy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_a_sweep_keeps_its_key_paths_with_and_without_quotes(night: Path) -> None:
    swept = load(night, {"sweep": {"strategy.buffer": [5, 20], "seed": [1, 2]}})
    nested = load(night, {"sweep": {"strategy": {"buffer": [5, 20]}, "seed": [1, 2]}})
    assert swept.sweep == nested.sweep == {"strategy.buffer": [5, 20], "seed": [1, 2]}
    assert tomllib.loads(swept.to_toml())["sweep"] == swept.sweep


def test_a_mistake_in_a_sweep_is_found_before_anything_runs(night: Path) -> None:
    with pytest.raises(ScenarioError, match=r"sweep: .*strategy\.bufer is not an option"):
        load(night, {"sweep": {"strategy.bufer": [1]}})
