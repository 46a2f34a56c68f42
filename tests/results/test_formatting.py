from __future__ import annotations

from math import inf, nan

import pytest

from simfl.results import formatting


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.25, "0.25 s"), (89.0, "89 s"), (90.0, "1.5 min"), (5399.0, "90 min"), (5400.0, "1.5 h"),
     (86400.0, "24 h"), (864000.0, "10 d"), (None, "-"), (nan, "-"), (inf, "inf")],
)  # fmt: skip
def test_time_is_said_in_a_fitting_unit(value, said) -> None:
    assert formatting.seconds(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (41_520_000, "41.5 MB")]
)
def test_bytes_are_said_with_decimal_prefixes(value, said) -> None:
    assert formatting.amount(value, "B") == said


def test_shares_are_percentages() -> None:
    assert [formatting.share(x) for x in (0.0438, 1.0, None)] == ["4.4 %", "100.0 %", "-"]


def test_whole_numbers_keep_all_digits() -> None:
    assert [formatting.number(x) for x in (13958, 2.0, 0.3333, 123.4)] == [
        "13958",
        "2",
        "0.333",
        "123",
    ]
