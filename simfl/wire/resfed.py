"""ResFed: both sides predict the next model from past ones, and only the rest is sent.

Song, Zhou, Lyu, Festag, Knoll: arXiv:2212.05602 (2022); IEEE IoT Journal 11(6), 2024. With `own`
the models of the direction being sent and `heard` those of the other one, newest last, both as
the receiver reconstructed them, the prediction p is

    rule 0    own[-1]
    rule 1    own[-1] + (heard[-1] - heard[-2]) / 2
    rule 2    heard[-1] + 2 (own[-1] - heard[-2]) - (own[-2] - heard[-3])
    rule "g"  heard[-1]: upwards this is plain compression of updates, without a memory
    "none"    0: plain compression of models, the authors' baseline

and the message is r = model - p, sparsified and quantised. Sender and receiver both remember
p + r' with r' as decoded, so their memories stay equal bit by bit, however coarse r' is.

What differs from the paper, its published code, or what is known of them:
- one predictor serves both ends; in the published code the receiver swaps rules 0 and 1;
- a model is sent in full until the rule has the history that it needs;
- histories advance by delivered messages, not by rounds, so that devices may be absent, late or
  lost; rule 2 pairs each model with the one heard before it;
- counter and digest of the history travel along, and a receiver that is out of step says so;
- residuals are really entropy-coded; `Wire.paper_bits` is the authors' count of the same message;
- float buffers travel as they are.

As in the paper, the server folds the models that it reconstructs, not what was added to the ones
it sent: what a download left out is not made up for twice.

Rule 2 feeds its own error back three times over, and is stable under mild compression only.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Interval

from simfl.errors import OutOfStep, WireError
from simfl.units import Count, Share
from simfl.wire import residual
from simfl.wire.codec import Direction, StatefulCodec, Wire, as_params, dense, undense

if TYPE_CHECKING:
    from simfl.params import Layout, Params

Rule = Literal[0, 1, 2, "g", "none"]

_HEAD = struct.Struct("<BxxxI8s")  # kind, exchange, digest of the history
_CHECK = struct.Struct("<I")
_COARSE, _FINE, _FULL, _RESET = range(4)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What one side remembers for one direction of a device's link. Arrays are (T,) float32."""

    up: bool = False
    layout: Layout | None = None
    exchanges: int = 0  #: messages delivered since the start
    digest: bytes = bytes(8)  #: of everything seen since the start
    own: tuple[np.ndarray, ...] = ()  #: the last model sent
    heard: tuple[np.ndarray, ...] = ()  #: the last two models of the other direction
    moves: tuple[np.ndarray, ...] = ()  #: the last two of own - heard, for rule 2
    version: int = 0  #: server version, on the sender's side only
    sent_version: int = 0  #: the same when `own` was sent
    blank: bool = False  #: the receiver's history is unknown: whatever comes next resets it

    @property
    def base(self) -> np.ndarray | float:
        """What a message is a difference to: upwards the model that the device received."""
        return self.heard[-1] if self.up and self.heard else 0.0

    def sent(self, model: np.ndarray, *, paired: bool) -> Trajectory:
        """After a message that meant this model was delivered. paired: remember moves, too."""
        move = (model - self.heard[-1],) if paired and self.heard else ()
        return replace(
            self,
            exchanges=self.exchanges + 1,
            digest=_digest(self.digest, model),
            own=(model,),
            moves=(*self.moves, *move)[-2:],
            sent_version=self.version,
            blank=False,
        )

    def overheard(self, model: np.ndarray) -> Trajectory:
        """After a message of the other direction that meant this model was delivered."""
        heard = (*self.heard, model)[-2:]
        return replace(self, heard=heard, digest=_digest(self.digest, model))

    def restarted(self) -> Trajectory:
        """Without history, so that the next message is a full one that resets the receiver."""
        bare = replace(self, exchanges=0, digest=bytes(8), own=(), heard=(), moves=(), blank=True)
        return bare.overheard(self.heard[-1]) if self.up and self.heard else bare


def predicted(rule: Rule, past: Trajectory) -> np.ndarray | None:
    """(T,) what the next model will be, or None as long as the rule lacks history."""
    own, heard, moves = past.own, past.heard, past.moves
    if rule == 0 and own:
        return own[-1]
    if rule == 1 and own and len(heard) == 2:
        return own[-1] + np.float32(0.5) * (heard[-1] - heard[-2])
    if rule == 2 and len(moves) == 2:
        return heard[-1] + (np.float32(2) * moves[-1] - moves[-2])
    if rule == "g" and heard:
        return heard[-1]
    if rule == "none" and past.layout:
        return np.zeros(past.layout.trainable, dtype=np.float32)
    return None


