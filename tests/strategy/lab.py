"""The fake server of `simfl.testing`, under the name that these tests call it by."""

from simfl.testing.fake_server import LR, params, update
from simfl.testing.fake_server import FakeServer as Lab

__all__ = ["LR", "Lab", "params", "update"]
