"""How a device learns under SPATL: drift control of the encoder, and an upload of its best part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simfl.errors import ScenarioError
from simfl.lazy import torch
from simfl.params import Groups, Part
from simfl.strategy.base import Context, Report, Work
from simfl.strategy.local_rules import path_length
from simfl.strategy.methods.spatl import filters
from simfl.strategy.methods.spatl.private import Places, PrivateHead, personal_of
from simfl.strategy.special_rules import MomentumRule, PersonalContext, Split
from simfl.strategy.tensors import trained
from simfl.structure import ModelStructure
from simfl.units import Count, Fraction, Index, Positive

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Salient(PrivateHead, MomentumRule):
    """Correct the drift of the encoder; send its salient filters (SPATL).

    control: "in_grad" adds c - cᵢ to each gradient of the encoder, before the momentum; "post_step"
        adds κ times it after, as published; "none" keeps no variates. clip_shift bounds the norm of
        c - cᵢ.
    cv_uplink: "explicit" sends what cᵢ gained, "derived" lets the server work it out from the model
        that it receives, for 14 bytes; then the uplink must be dense float32.

    agent: who finds the keep ratios. "ppo" learns it, "random" tries as many plans blindly,
        "uniform" has one ratio for all layers, "all" sends everything.
    flops_cut: share of the convolutions' FLOP to remove at least.
    equal_flops: exactly, by a common factor on all ratios. A task tries `episodes` plans in the
        first `finetune_rounds` of a device and `plans` afterwards.
    upload: "rows" sends filters, "rows+cols" without what reads unsent ones, "dense" everything.
    full_every: so many of a device's tasks make one that sends everything; 0: none.
    """

    needs_sgd: ClassVar[bool] = True

    control: Literal["in_grad", "post_step", "none"] = "in_grad"
    kappa: Positive = 1.0
    clip_shift: Positive | None = None
    cv_uplink: Literal["explicit", "derived"] = "explicit"
    agent: Literal["ppo", "random", "uniform", "all"] = "ppo"
    flops_cut: Fraction = 0.2
    equal_flops: bool = False
    episodes: Count = 30
    max_steps: Count = 10
    finetune_rounds: Index = 10
    plans: Count = 5
    upload: Literal["rows", "rows+cols", "dense"] = "rows"
    full_every: Index = 0
    reward_examples: Index = 0

    def __post_init__(self) -> None:
        if self.clip_shift is not None and self.cv_uplink == "derived":
            raise ScenarioError(
                f'clip_shift = {self.clip_shift} with cv_uplink = "derived": the server cannot '
                'know what was clipped; use cv_uplink = "explicit"'
            )

    @property
    def whole_uploads(self) -> bool:
        """Whether every upload holds all that travels."""
        return self.agent == "all" or self.upload == "dense"

    def split(self, structure: ModelStructure) -> Split:
        names = self.names(structure)
        if self.agent != "all" and not structure.convs:
            raise ScenarioError(
                f"agent = {self.agent!r} chooses filters, and this model has no convolutions; "
                'use agent = "all", or a model like convnet'
            )
        if self.whole_uploads:
            return Split(names)
        part = structure.layout.select(names)
        return Split(names, filters.groups_of(structure, part, self.upload == "rows+cols"))

    def check_held_back(self, held: np.ndarray, sizes: np.ndarray) -> None:
        if self.agent in ("all", "uniform") or held.min() >= self.reward_examples:
            return
        worst = int(held.argmin())
        has = int(held[worst] + sizes[worst])
        raise ScenarioError(
            f"reward_examples = {self.reward_examples}, but device {worst} holds back "
            f"{held[worst]} of its {has} examples: a larger learning.hold_back, fewer devices or "
            "more data would do, as would a smaller reward_examples"
        )

    def trials(self, memory: Mapping[str, Any]) -> int:
        rounds = memory.get("rounds", 0)
        if self.agent in ("all", "uniform") or self._full(rounds):
            return 0
        return self.episodes if rounds < self.finetune_rounds else self.plans

    def _full(self, rounds: int) -> bool:
        """Whether the task after so many sends everything."""
        return self.full_every > 0 and (rounds + 1) % self.full_every == 0

    def metrics(self, memory: Mapping[str, Any], structure: ModelStructure) -> Mapping[str, float]:
        """Of the last selection: share of filters that was kept, and of FLOP that was cut."""
        if "chosen" not in memory:
            return {}
        cut = filters.removed(structure.convs, filters.shares(structure, memory["chosen"]))
        return {"kept": float(memory["chosen"].double().mean()), "flops_cut": cut}

    # Gradient control.

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        personal = personal_of(work)
        where = self.places(personal)
        shift = torch.zeros(personal.structure.layout.trainable, device=base.device)
        if self.control != "none":
            gap = extras["c"].to(base.device) - _variate(extras["c"], memory)
            if self.clip_shift is not None:
                gap *= (self.clip_shift / (gap.norm() + 1e-12)).clamp(max=1.0)
            shift[where.shared[: where.trained]] = gap
        return self.whole(base, personal), {"shift": shift}

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return grad + context["shift"] if self.control == "in_grad" else grad

    def momentum_correction(self, y: Tensor, context: Context) -> Tensor:
        return self.kappa * context["shift"] if self.control == "post_step" else y.new_zeros(())

    def path(self, work: Work) -> float:
        """aη: the length of the local path if every gradient were one."""
        rho = work.momentum if self.control == "in_grad" else 0.0
        return path_length(work.steps, work.lr, rho) * work.lr

    # The upload.

    def sends(self, params: Any) -> Mapping[str, Any] | None:
        if not self.whole_uploads:
            return None
        if self.control == "none":
            return {}
        return {"c": trained(params)} if self.cv_uplink == "explicit" else {"path": 0.0}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        personal = personal_of(work)
        where, groups = self.places(personal), self.split(personal.structure).groups
        delta = (end[where.shared] - base).cpu()
        chosen, learnt = self._choose(end, personal)
        memory = {**personal.memory, **learnt, "head": end[where.private]}
        memory["rounds"] = personal.memory.get("rounds", 0) + 1
        if self.agent != "all":
            memory["chosen"] = chosen  # what the device may run: see `filters.masked`
        sent, held = (delta, slice(None)) if groups is None else _part(delta, groups, chosen, where)
        if self.control == "none":
            return Report(sent, {}, memory)
        path, c_i = self.path(work), _variate(personal.extras["c"], personal.memory)
        shift = context["shift"][where.shared[: where.trained]].cpu()
        gained = -shift - delta[: where.trained] / path - c_i
        memory["c_i"] = c_i.clone()
        memory["c_i"][held] += gained[held]
        extras = {"c": gained[held]} if self.cv_uplink == "explicit" else {"path": path}
        return Report(sent, extras, memory)

    def _choose(self, end: Tensor, personal: PersonalContext) -> tuple[Tensor, Mapping[str, Any]]:
        """The channel groups to keep, and what the agent has learnt."""
        from simfl.strategy.methods.spatl import search

        structure, rounds = personal.structure, personal.memory.get("rounds", 0)
        if self.agent == "all" or self._full(rounds):
            return torch.ones(sum(conv.outputs for conv in structure.convs), dtype=torch.bool), {}

        def score(ratios: Any) -> float:
            kept = filters.choose(end, structure, ratios)
            return personal.accuracy(filters.masked(end, structure, kept))

        budget = self.trials(personal.memory)
        task = search.Pruning(
            structure, self.flops_cut, self.max_steps, self.equal_flops, personal.seed, score
        )
        ratios, learnt = search.plan(
            self.agent, task, budget, rounds < self.finetune_rounds, personal
        )
        return filters.choose(end, structure, ratios), learnt


def _part(delta: Tensor, groups: Groups, chosen: Tensor, where: Places) -> tuple[Part, Tensor]:
    """What is chosen of an update, and (T,) bool which trained elements that are."""
    part = Part.of(delta, groups, chosen)
    return part, part.held[: where.trained]


def _variate(c: Tensor, memory: Mapping[str, Any]) -> Tensor:
    """The device's variate; zero like c before its first update."""
    return memory["c_i"].to(c.device) if "c_i" in memory else c * 0.0