@dataclass(frozen=True)
class ResFed(StatefulCodec):
    """Residuals of predicted models, for either direction of a link.

    rule: how the next model is predicted; 1 is the authors' default.
    keep: share of the elements that survive before half of them are dropped (1 - s in the paper).
    bits: q, for at most 2**bits levels; 0 sends what survives as it is.
    max_gap: server versions since the last message after which the model is sent in full; never, if
        not given.
    start: the first models are sent in "full", or the initial model is "shared" by a common seed
        and costs nothing.
    """

    rule: Rule = 1
    keep: Share = 0.1
    bits: Annotated[int, Interval(ge=0, le=8)] = 1
    max_gap: Count | None = None
    start: Literal["full", "shared"] = "full"

    @property
    def absolute(self) -> bool:
        return True

    def begin(self, direction: Direction, initial: Params) -> Trajectory:
        past = Trajectory(up=direction == "up", layout=initial.layout)
        if self.start == "full":
            return past
        known = initial.trained.numpy()
        still = np.zeros_like(known)
        past = replace(past, own=(known,), moves=(still, still))
        return past.overheard(known).overheard(known)

    def recall(self, memory: Any, version: int) -> Trajectory:
        return replace(memory or Trajectory(), version=version)

    def restart(self, memory: Any) -> Trajectory:
        return (memory or Trajectory()).restarted()

    def overhear(self, memory: Any, params: Params) -> Trajectory:
        return _past(memory, params.layout).overheard(params.trained.numpy())

    def nbytes(self, layout: Layout) -> int | None:
        return None

    @np.errstate(invalid="ignore", over="ignore")
    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        past, x = _past(memory, params.layout), params.trained.numpy()
        tells_all = past.blank or self._too_long_ago(past)
        guess = None if tells_all else predicted(self.rule, past)
        rest = None if guess is None else x + past.base - guess
        if guess is None or rest is None or not np.isfinite(rest).all():
            past = past if past.own else past.restarted()
            kind, body, model = (_FULL if past.own else _RESET), dense(x), x + past.base
        else:
            kind, body, arrives = self._compressed(rest)
            model = guess + arrives
        payload = _sealed(kind, past, body + dense(params.flat.numpy()[len(x) :]))
        delivered = past.sent(model, paired=self.rule == 2)
        return Wire(payload, delivered, lost=memory, paper_bits=_paper_bits(kind, body))

    @np.errstate(invalid="ignore", over="ignore")
    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        kind, past, body = _opened(payload, _past(memory, layout))
        split = len(body) - 4 * (layout.size - layout.trainable)
        buffers = undense(body[max(0, split) :], layout.size - layout.trainable)
        if kind in (_FULL, _RESET):
            x = undense(body[:split], layout.trainable)
            model = x + past.base
        else:
            guess = predicted(self.rule, past)
            if guess is None:
                raise OutOfStep("a residual that the receiver has no prediction for")
            model = guess + _uncompressed(kind, body[:split], layout.trainable)
            x = model - past.base
        received = as_params(np.concatenate([x, buffers]), layout)
        return received, past.sent(model, paired=self.rule == 2)

    def _too_long_ago(self, past: Trajectory) -> bool:
        gap = past.version - past.sent_version
        return self.max_gap is not None and bool(past.own) and gap > self.max_gap

    def _compressed(self, rest: np.ndarray) -> tuple[int, bytes, np.ndarray]:
        """Kind, bytes, and what the receiver will make of them."""
        kept = residual.sparsified(rest, self.keep)
        if not self.bits:
            return _FINE, residual.pack_fine(kept), kept + np.float32(0)  # -0.0 arrives as 0.0
        symbols, levels = residual.quantised(kept, self.bits)
        return _COARSE, residual.pack_coarse(symbols, levels), residual.looked_up(symbols, levels)


def _paper_bits(kind: int, body: bytes) -> int:
    """As the authors count the trainable part; 32 for each element if it is sent in full."""
    if kind in (_FULL, _RESET):
        return 8 * len(body)
    return residual.paper_bits(body, coarse=kind == _COARSE)


def _uncompressed(kind: int, body: bytes, n: int) -> np.ndarray:
    return residual.unpack_coarse(body, n) if kind == _COARSE else residual.unpack_fine(body, n)


def _past(memory: Any, layout: Layout) -> Trajectory:
    """The memory, or a new one if there is none or it is of another layout."""
    past = memory or Trajectory()
    if past.layout == layout:
        return past
    return Trajectory(up=past.up, layout=layout, version=past.version)


def _digest(before: bytes, model: np.ndarray) -> bytes:
    seen = hashlib.blake2b(before, digest_size=8)
    seen.update(np.ascontiguousarray(model).data)
    return seen.digest()


def _sealed(kind: int, past: Trajectory, body: bytes) -> bytes:
    head = _HEAD.pack(kind, past.exchanges, past.digest)
    return head + _CHECK.pack(zlib.crc32(body, zlib.crc32(head))) + body


def _opened(payload: bytes, past: Trajectory) -> tuple[int, Trajectory, bytes]:
    """Kind, the receiver's history as the message asks for it, the rest of the bytes."""
    if len(payload) < _HEAD.size + _CHECK.size:
        raise WireError(f"a ResFed message of {len(payload)} bytes")
    head, body = payload[: _HEAD.size], payload[_HEAD.size + _CHECK.size :]
    if _CHECK.unpack_from(payload, _HEAD.size)[0] != zlib.crc32(body, zlib.crc32(head)):
        raise WireError(f"a ResFed message of {len(payload)} bytes fails its checksum")
    kind, exchanges, digest = _HEAD.unpack(head)
    past = past.restarted() if kind == _RESET else past
    if (exchanges, digest) != (past.exchanges, past.digest):
        raise OutOfStep(
            f"a ResFed message is out of step: it follows exchange {exchanges} with history "
            f"{digest.hex()}, the receiver has {past.exchanges} with {past.digest.hex()}"
        )
    return kind, past, body
