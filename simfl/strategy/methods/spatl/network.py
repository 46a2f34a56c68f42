"""The agent's network: a graph network of two stages, and heads for action and value.

    stage 1   x' = tanh(Â x W + b),  Â = D^-1/2 (A + I) D^-1/2; mean over a graph; 50 → 20, tanh
    stage 2   xᵢ' = tanh(Σⱼ (dᵢdⱼ)^-1/2 Lin(xⱼ ⊙ eⱼᵢ)), self-loops with e = 1; mean; 50 → 50, tanh
    actor     50 → 200, ReLU, 200 → L, tanh: the mean of a Gaussian with σ = 0.5
    critic    50 → 1, tanh, on a graph network of its own

Kipf, Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017;
Yu, Mazaheri, Jannesari, "Topology-aware network pruning using multi-stage graph embedding and
reinforcement learning", ICML 2022, arXiv 2102.03214. Two layers of forty lines in plain torch: a
graph library would be a heavy dependency for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from simfl.strategy.methods.spatl.graph import FEATURES, Graph, State, side_by_side, types

HIDDEN, ACTOR = 50, 200

Module = TypeVar("Module", bound=nn.Module)


class Encoder(nn.Module):
    """(S, 50) from S states of one network; 5 670 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, HIDDEN)
        self.of_layer = nn.Linear(HIDDEN, FEATURES)
        self.message = nn.Linear(FEATURES, HIDDEN)
        self.of_net = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, states: Sequence[State]) -> Tensor:
        count = states[0].layers.count
        layers = side_by_side([state.layers for state in states], 0)
        net = side_by_side([state.net for state in states], count)
        hidden = torch.tanh(propagated(layers, layers.x @ self.layer.weight.T) + self.layer.bias)
        seen = torch.tanh(self.of_layer(pooled(layers, hidden)))
        edges = torch.cat([seen, types()])[net.kind]
        source = net.ends[0]
        sent = self.message(net.x[source] * edges)
        hidden = torch.tanh(gathered(net, sent, self.message(net.x)))
        out: Tensor = torch.tanh(self.of_net(pooled(net, hidden)))
        return out


def propagated(graph: Graph, x: Tensor) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 x, D counting edges in, and the self-loop."""
    return gathered(graph, x[graph.ends[0]], x)


def gathered(graph: Graph, sent: Tensor, own: Tensor) -> Tensor:
    """(n, h) sums of what came along the edges, (m, h), and of each node's own, normalised."""
    source, target = graph.ends
    degree = 1.0 + torch.bincount(target, minlength=len(graph.x)).to(sent.dtype)
    scale = (degree[source] * degree[target]).rsqrt().unsqueeze(1)
    return (own / degree.unsqueeze(1)).index_add(0, target, sent * scale)


def pooled(graph: Graph, x: Tensor) -> Tensor:
    """(graphs, h) mean over each graph's nodes."""
    sums = x.new_zeros(graph.count, x.shape[1]).index_add(0, graph.member, x)
    return sums / torch.bincount(graph.member, minlength=graph.count).unsqueeze(1)


class Heads(nn.Module):
    """Action means (S, L) and values (S,) from the two encoders' views, (S, 50) each."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(HIDDEN, ACTOR), nn.ReLU(), nn.Linear(ACTOR, layers))
        self.critic = nn.Linear(HIDDEN, 1)

    def mean(self, view: Tensor) -> Tensor:
        """(S, L) means of the actions."""
        return torch.tanh(self.actor(view))

    def forward(self, views: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.mean(views[0]), torch.tanh(self.critic(views[1])).squeeze(1)


class Encoders(nn.Module):
    """The actor's view of some states, and the critic's; 11 340 parameters, which travel."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = Encoder(), Encoder()

    def forward(self, states: Sequence[State]) -> tuple[Tensor, Tensor]:
        return self.actor(states), self.critic(states)


def drawn(module: Module, seed: int) -> Module:
    """The module with linear layers drawn from U(-1/√inputs, 1/√inputs) by this seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
    return module


def flat(module: nn.Module) -> Tensor:
    """All parameters in one tensor, copied."""
    return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


def loaded(module: Module, values: Tensor) -> Module:
    """The module with these parameters, copied."""
    nn.utils.vector_to_parameters(values.clone(), module.parameters())
    return module
