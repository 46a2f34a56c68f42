"""The search for keep ratios: a small game, and a player that may learn it by PPO.

A game starts with all filters. An action a ~ N(μ, 0.25 I) changes the ratios to
p ← clip(p (1 - a), 0.1, 1), until `cut` of the FLOP are gone: then the accuracy of the masked
model, in percent minus 100, is the reward; before, it is 0, and -100 if the game takes too long.

Schulman, Wolski, Dhariwal, Radford and Klimov, "Proximal policy optimization algorithms", arXiv
1707.06347, with discounted and normalised returns: γ = 0.99, clipping at 0.2, ten passes over a
whole buffer, Adam at 3e-4, value loss times 0.5, entropy times 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from simfl.strategy.methods.spatl.filters import FLOOR, removed, scaled
from simfl.strategy.methods.spatl.graph import State, blueprint
from simfl.strategy.methods.spatl.network import Encoders, Heads, drawn, flat, loaded
from simfl.strategy.special_rules import PersonalContext
from simfl.structure import ModelStructure

SIGMA = 0.5
GAMMA, CLIP, PASSES, RATE = 0.99, 0.2, 10, 3e-4
UPDATE_STEPS = 10  #: actions between two updates


@dataclass(eq=False)
class Pruning:
    """The game on one network.

    score: accuracy in [0, 1] of the model masked by some ratios.
    """

    structure: ModelStructure
    cut: float
    max_steps: int
    exact: bool  #: ratios are scaled to remove `cut` and no more
    seed: int
    score: Callable[[np.ndarray], float]

    def __post_init__(self) -> None:
        self.rng = np.random.Generator(np.random.Philox(key=self.seed))

    def start(self) -> np.ndarray:
        """Everything is kept."""
        return np.ones(len(self.structure.convs))

    def act(self, ratios: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The ratios after an action."""
        return np.clip(ratios * (1.0 - action), FLOOR, 1.0)

    def over(self, ratios: np.ndarray) -> bool:
        """Whether enough is gone."""
        return removed(self.structure.convs, ratios) >= self.cut

    def plan(self, ratios: np.ndarray) -> np.ndarray:
        """The ratios as they would be used: enough is gone, and if `exact` no more."""
        if self.exact or not self.over(ratios):
            return scaled(self.structure.convs, ratios, self.cut)
        return ratios


@dataclass(eq=False)
class Memory:
    """What happened since the last update, one entry for each action."""

    states: list[State] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)  #: the action was its game's last


class Player:
    """Plays with μ from its network; without one, μ = 0."""

    def __init__(self, game: Pruning, encoders: Encoders | None, heads: Heads | None) -> None:
        self.game = game
        self.encoders, self.heads = encoders, heads
        self.best: tuple[float, np.ndarray] | None = None
        self.memory = Memory()

    def play(self) -> None:
        """One game, remembered; a plan that beats all others is kept."""
        game, ratios = self.game, self.game.start()
        for step in range(game.max_steps):
            noise = game.rng.standard_normal(len(ratios))
            action = self.mean(ratios) + SIGMA * noise
            ratios, over = game.act(ratios, action), False
            reward = 0.0
            if game.over(ratios):
                over, reward = True, 100.0 * self._try(ratios) - 100.0
            elif step == game.max_steps - 1:
                over, reward = True, -100.0
                self._try(ratios)
            self.memory.actions.append(action)
            self.memory.rewards.append(reward)
            self.memory.ends.append(over)
            if over:
                return

    @torch.no_grad()
    def mean(self, ratios: np.ndarray) -> Any:
        """μ, with the state that it was drawn from remembered."""
        if self.heads is None or self.encoders is None:
            return 0.0
        state = blueprint(self.game.structure).state(ratios)
        self.memory.states.append(state)
        return self.heads.mean(self.encoders.actor([state]))[0].numpy()

    def _try(self, ratios: np.ndarray) -> float:
        plan = self.game.plan(ratios)
        accuracy = self.game.score(plan)
        if self.best is None or accuracy > self.best[0]:
            self.best = accuracy, plan
        return accuracy


