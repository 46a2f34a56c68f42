"""The fake server of `simfl.testing`, under the name that these tests call it by."""

from simfl.testing.fake_server import FakeServer as Lab
from simfl.testing.fake_server import params, update

__all__ = ["Lab", "params", "update"]
