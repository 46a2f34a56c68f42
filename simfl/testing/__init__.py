"""Contracts for the test suites of people who write parts of their own.

    from simfl.testing import check_strategy

    def test_my_strategy():
        check_strategy(Mine(cohort=4))

A check raises AssertionError with what is not kept. The shipped parts keep the same contracts: a
check is a list of functions, `STRATEGY_CONTRACTS` and so on, which `simfl`'s own tests go through
one by one. `FakeServer` shows what a strategy does without a clock, a data set or a model.
"""

from simfl.testing.codecs import CODEC_CONTRACTS, check_codec
from simfl.testing.fake_server import FakeServer, params, update
from simfl.testing.objectives import OBJECTIVE_CONTRACTS, check_objective
from simfl.testing.rules import RULE_CONTRACTS, check_local_rule
from simfl.testing.strategies import STRATEGY_CONTRACTS, Played, check_strategy

__all__ = [
    "CODEC_CONTRACTS",
    "OBJECTIVE_CONTRACTS",
    "RULE_CONTRACTS",
    "STRATEGY_CONTRACTS",
    "FakeServer",
    "Played",
    "check_codec",
    "check_local_rule",
    "check_objective",
    "check_strategy",
    "params",
    "update",
]
