"""Late updates made fresh: the server finds data that explains them, and trains on it anew.

Wang and Gao, "Tackling intertwined data and device heterogeneities in federated learning with
unlimited staleness", AAAI 2025, arXiv 2309.13536. In the round of version t an update u of version
v = t - τ arrives, and unless it resembles the fresh ones of its version:

    D_rec = argmin_D ||mask ⊙ (LU(w_v; D) - w_v - u)||₁,    û = LU(w_t; D_rec) - w_t

û enters the mean in place of u, with the weight of u. When an update of version t itself arrives,
later, it shows how good û was, and how good u would have been:

    E1 = D(û, u_t),   E2 = D(u, u_t),   D(a, b) = 1 - cos(a, b)

Once E1 > E2 on average the rest of the run goes back to u: γû + (1 - γ)u, with γ falling from 1 to
0 within a share of the rounds so far. What the paper leaves open, and what is done here:

- Uniqueness, errors and blends are of updates, not of models. Distances are taken from sketches.
- A search that fails (loss not finite or above `max_loss`, ||û|| above `max_growth` ||u||) leaves u
  as it is and is counted; a device's recovered data is where its next search begins.
- The server pays for its searches in time: devices wait for the next model, or with `overlap` the
  rounds go on and û enters when its search is done, trained from the model of that moment.
- A device with one task at a time never sends an update of the version at which û was made: then
  the one of the next version is what û is compared with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import nan
from typing import TYPE_CHECKING, Any, ClassVar

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.base import Change, LocalRule, Server, Wait
from simfl.strategy.methods.gradientinversion.estimate import (
    estimate,
    is_sound,
    is_whole,
    rows_of,
    search,
    search_flops,
    with_trained,
)
from simfl.strategy.methods.gradientinversion.fallback import (
    Guesses,
    Switch,
    compare,
    gamma,
    look,
    remember,
)
from simfl.strategy.methods.gradientinversion.recover import Draft, Effort
from simfl.strategy.methods.gradientinversion.sketch import is_unique, sketched, usual
from simfl.strategy.methods.semisync import SemiSync, SemiSyncState
from simfl.units import Count, Fraction, Positive, Share

if TYPE_CHECKING:
    from torch import Tensor


#: What becomes of late updates: counted, and shown by evaluations.
FATES = ("inverted", "rejected", "usual", "reused")


@dataclass(slots=True)
class Seen:
    """Errors of the last search and of the last comparison; shown by evaluations."""

    inversion_loss: float = nan
    e1: float = nan
    e2: float = nan


@dataclass(slots=True, kw_only=True)
class InversionState(SemiSyncState):
    """What was recovered, what it is compared with, and the queue of searches."""

    drafts: dict[int, Draft | None] = field(default_factory=dict)  #: by device; None: no data
    means: dict[int, Tensor] = field(default_factory=dict)  #: of fresh ones, by version
    guesses: Guesses = field(default_factory=dict)  #: estimates not compared yet, by device
    found: dict[int, tuple[Draft | None, float]] = field(default_factory=dict)  #: and when, by task
    busy_s: float = 0.0  #: when the server's last search ends
    fates: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FATES, 0))
    seen: Seen = field(default_factory=Seen)
    switch: Switch = field(default_factory=Switch)

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept for inversions."""
        drafts = sum(draft.nbytes for draft in self.drafts.values() if draft is not None)
        guesses = (guess for mine in self.guesses.values() for guess in mine)
        pairs = sum(made.nbytes + stale.nbytes for _, made, stale in guesses)
        return drafts + pairs + sum(mean.nbytes for mean in self.means.values())


