"""Synthetic data in which one kind of heterogeneity can be had at a time: D. A. E. Acar et al.,
"Federated Learning Based on Dynamic Regularization", ICLR 2021, arXiv 2111.04263.

User k has n_k = LogNormal(log mean_examples, sizes) examples: x ~ N(v_k, diag(j^-1.2)) and
y = argmax(W_k x + b_k), without noise. Type 1, `labellers`: W_k and b_k are drawn for each user,
not once. Type 2, `inputs`: v_k ~ N(B_k, 1) with B_k ~ N(0, spread), not 0. Type 3, `sizes`: the
n_k differ. The authors' code also adds one number per user to all of W_k and b_k; it moves all
scores alike and changes no label, so it is left out. Training examples are the test examples,
so that the loss that is evaluated is the loss that is minimised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from simfl.learn.data import DataDir, Dataset
from simfl.units import Count, NonNegative


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
