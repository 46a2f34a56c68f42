"""Synthetic(alpha, beta): T. Li et al., "Federated Optimization in Heterogeneous Networks",
MLSys 2020, section 5.1 and appendix C.1.

For each user k:  u_k ~ N(0, alpha),  W_k, b_k ~ N(u_k, 1),  B_k ~ N(0, beta),  v_k ~ N(B_k, 1),
x ~ N(v_k, diag(j^-1.2)),  y = argmax(W_k x + b_k).  alpha and beta are variances, as the paper
writes them. Mind that u_k is one number, added to every entry of W_k and b_k: it moves all
logits alike and so changes no label. Users differ because W_k and b_k are drawn for each.

Synthetic types, in which one kind of heterogeneity can be had at a time: D. A. E. Acar et al.,
"Federated Learning Based on Dynamic Regularization", ICLR 2021, arXiv 2111.04263. User k has
n_k = LogNormal(log mean_examples, sizes) examples: x ~ N(v_k, diag(j^-1.2)) and
y = argmax(W_k x + b_k), without noise. Type 1, `labellers`: W_k and b_k are drawn for each user,
not once. Type 2, `inputs`: v_k ~ N(B_k, 1) with B_k ~ N(0, spread), not 0. Type 3, `sizes`: the
n_k differ. The authors' code also adds one number per user to all of W_k and b_k; it moves all
scores alike and changes no label, so it is left out. Training examples are the test examples,
so that the loss that is evaluated is the loss that is minimised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simfl.errors import DataError
from simfl.lazy import torch
from simfl.learn.datasets.base import DataDir, Dataset
from simfl.units import Count, NonNegative


@dataclass(frozen=True)
class Synthetic:
    """One linear classifier per user. beta sets how far apart the users' inputs lie.

    A user has 50 + LogNormal(4, 2) examples, or `examples` of them if that is given: one number, or
    one for each user.
    iid: one classifier and one input law for all. A tenth of each user's examples are test
        examples.
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


@dataclass(frozen=True)
class SyntheticTypes:
    """Linearly labelled data, alike for all users or unlike in labels, inputs or sizes.

    spread, sizes: standard deviations, the latter of log n_k.
    """

    users: Count = 20
    features: Count = 30
    classes: Count = 5
    mean_examples: Count = 200
    labellers: bool = False
    inputs: bool = False
    spread: NonNegative = 1.0
    sizes: NonNegative = 0.0

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        n = self._sizes(rng)
        centre = rng.normal(0.0, self.spread, (self.users, 1))
        mean = rng.normal(centre, 1.0, (self.users, self.features))
        weight = rng.standard_normal((self.users, self.classes, self.features))
        bias = rng.standard_normal((self.users, self.classes))
        user = np.repeat(np.arange(self.users), n)
        law = user if self.labellers else np.zeros_like(user)
        noise = rng.standard_normal((len(user), self.features))
        x = (self.inputs * mean[user] + np.arange(1, self.features + 1) ** -0.6 * noise).astype(
            "f4"
        )
        y = (np.einsum("ncf,nf->nc", weight[law], x) + bias[law]).argmax(1)
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
        return Dataset("synthetic-types", inputs, labels, inputs, labels, self.classes, user)

    def _sizes(self, rng: np.random.Generator) -> np.ndarray:
        """(users,) examples of each user; the mean of their logarithms is that of mean_examples."""
        log_n = np.log(self.mean_examples + 0.001) + self.sizes * rng.standard_normal(self.users)
        return np.maximum(1, np.exp(log_n).astype(np.int64))