@dataclass(frozen=True, kw_only=True)
class GradientInversion(SemiSync):
    """Semi-synchronous rounds in which late updates are made anew by gradient inversion.

    share: examples recovered for each of a device's own.
    iterations, warm_iterations: of a device's first search and of later ones, with the rates lr and
        warm_lr.
    keep: share of the update that is matched.
    unique: only updates that differ from the fresh ones of their version are inverted.
    switch, patience, window: go back to late updates after so many rounds in a row with E1 > E2,
        within this share of the rounds so far.
    bins: numbers that are kept of an update for this.
    """

    needs_sgd: ClassVar[bool] = True
    needs_cross_entropy: ClassVar[bool] = True

    share: Positive = 0.5
    iterations: Count = 300
    warm_iterations: Count = 40
    lr: Positive = 0.1
    warm_lr: Positive = 0.03
    keep: Share = 1.0
    unique: bool = True
    switch: bool = True
    patience: Count = 2
    window: Fraction = 0.1
    bins: Count = 4096
    max_loss: Positive = 0.5
    max_growth: Positive = 3.0
    overlap: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.local) is not LocalRule:
            raise ScenarioError(
                f"local = {type(self.local).__name__} is not what gradient inversion undoes: it "
                'knows plain SGD only; expected "plain"'
            )

    def init(self, params: Any) -> InversionState:
        return InversionState(**self.parts(params))

    def step(self, state: InversionState, server: Server, updates: list[Update]) -> Wait:
        info = server.learning
        if info is not None and info.model is not None and info.bounds is None:
            raise ScenarioError(
                "gradient inversion recovers inputs that are numbers, but this data set has "
                'tokens; use the strategy "semisync"'
            )
        wait = super().step(state, server, updates)
        oldest = self.oldest(state, server)
        state.means = {v: mean for v, mean in state.means.items() if v >= oldest}
        return wait

    def metrics(self, state: InversionState, server: Server, score: Any) -> dict[str, float]:
        """What becomes of late updates, their errors, and what the server keeps for this."""
        metrics: dict[str, float] = score(server.params)
        if not metrics:
            return {}
        switched = float(state.switch.at is not None)
        kept = {"switched": switched, "kept_bytes": float(state.nbytes)}
        return {**metrics, **state.fates, **asdict(state.seen), **kept}

    # Which updates enter, and what is learnt from them.

    def due(self, state: InversionState, server: Server) -> list[Update]:
        due = super().due(state, server)
        if not self.overlap:
            return due
        for update in due:
            if update.staleness and update.task not in state.found:
                self._enlist(state, server, update)
        return [u for u in due if not u.staleness or state.found[u.task][1] <= server.now_s]

    def _enlist(self, state: InversionState, server: Server, update: Update) -> None:
        """The search begins when those before it are done, beside the rounds."""
        draft, flops = self._find(state, server, update)
        done_s = server.now_s
        if flops:
            done_s = max(state.busy_s, done_s) + flops / server.flops_per_s
            state.busy_s = done_s
        state.found[update.task] = (draft, done_s)

    def fold(self, state: InversionState, server: Server, updates: list[Update]) -> Change:
        self._observe(state, server, [update for update in updates if is_whole(update)])
        return super().fold(state, server, updates)

    def _observe(self, state: InversionState, server: Server, updates: list[Update]) -> None:
        """What fresh updates look like, and how good the guesses of these ones were."""
        fresh = [u for u in updates if not u.staleness]
        mean = usual(sketched(u.delta.trained, self.bins) for u in fresh)
        if mean is not None:
            state.means[server.version] = mean
        errors = compare(state.guesses, updates, self.bins)
        if errors:
            e1, e2 = (sum(column) / len(errors) for column in zip(*errors, strict=True))
            state.seen.e1, state.seen.e2 = e1, e2
        if self.switch:
            look(state.switch, errors, server.version, self.patience)

    # Late updates.

    def freshen(self, state: InversionState, server: Server, stale: list[Update]) -> list[Update]:
        return [self._fresh(state, server, update) for update in stale]

    def _fresh(self, state: InversionState, server: Server, update: Update) -> Update:
        """The update from the present model, where data that explains it is found."""
        if self.overlap:
            draft, _ = state.found.pop(update.task)
        else:
            draft, flops = self._find(state, server, update)
            server.charge(flops=flops)
        part = self._gamma(state, server)
        if draft is None or not part:
            return update
        made = self._made(server, update, draft)
        state.fates["rejected" if made is None else "inverted"] += 1
        if made is None:
            return update
        remember(state.guesses, update, server.version, made, self.bins)
        return with_trained(update, part * made + (1.0 - part) * update.delta.trained)

    def _find(
        self, state: InversionState, server: Server, update: Update
    ) -> tuple[Draft | None, float]:
        """Data that explains the update, and the FLOP that it took; None if none is wanted."""
        info, reason = server.learning, self._why_not(state, server, update)
        if info is None or reason:
            state.fates[reason] += 1
            return None, 0.0
        rows, begin = rows_of(info, update, self.share), state.drafts.get(update.device)
        effort = self._effort(cold=update.device not in state.drafts)
        flops = search_flops(info, rows, update.epochs, effort)
        if not is_whole(update):  # nothing is learnt: only the time passes
            state.drafts[update.device] = None
            return None, flops
        rng = server.generator(f"gi {update.device}")
        draft = search(info, update, rows, effort, begin, rng)
        state.seen.inversion_loss = draft.loss
        state.drafts.pop(update.device, None)
        if draft.loss <= self.max_loss:
            state.drafts[update.device] = draft
        return draft, flops

    def _why_not(self, state: InversionState, server: Server, update: Update) -> str:
        """Why the update enters as it is; empty if it is to be made anew."""
        if server.learning is None or not self._gamma(state, server):
            return "reused"
        if server.learning.model is None:
            return ""
        if not is_whole(update):
            return "reused"
        if not self.unique:
            return ""
        sketch = sketched(update.delta.trained, self.bins)
        return "" if is_unique(sketch, state.means.get(update.version)) else "usual"

    def _effort(self, cold: bool) -> Effort:
        if cold:
            return Effort(self.iterations, self.lr, self.keep)
        return Effort(self.warm_iterations, self.warm_lr, self.keep)

    def _made(self, server: Server, update: Update, draft: Draft) -> Tensor | None:
        """The update of the present model; None if it is not to be trusted."""
        info = server.learning
        if info is None or not draft.loss <= self.max_loss:
            return None
        made = estimate(info, update, draft, server.params, server.version)
        server.charge(flops=len(draft) * update.epochs * info.flops)
        return made if is_sound(made, update, self.max_growth) else None

    def _gamma(self, state: InversionState, server: Server) -> float:
        return gamma(state.switch.at, server.version, self.window)
