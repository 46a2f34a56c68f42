"""ResFed: two sides that never part, whatever is lost, late, repeated or forgotten on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import OutOfStep, WireError
from simfl.params import Layout, Params
from simfl.wire.codec import Wire
from simfl.wire.resfed import ResFed, Rule, Trajectory, predicted

N = 24
LAYOUT = Layout((("w", (4, 5)), ("b", (4,)), ("stat", (2,))), N)
LOSSLESS = {"keep": 1.0, "bits": 0}
RULES: list[Rule] = [0, 1, 2, "g", "none"]
RNG = np.random.default_rng(0)  # never drawn from

rules = pytest.mark.parametrize("rule", RULES)


def model(seed: int) -> Params:
    values = np.random.default_rng(seed).standard_normal(LAYOUT.size).astype(np.float32)
    return Params(torch.from_numpy(values), LAYOUT)


def constant(value: float) -> Params:
    return Params(torch.full((LAYOUT.size,), float(value)), LAYOUT)


def same(a: Trajectory, b: Trajectory) -> bool:
    pairs = [(a.own, b.own), (a.heard, b.heard), (a.moves, b.moves)]
    arrays = [len(x) == len(y) and all(map(equal, x, y)) for x, y in pairs]
    return all(arrays) and (a.exchanges, a.digest) == (b.exchanges, b.digest)


def equal(x: np.ndarray, y: np.ndarray) -> bool:
    return x.tobytes() == y.tobytes()


@dataclass
class Link:
    """Server and device of one link, and what each of them remembers for each direction."""

    down: ResFed
    up: ResFed
    initial: Params = field(default_factory=lambda: model(0))
    received: Params | None = None
    sent: list[tuple[str, Wire]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = {"down": self.begin("down"), "up": self.begin("up")}
        self.device = dict(self.server)

    def begin(self, direction: Any) -> Any:
        return getattr(self, direction).begin(direction, self.initial)

    def download(self, target: Params, version: int = 0, *, arrives: bool = True) -> Params:
        """What the device makes of a model."""
        memory = self.down.recall(self.server["down"], version)
        wire = self.down.encode(target, memory, RNG)
        self.sent.append(("down", wire))
        got, kept = self.down.decode(wire.payload, LAYOUT, self.device["down"])
        if arrives:
            self.server["down"], self.device["down"], self.received = wire.delivered, kept, got
            for side in (self.server, self.device):
                side["up"] = self.up.overhear(side["up"], got)
        return got

    def upload(self, local: Params, version: int = 0, *, arrives: bool = True) -> Params:
        """What the server makes of a local model."""
        memory = self.up.recall(self.device["up"], version)
        wire = self.up.encode(local - self.received, memory, RNG)
        self.sent.append(("up", wire))
        delta, kept = self.up.decode(wire.payload, LAYOUT, self.server["up"])
        got = self.received + delta
        if arrives:
            self.device["up"], self.server["up"] = wire.delivered, kept
            for side in (self.server, self.device):
                side["down"] = self.down.overhear(side["down"], got)
        return got

    def fulls(self, direction: str) -> list[bool]:
        """Which messages of a direction held the whole model."""
        return [wire.paper_bits == 32 * N for way, wire in self.sent if way == direction]

    def residuals(self, direction: str) -> list[bytes]:
        """The messages of a direction that are not the whole model."""
        sent = [wire for way, wire in self.sent if way == direction]
        return [wire.payload for wire in sent if wire.paper_bits != 32 * N]

    def agrees(self) -> bool:
        return all(same(self.server[d], self.device[d]) for d in ("down", "up"))


def link(**options: Any) -> Link:
    return Link(ResFed(**options), ResFed(**options))


fates = st.lists(
    st.sampled_from(["delivered", "delivered", "down lost", "up lost", "cancelled", "repeated"]),
    min_size=1,
    max_size=15,
)


@rules
@given(fates, st.sampled_from([0, 1, 3]), st.sampled_from(["full", "shared"]))
def test_both_sides_stay_equal_bit_by_bit(
    rule: Rule, fates: list[str], bits: int, start: Any
) -> None:
    """Messages may be lost, given up, or arrive again: the last one and any older one."""
    pair = link(rule=rule, keep=0.5, bits=bits, start=start)
    for t, fate in enumerate(fates):
        pair.download(model(2 * t), arrives=fate != "down lost")
        if fate not in ("down lost", "cancelled"):
            pair.upload(model(2 * t + 1), arrives=fate != "up lost")
        if fate == "repeated":
            for payload in pair.residuals("up"):
                with pytest.raises(WireError, match="out of step"):
                    pair.up.decode(payload, LAYOUT, pair.server["up"])
        assert pair.agrees()


@rules
@pytest.mark.parametrize("start", ["full", "shared"])
def test_without_compression_models_arrive_as_they_are(rule: Rule, start: Any) -> None:
    pair = link(rule=rule, start=start, **LOSSLESS)
    for t in range(6):
        down, up = model(2 * t), model(2 * t + 1)
        assert torch.allclose(pair.download(down).flat, down.flat, atol=1e-5)
        assert torch.allclose(pair.upload(up).flat, up.flat, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "first_down", "first_up"),
    [(0, 1, 1), (1, 2, 1), (2, 3, 2), ("g", 1, 0), ("none", 0, 0)],
)
def test_models_are_sent_in_full_until_the_rule_has_its_history(
    rule: Rule, first_down: int, first_up: int
) -> None:
    pair = link(rule=rule)
    for t in range(5):
        pair.download(model(2 * t))
        pair.upload(model(2 * t + 1))
    assert pair.fulls("down") == [t < first_down for t in range(5)]
    assert pair.fulls("up") == [t < first_up for t in range(5)]


@rules
def test_a_shared_start_needs_no_full_model(rule: Rule) -> None:
    pair = link(rule=rule, start="shared")
    for t in range(3):
        pair.download(model(2 * t))
        pair.upload(model(2 * t + 1))
    assert not any(pair.fulls("down") + pair.fulls("up"))


def test_the_initial_model_is_free_when_it_is_shared() -> None:
    """The residual of version 0 is nothing, and decodes as the model itself."""
    pair = link(start="shared")
    got = pair.download(pair.initial)
    assert torch.equal(got.flat, pair.initial.flat)
    assert pair.sent[0][1].nbytes < 40


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(0, 30), (1, 30 + (7 - 3) / 2), (2, 7 + 2 * (30 - 3) - (10 - 1)), ("g", 7), ("none", 0)],
)
def test_rules_predict_what_the_table_says(rule: Rule, expected: float) -> None:
    """own = 10, 30; heard = 1, 3, 7, alternating as they do in uploads."""
    past = Trajectory(up=True, layout=LAYOUT)
    for own, heard in ((None, 1.0), (10.0, 3.0), (30.0, 7.0)):
        if own is not None:
            past = past.sent(np.full(N, own, np.float32), paired=True)
        past = past.overheard(np.full(N, heard, np.float32))
    guess = predicted(rule, past)
    assert guess is not None
    assert set(guess.tolist()) == {expected}


def test_the_linear_rule_pairs_a_model_with_what_was_heard_before_it() -> None:
    """A lost upload must not shift the pairs: moves of 5 and 7 go on as 9."""
    pair = Link(ResFed(rule=0), ResFed(rule=2, **LOSSLESS))  # type: ignore[arg-type]
    for down, up, arrives in ((0, 5, True), (100, 0, False), (200, 207, True)):
        pair.download(constant(down))
        pair.upload(constant(up), arrives=arrives)
    received = pair.download(constant(300))
    guess = predicted(2, pair.server["up"])
    assert guess is not None
    assert guess == pytest.approx(received.trained.numpy() + 9)


@rules
def test_what_the_sender_assumes_is_what_the_receiver_decodes(rule: Rule) -> None:
    pair = link(rule=rule, keep=0.3)
    for t in range(5):
        got = pair.download(model(2 * t))
        assert equal(pair.server["down"].own[-1], got.trained.numpy())
        got = pair.upload(model(2 * t + 1))
        assert pair.device["up"].own[-1] == pytest.approx(got.trained.numpy(), abs=1e-5)


def test_a_slow_target_is_reached_although_every_message_is_coarse() -> None:
    """What a residual leaves out is in the next one."""
    pair, target = link(rule=0, keep=0.2, start="shared"), model(9)
    far = [(pair.download(target) - target).norm() for _ in range(60)]
    assert far[-1] < 0.02 * far[0]


def test_upwards_rule_g_compresses_updates_without_memory() -> None:
    """The same update costs and means the same, whatever came before."""
    pair, step = Link(ResFed(rule=0, **LOSSLESS), ResFed(rule="g", keep=0.2)), model(50)  # type: ignore[arg-type]
    decoded = []
    for t in range(3):
        received = pair.download(constant(float(t)))
        decoded.append((pair.upload(received + step) - received).flat)
    assert torch.allclose(decoded[0], decoded[1], atol=1e-5)
    assert torch.allclose(decoded[0], decoded[2], atol=1e-5)


def test_after_a_long_gap_the_model_is_sent_in_full_and_history_is_kept() -> None:
    pair = Link(ResFed(rule=0, max_gap=2), ResFed(rule="g"))
    versions = [0, 1, 3, 6, 7, 20]
    for version in versions:
        pair.download(model(version), version)
        assert pair.agrees()
    assert pair.fulls("down") == [True, False, False, True, False, True]
    assert pair.server["down"].exchanges == len(versions)


@rules
def test_a_receiver_that_lost_its_memory_says_so_and_is_brought_back(rule: Rule) -> None:
    pair = link(rule=rule)
    for t in range(4):
        pair.download(model(2 * t))
        pair.upload(model(2 * t + 1))
    pair.device["down"] = pair.begin("down")
    with pytest.raises(OutOfStep):
        pair.download(model(8))
    pair.server["down"] = pair.down.restart(pair.server["down"])
    for t in range(4, 8):
        pair.download(model(2 * t))
        pair.upload(model(2 * t + 1))
        assert pair.agrees()
    warm_up = {1: 2, 2: 3}.get(rule, 1)
    assert pair.fulls("down")[5:] == [t < warm_up for t in range(4)]


def test_a_sender_that_lost_its_memory_resets_the_receiver() -> None:
    pair = link(rule=1)
    for t in range(3):
        pair.download(model(2 * t))
        pair.upload(model(2 * t + 1))
    pair.device["up"] = pair.begin("up")
    for t in range(3, 6):
        pair.download(model(2 * t))
        pair.upload(model(2 * t + 1))
        assert pair.agrees()


def test_one_flipped_bit_in_the_memory_is_noticed() -> None:
    pair = link(rule=0)
    pair.download(model(0))
    own = pair.device["down"].own[0].copy()
    own.view(np.uint32)[3] ^= 1
    pair.device["down"] = Trajectory(layout=LAYOUT).sent(own, paired=False)
    with pytest.raises(WireError, match="out of step"):
        pair.download(model(1))


def test_sides_with_different_rules_part_by_half_a_move_and_are_caught() -> None:
    """As in the published code, where the receiver swaps rules 0 and 1."""
    sender, receiver = ResFed(rule=1, **LOSSLESS), ResFed(rule=0, **LOSSLESS)  # type: ignore[arg-type]
    mine = theirs = sender.begin("down", model(0))
    for t in range(2):
        wire = sender.encode(model(t), mine, RNG)
        _, theirs = receiver.decode(wire.payload, LAYOUT, theirs)
        mine, theirs = (sender.overhear(m, model(10 + t)) for m in (wire.delivered, theirs))
    wire = sender.encode(model(3), mine, RNG)
    _, after = receiver.decode(wire.payload, LAYOUT, theirs)
    half = (mine.heard[-1] - mine.heard[-2]) / 2
    assert wire.delivered.own[-1] - after.own[-1] == pytest.approx(half, abs=1e-5)
    wire = sender.encode(model(4), wire.delivered, RNG)
    with pytest.raises(WireError, match="out of step"):
        receiver.decode(wire.payload, LAYOUT, after)


@pytest.mark.parametrize("bits", [0, 1, 4])
def test_a_corrupt_or_cut_message_is_refused(bits: int) -> None:
    pair = link(rule=0, keep=0.5, bits=bits)
    for t in range(3):
        pair.download(model(t))
    kept = pair.device["down"]
    payload = pair.down.encode(model(3), pair.server["down"], RNG).payload
    pair.down.decode(payload, LAYOUT, kept)
    for bit in range(8 * len(payload)):
        broken = bytearray(payload)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            pair.down.decode(bytes(broken), LAYOUT, kept)
    for cut in range(len(payload)):
        with pytest.raises(WireError):
            pair.down.decode(payload[:cut], LAYOUT, kept)


def test_a_model_that_diverged_is_sent_in_full() -> None:
    pair, broken = link(rule=0), model(1)
    broken.flat[5] = float("nan")
    pair.download(model(0))
    assert torch.equal(pair.download(broken).flat.isnan(), broken.flat.isnan())
    assert pair.fulls("down") == [True, True]
    assert pair.agrees()


def test_the_authors_bits_and_ours_stand_side_by_side() -> None:
    n = 20_000
    layout = Layout((("w", (n,)),), n)
    codec, memory = ResFed(rule=0, keep=0.05), None
    for seed in range(2):
        values = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
        wire = codec.encode(Params(torch.from_numpy(values), layout), memory, RNG)
        memory = wire.delivered
    assert wire.paper_bits is not None
    assert 32 * n / wire.paper_bits == pytest.approx(71, rel=0.03)
    assert 8 * wire.nbytes < wire.paper_bits


def test_the_memory_is_no_longer_than_the_rule_needs() -> None:
    for rule, moves in ((0, 0), (1, 0), (2, 2), ("g", 0)):
        pair = link(rule=rule)
        for t in range(5):
            pair.download(model(2 * t))
            pair.upload(model(2 * t + 1))
        past = pair.server["up"]
        assert (len(past.own), len(past.heard), len(past.moves)) == (1, 2, moves)
