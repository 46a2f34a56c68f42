"""Synthetic(alpha, beta): T. Li et al., "Federated Optimization in Heterogeneous Networks",
MLSys 2020, section 5.1 and appendix C.1.

For each user k:  u_k ~ N(0, alpha),  W_k, b_k ~ N(u_k, 1),  B_k ~ N(0, beta),  v_k ~ N(B_k, 1),
x ~ N(v_k, diag(j^-1.2)),  y = argmax(W_k x + b_k).  alpha and beta are variances, as the paper
writes them. Mind that u_k is one number, added to every entry of W_k and b_k: it moves all
logits alike and so changes no label. Users differ because W_k and b_k are drawn for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from simfl.errors import DataError
from simfl.learn.data import DataDir, Dataset
from simfl.units import Count, NonNegative


@dataclass(frozen=True)
class Synthetic:
    """One linear classifier per user. beta sets how far apart the users' inputs lie.

    A user has 50 + LogNormal(4, 2) examples, or `examples` of them if that is given: one number, or
    one for each user. iid: one classifier and one input law for all. A tenth of each user's
    examples are test examples.
    """

    alpha: NonNegative = 1.0
    beta: NonNegative = 1.0
    users: Count = 30
    features: Count = 60
    classes: Count = 10
    examples: Count | tuple[Count, ...] | None = None
    iid: bool = False

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        sizes = self._sizes(rng)
        users = np.repeat(np.arange(self.users), sizes)
        rank = np.arange(len(users)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        tested = rank < np.maximum(1, sizes // 10)[users]
        x, y = self._draw(users, sizes, rng)
        x_train, y_train, x_test, y_test = (
            torch.from_numpy(part) for part in (x[~tested], y[~tested], x[tested], y[tested])
        )
        own = users[~tested]
        return Dataset("synthetic", x_train, y_train, x_test, y_test, self.classes, own)

    def _sizes(self, rng: np.random.Generator) -> np.ndarray:
        """(users,) examples of each user, at least two: one to train on and one to test."""
        if self.examples is not None:
            given = np.atleast_1d(np.array(self.examples, np.int64))
            if len(given) not in (1, self.users):
                raise DataError(
                    f"synthetic: examples has {len(given)} entries, expected one number, or one "
                    f"for each of {self.users} users"
                )
            return np.maximum(2, np.broadcast_to(given, self.users))
        return 50 + rng.lognormal(4.0, 2.0, self.users).astype(np.int64)

    def _draw(
        self, users: np.ndarray, sizes: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (n, features) float32 and labels (n,) int64."""
        laws = 1 if self.iid else self.users
        u = rng.normal(0.0, np.sqrt(self.alpha), (laws, 1, 1))
        weight = rng.normal(u, 1.0, (laws, self.classes, self.features))
        bias = rng.normal(u[:, 0], 1.0, (laws, self.classes))
        centre = rng.normal(0.0, np.sqrt(self.beta), (laws, 1))
        mean = rng.normal(centre, 1.0, (laws, self.features))
        if self.iid:
            users, mean = np.zeros_like(users), np.zeros_like(mean)
        noise = rng.standard_normal((len(users), self.features))
        x = (mean[users] + np.arange(1, self.features + 1) ** -0.6 * noise).astype(np.float32)
        ends = np.cumsum(sizes)[: laws - 1]
        parts = zip(np.split(x, ends), weight, bias, strict=True)
        y = np.concatenate([(part @ w.T + b).argmax(1) for part, w, b in parts])
        return x, y
