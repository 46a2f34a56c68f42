"""The agent of SPATL: its graph, its network, its game and what it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simfl.params import Layout
from simfl.strategy.methods.spatl import search
from simfl.strategy.methods.spatl.filters import removed
from simfl.strategy.methods.spatl.graph import (
    IDENTITY,
    LINEAR,
    NORM,
    RELU,
    RESIZED,
    Blueprint,
    types,
)
from simfl.strategy.methods.spatl.network import (
    Encoder,
    Encoders,
    Heads,
    drawn,
    flat,
    loaded,
    propagated,
)
from simfl.strategy.methods.spatl.proxy import pretrained
from simfl.strategy.methods.spatl.search import (
    Player,
    Pruning,
    Teacher,
    normalised,
    ppo_loss,
    returns_of,
)
from simfl.strategy.special_rules import PersonalContext
from simfl.structure import Conv, ModelStructure, Shortcut


def structure(
    *widths: int, shortcuts: tuple[Shortcut, ...] = (), normed: bool = False
) -> ModelStructure:
    inputs = (3, *widths)
    convs = tuple(
        Conv(f"w{i}", (), n, inputs[i], 9, 16, normed=normed, reads=i - 1 if i else None)
        for i, n in enumerate(widths)
    )
    shapes = tuple((conv.weight, (conv.outputs, conv.inputs, 3, 3)) for conv in convs)
    layout = Layout(shapes, sum(n * m * 9 for n, m in zip(inputs, widths, strict=False)))
    return ModelStructure(layout, convs, (), shortcuts)


def game(score, *widths: int, cut: float = 0.2, **more) -> Pruning:
    options = {"max_steps": 10, "exact": False, "seed": 3, **more}
    return Pruning(structure(*(widths or (8, 8))), cut, score=score, **options)


def personal(**memory) -> PersonalContext:
    gnn = flat(drawn(Encoders(), 1))
    return PersonalContext(
        structure(8, 8), torch.zeros(0), lambda point: 0.0, 3, {"gnn": gnn}, memory
    )


# The graph.


def test_level_one_has_two_nodes_and_three_edges_for_each_channel():
    layers = Blueprint(structure(8, 4)).state(np.array([1.0, 1.0])).layers
    assert layers.count == 2
    assert torch.bincount(layers.member).tolist() == [2 * 3 + 2, 2 * 8 + 2]
    assert layers.ends.shape[1] == 3 * (3 + 8)


def test_level_two_has_every_filter_between_a_node_and_a_join():
    net = Blueprint(structure(8, 4)).state(np.array([1.0, 1.0])).net
    assert len(net.x) == 1 + (8 + 2) + (4 + 2)
    kinds = torch.bincount(net.kind, minlength=8).tolist()
    assert kinds == [8, 4, 12, 0, 2, 0, 0, 0]
    assert kinds[2 + RELU] == 2


def test_shortcuts_norms_and_the_last_layer_have_edges_of_their_own():
    ways = (Shortcut(0, 0, False), Shortcut(1, 1, True))
    net = Blueprint(structure(2, 2, shortcuts=ways, normed=True)).state(np.ones(2)).net
    kinds = torch.bincount(net.kind, minlength=8).tolist()
    assert [kinds[2 + kind] for kind in (NORM, IDENTITY, RESIZED, LINEAR)] == [2, 1, 1, 1]


def test_the_graph_shrinks_with_the_network():
    """Channels are rounded down; a layer reads what the one before keeps."""
    state = Blueprint(structure(8, 4)).state(np.array([0.7, 0.1]))
    assert torch.bincount(state.layers.member).tolist() == [8, 2 * 5 + 2]
    assert len(state.net.x) == 1 + (5 + 2) + (1 + 2)
    assert int(state.net.ends.max()) < len(state.net.x)


def test_a_state_is_a_function_of_the_ratios():
    a, b = (Blueprint(structure(8, 4)).state(np.array([0.7, 0.5])) for _ in range(2))
    assert torch.equal(a.net.x, b.net.x)
    assert torch.equal(a.net.ends, b.net.ends)


# The network.


def test_its_sizes_are_those_of_the_paper():
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(Encoder()) == 5_670
    assert count(Encoder()) + count(Heads(19).actor) == 19_689
    assert count(Encoder()) + count(Heads(19).critic) == 5_721


def test_messages_are_normalised_as_in_a_dense_graph_convolution():
    """D^-1/2 (A + I) D^-1/2 x with A as a matrix."""
    layers = Blueprint(structure(4)).state(np.ones(1)).layers
    n = len(layers.x)
    a = torch.eye(n).index_put((layers.ends[1], layers.ends[0]), torch.ones(()), accumulate=True)
    scale = torch.diag(a.sum(1).rsqrt())
    assert torch.allclose(propagated(layers, layers.x), scale @ a @ scale @ layers.x, atol=1e-5)


def test_states_seen_together_look_as_each_alone():
    encoder, plan = drawn(Encoder(), 2), Blueprint(structure(8, 4))
    states = [plan.state(np.array(ratios)) for ratios in ([1.0, 1.0], [0.5, 0.8], [0.1, 0.1])]
    alone = torch.cat([encoder([state]) for state in states])
    assert torch.allclose(encoder(states), alone, atol=1e-6)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_parameters_travel_as_one_tensor():
    there = drawn(Encoders(), 5)
    assert torch.equal(flat(loaded(Encoders(), flat(there))), flat(there))
    assert types().shape == (6, 20)


# The game.


def test_a_game_ends_when_enough_is_gone():
    player = Player(game(lambda ratios: 0.75), None, None)
    player.play()
    assert player.memory.rewards[-1] == -25.0
    assert player.memory.ends[-1]
    assert not any(player.memory.ends[:-1])
    assert player.best is not None
    assert removed(player.game.structure.convs, player.best[1]) >= 0.2


def test_a_game_that_takes_too_long_is_lost_but_still_gives_a_plan():
    player = Player(game(lambda ratios: 0.5, cut=0.95, max_steps=1), None, None)
    player.play()
    assert player.memory.rewards == [-100.0]
    assert removed(player.game.structure.convs, player.best[1]) == pytest.approx(0.95, abs=1e-6)


def test_negative_actions_do_not_bring_filters_back_beyond_all():
    assert game(lambda r: 0.0).act(np.ones(2), np.array([-0.5, 0.3])).tolist() == [1.0, 0.7]


def test_blind_actions_alone_remove_a_third_of_the_flops():
    """With σ = 0.5 a target of 20 % is overshot: a control must be compared at equal FLOP."""
    found = []
    for seed in range(100):
        player = Player(game(lambda ratios: 0.0, *[16] * 8, seed=seed), None, None)
        player.play()
        found.append(removed(player.game.structure.convs, player.best[1]))
    assert 0.3 < np.mean(found) < 0.45


@pytest.mark.parametrize("kind", ["ppo", "random", "uniform"])
def test_plans_at_equal_flops_remove_just_what_is_asked(kind):
    pruning = game(lambda ratios: float(ratios[0]), exact=True)
    ratios, _ = search.plan(kind, pruning, 3, True, personal())
    assert removed(pruning.structure.convs, ratios) == pytest.approx(0.2, abs=1e-6)


def test_the_best_plan_of_all_games_is_used():
    tried: list[float] = []

    def score(ratios):
        tried.append(float(ratios[1]))
        return tried[-1]

    ratios, kept = search.plan("random", game(score), 20, True, personal())
    assert len(tried) == 20
    assert ratios[1] == max(tried)
    assert not kept


def test_an_agent_that_no_longer_learns_keeps_its_heads():
    _, first = search.plan("ppo", game(lambda r: float(r[0])), 12, True, personal())
    start = flat(drawn(Heads(2), 7))
    assert not torch.equal(first["heads"], start)
    _, later = search.plan("ppo", game(lambda r: float(r[0])), 5, False, personal(**first))
    assert torch.equal(later["heads"], first["heads"])
    assert torch.equal(later["gnn"], first["gnn"])


# Learning.


def test_returns_are_discounted_within_a_game():
    rewards, ends = [0.0, 0.0, -50.0, 0.0, -10.0], [False, False, True, False, True]
    found = returns_of(rewards, ends)
    expected = [-50 * 0.99**2, -50 * 0.99, -50.0, -9.9, -10.0]
    assert torch.allclose(found, torch.tensor(expected))
    assert float(normalised(found).mean()) == pytest.approx(0.0, abs=1e-6)


def test_the_loss_stops_pulling_beyond_the_clip():
    """A good action that is already 1.2 times as likely has no slope left."""
    old, returns, value = torch.zeros(1), torch.ones(1), torch.zeros(1)
    for gap, pulled in ((0.1, True), (0.3, False)):
        new = torch.tensor([gap], requires_grad=True)
        ppo_loss(new, old, returns, value).backward()
        assert bool(new.grad) is pulled


def test_the_agent_learns_which_layer_to_spare():
    """Accuracy is what the first layer keeps: its action must come to be the smaller one."""
    encoders, heads = drawn(Encoders(), 1), drawn(Heads(2), 2)
    player = Player(game(lambda r: float(r[0]), exact=True), encoders, heads)
    teacher = Teacher(heads)
    before = player.mean(np.ones(2))
    player.memory.states.clear()
    for _ in range(300):
        player.play()
        if len(player.memory.actions) >= 20:
            teacher.update(player)
    after = player.mean(np.ones(2))
    assert after[1] - after[0] > before[1] - before[0] + 0.3


def test_the_graph_networks_of_the_proxy_are_the_same_every_time():
    first = pretrained(3)
    pretrained.cache_clear()
    assert torch.equal(pretrained(3), first)
    assert first.shape == (11_340,)
