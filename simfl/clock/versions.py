"""How many models are alive: those of versions that a task or an update still refers to."""

from __future__ import annotations


class VersionStore:
    """Versions in use, and by how many tasks. The models themselves hang on the tasks."""

    __snapshot__ = ("_users", "peak")  #: kept by checkpoints

    def __init__(self) -> None:
        self._users: dict[int, int] = {}
        self.peak = 0  #: most versions alive at once

    def hold(self, version: int, tasks: int = 1) -> None:
        """So many more tasks need the version."""
        users = self._users
        if version in users:
            users[version] += tasks
            return
        users[version] = tasks
        if len(users) > self.peak:
            self.peak = len(users)

    def release(self, version: int) -> None:
        """One task less needs the version, which goes with the last."""
        users = self._users
        left = users[version] - 1
        if left:
            users[version] = left
        else:
            del users[version]

    def __len__(self) -> int:
        return len(self._users)
