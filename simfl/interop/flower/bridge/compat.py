"""Everything that simfl imports from Flower, from the oldest release that works to the newest.

Names move between Flower's releases; when one moves again, this is the file to change.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from flwr.app import Array as Array
from flwr.app import ArrayRecord as ArrayRecord
from flwr.app import Context as Context
from flwr.app import Error as Error
from flwr.app import Message as Message
from flwr.app import MetricRecord as MetricRecord
from flwr.app import RecordDict as RecordDict
from flwr.common import Parameters as Parameters
from flwr.common.constant import SUPERLINK_NODE_ID as SUPERLINK_NODE_ID
from flwr.common.constant import ErrorCode as ErrorCode
from flwr.common.serde import message_to_proto as message_to_proto
from flwr.server import server as classic_server
from flwr.server.compat import app as classic_app
from flwr.server.compat.grid_client_proxy import GridClientProxy as GridClientProxy
from flwr.server.strategy import Strategy as ClassicStrategy
from flwr.server.workflow import default_workflows
from flwr.serverapp import Grid as Grid
from flwr.serverapp.strategy import Strategy as Strategy
from flwr.serverapp.strategy import strategy_utils


def _first(*names: str) -> Any:
    """The first of these "module:attribute" that there is; None if there is none of them."""
    for name in names:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            continue
    return None


Run = _first("flwr.supercore.run:Run", "flwr.common.typing:Run")
recorddict_compat = _first("flwr.compat.common:recorddict_compat", "flwr.common:recorddict_compat")

#: What newer releases tell of a node.
NodeInfo = _first("flwr.proto.node_pb2:NodeInfo")

#: Who a message is from; older releases do not ask.
TaskIdentity = _first("flwr.supercore.task_identity:TaskIdentity")

#: Waits for nodes, and draws some of them.
sample_nodes = strategy_utils.sample_nodes

#: Modules that import `now`, for the date of a message, by name.
DATES: list[ModuleType] = [importlib.import_module(Message.__module__)]

#: Where Flower's own code has the functions that a run replaces.
FIT = (classic_server, "fit_clients")
EVALUATE = (classic_server, "evaluate_clients")
REGISTER = tuple(
    (module, "start_update_client_manager_thread") for module in (classic_app, default_workflows)
)

#: Classes of either API whose methods, and their subclasses', are overheard.
STRATEGIES: tuple[type, ...] = (Strategy, ClassicStrategy)
SERVERS: tuple[type, ...] = (classic_server.Server,)
