"""Whatever a data set is made of, a trainer learns from it or says why not, and never dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("cases", "seed"), [(20, 0), pytest.param(1500, 1, marks=pytest.mark.study)]
)
def test_any_type_shape_and_layout_gives_a_result_or_a_sentence(cases, seed):
    script = Path(__file__).with_name("wild_data.py")
    words = [sys.executable, str(script), str(cases), str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    *tried, ends = done.stdout.splitlines() or [""]
    assert done.returncode == 0, (tried[-1:], ends, done.stderr[-2000:])
    assert "result" in ends
    assert "sentence" in ends