def plan(
    kind: Literal["ppo", "random", "uniform", "all"],
    game: Pruning,
    games: int,
    learning: bool,
    personal: PersonalContext,
) -> tuple[np.ndarray, Mapping[str, Any]]:
    """The best keep ratios found in so many games, and what the device should remember."""
    if kind == "uniform":
        return scaled(game.structure.convs, game.start(), game.cut), {}
    encoders, heads, kept = _agent(game, personal) if kind == "ppo" else (None, None, {})
    player = Player(game, encoders, heads)
    teacher = Teacher(heads) if heads is not None and learning else None
    for _ in range(games):
        player.play()
        if teacher is not None and len(player.memory.actions) >= UPDATE_STEPS:
            teacher.update(player)
    assert player.best is not None
    if heads is not None:
        kept = {**kept, "heads": flat(heads)}
    return player.best[1], kept


def _agent(game: Pruning, personal: PersonalContext) -> tuple[Encoders, Heads, dict[str, Any]]:
    """The agent of this device: its frozen encoders as they came down, its own heads."""
    gnn = personal.memory.get("gnn", personal.extras.get("gnn"))
    heads = Heads(len(game.structure.convs))
    kept = personal.memory.get("heads")
    heads = drawn(heads, 7) if kept is None else loaded(heads, kept)
    return loaded(Encoders(), gnn), heads, {"gnn": gnn}


class Teacher:
    """PPO on the heads; with encoders, on these too."""

    def __init__(self, heads: Heads, encoders: Encoders | None = None) -> None:
        modules = [heads] if encoders is None else [heads, encoders]
        self.whole = encoders is not None
        parameters = [p for module in modules for p in module.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=RATE)

    @torch.enable_grad()
    def update(self, player: Player) -> None:
        """Learns from what the player remembers, which it then forgets."""
        memory, player.memory = player.memory, Memory()
        assert player.heads is not None
        assert player.encoders is not None
        actions = torch.from_numpy(np.stack(memory.actions)).float()
        returns = normalised(returns_of(memory.rewards, memory.ends))
        with torch.no_grad():
            views = player.encoders(memory.states)
            old = log_density(player.heads(views)[0], actions)
        for _ in range(PASSES):
            seen = player.encoders(memory.states) if self.whole else views
            mean, value = player.heads(seen)
            loss = ppo_loss(log_density(mean, actions), old, returns, value)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()


def returns_of(rewards: list[float], ends: list[bool]) -> Tensor:
    """Discounted sums of the rewards to the end of each game."""
    sums, after = [], 0.0
    for reward, end in zip(reversed(rewards), reversed(ends), strict=True):
        after = reward + GAMMA * (0.0 if end else after)
        sums.append(after)
    return torch.tensor(sums[::-1])


def normalised(returns: Tensor) -> Tensor:
    """Mean zero, standard deviation one."""
    return (returns - returns.mean()) / (returns.std(correction=0) + 1e-5)


def log_density(mean: Tensor, actions: Tensor) -> Tensor:
    """(S,) log of N(actions; mean, σ² I)."""
    each = -0.5 * ((actions - mean) / SIGMA) ** 2 - math.log(SIGMA * math.sqrt(2.0 * math.pi))
    return each.sum(1)


def ppo_loss(new: Tensor, old: Tensor, returns: Tensor, value: Tensor) -> Tensor:
    """Clipped surrogate and value loss; the entropy of a Gaussian with fixed σ is a constant."""
    advantage = returns - value.detach()
    ratio = (new - old).exp()
    clipped = ratio.clamp(1.0 - CLIP, 1.0 + CLIP)
    gain = torch.minimum(ratio * advantage, clipped * advantage).mean()
    return -gain + 0.5 * nn.functional.mse_loss(value, returns)
