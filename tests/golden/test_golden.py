"""A whole ledger as text: whoever changes what happens on the clock sees it here.

If the change is meant, write the new ledger with

    python tests/golden/test_golden.py
"""

from __future__ import annotations

from pathlib import Path

import simfl

HERE = Path(__file__).parent
COLUMNS = [
    *("task", "device", "device_class", "version", "applied_version", "dispatched_s"),
    *("download_s", "train_s", "upload_s", "ended_s", "outcome", "cause", "phase"),
    *("down_bytes", "up_bytes", "staleness"),
]


def ledger() -> str:
    """The tasks of the small run, a line each. Rounded: other platforms differ in last bits."""
    tasks = simfl.run(HERE / "ten-devices.toml").tasks
    return tasks[COLUMNS].to_csv(index=False, float_format="%.6f", lineterminator="\n")


def test_the_small_ledger_is_what_it_was():
    assert ledger() == (HERE / "ten-devices.csv").read_text(encoding="utf-8")


if __name__ == "__main__":
    (HERE / "ten-devices.csv").write_text(ledger(), encoding="utf-8")
