"""Labels travel in the batch: conditional players train in every execution, and learn their classes."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from conditional import MODES, Blind, Centres, Slopes, latents, modes, networks
from saddle.data.dataset import Dataset
from saddle.data.sampling import draw_batches, in_passes
from saddle.diagnosis.linearize import game_field, game_gradient, jacobian
from saddle.diagnosis.probes import draws_of
from saddle.diagnosis.vanishing import generator_sensitivity
from saddle.dynamics.descent import Alternating
from saddle.dynamics.extrapolation import ExtraGradient
from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL
from saddle.game.game import Batch, Game, Players
from saddle.game.losses import NonSaturating, Relativistic
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1, wgan_gp
from saddle.rounds.execution import EAGER, Compiled, Method, TrainingState, start
from saddle.rounds.execution import rounds as solo_rounds
from saddle.rounds.lifting import together, unstack
from saddle.training.member import Member
from saddle.training.module import GANModule, Pace

# sums over 24 samples in another order, Adam's division by √v + 1e-3 among them, over 5 rounds
ROUND_OFF = {"atol": 1e-10, "rtol": 0}
CPU = torch.device("cpu")
DYNAMICS: dict[str, Any] = {"alternating": Alternating, "extragradient": ExtraGradient}
PENALTIES = {"r1": partial(r1, gamma=0.5), "wgan_gp": partial(wgan_gp, weight=0.3)}
NUM_ROUNDS = 5


def game(calculus=AUTOGRAD, loss: Any = None, **parts: Any) -> Game:
    return Game(*networks(), loss or NonSaturating(), PENALTIES, calculus, **parts)


def dynamics(name: str, lr: float = 0.05) -> Any:
    return DYNAMICS[name](Adam(lr, eps=1e-3), Adam(lr, eps=1e-3))


def batches(of: Game, num_batches: int, seed: int, index: int) -> tuple[Batch, ...]:
    return draw_batches(modes(), latents, of, 24, num_batches, seed, index)


def play(parts: Method, seed: int = 0, execution: Any = EAGER, num: int = NUM_ROUNDS) -> TrainingState:
    state = start(*parts[:3], CPU)
    turn = solo_rounds(*parts[:3], execution=execution)
    for index in range(num):
        state, _ = turn(state, batches(parts.game, parts.dynamics.num_batches, seed, index), index)
    return state


# ---- the seam


@pytest.mark.parametrize("name", DYNAMICS)
@pytest.mark.parametrize("loss", [NonSaturating(), Relativistic()], ids=["unpaired", "paired"])
def test_a_conditional_game_trains_alike_by_autograd_and_by_torch_func(name, loss):
    states = [play(Method(game(calculus, loss), dynamics(name), {})) for calculus in (AUTOGRAD, FUNCTIONAL)]
    assert_close(*(state.players for state in states), **ROUND_OFF)
    assert all(vector.abs().min() > 1e-3 for vector in states[0].players)  # every class has moved


@pytest.mark.parametrize("name", DYNAMICS)
def test_members_that_see_labels_of_their_own_equal_their_solo_runs(name):
    members = [Method(game(), dynamics(name, lr), {}) for lr in (0.05, 0.08)]
    states = [start(*parts[:3], CPU) for parts in members]
    step = together(members, EAGER, states[0].players.generator)
    state = step.join(states)
    for index in range(NUM_ROUNDS):
        drawn = [batches(one.game, one.dynamics.num_batches, seed, index) for seed, one in enumerate(members)]
        labels = [one[0].label for one in drawn]
        assert not torch.equal(*labels)
        joined = step.join(drawn)
        assert joined[0].label.dtype == torch.int64
        state, _ = step.play(state, joined, index)
    for index, parts in enumerate(members):
        assert_close(unstack(state, index).players, play(parts, seed=index).players, **ROUND_OFF)


@pytest.mark.slow
@pytest.mark.parametrize("name", DYNAMICS)
def test_a_compiled_conditional_game_trains_as_an_eager_one(name):
    parts = Method(game(), dynamics(name), {})
    assert_close(play(parts, execution=Compiled()).players, play(parts).players, **ROUND_OFF)


@pytest.mark.slow
def test_compiled_members_that_see_labels_of_their_own_equal_their_solo_runs():
    members = [Method(game(), dynamics("extragradient", lr), {}) for lr in (0.05, 0.08)]
    states = [start(*parts[:3], CPU) for parts in members]
    step = together(members, Compiled(), states[0].players.generator)
    state = step.join(states)
    for index in range(NUM_ROUNDS):
        drawn = [batches(one.game, one.dynamics.num_batches, seed, index) for seed, one in enumerate(members)]
        state, _ = step.play(state, step.join(drawn), index)
    for index, parts in enumerate(members):
        assert_close(unstack(state, index).players, play(parts, seed=index).players, **ROUND_OFF)


def test_a_bound_player_is_its_module_with_the_labels_of_the_batch():
    of = game()
    (batch,) = batches(of, 1, 0, 0)
    players = Players(torch.arange(6.0), torch.arange(6.0).flip(0))
    fake = of.generate(players, batch)
    assert_close(fake, players.generator.view(3, 2)[batch.label] + 0.1 * batch.latent)
    logits = of.bind_discriminator(players, batch)
    assert_close(logits(fake), (players.discriminator.view(3, 2)[batch.label] * fake).sum(1))
    assert_close(logits.slope(fake), players.discriminator.view(3, 2)[batch.label])


def test_the_label_of_a_sample_is_that_of_its_mode_in_every_batch():
    for order in ({}, {"order": in_passes}):
        for batch in draw_batches(modes(), latents, game(), 24, 3, 0, 7, **order):
            assert batch.label.dtype == torch.int64
            assert torch.equal(torch.cdist(batch.real, MODES).argmin(1), batch.label)
    (batch,) = draw_batches(modes(labelled=False), latents, blind(), 24, 1, 0, 7)
    assert batch.label is None
    assert len(pytree.tree_leaves(batch)) == 3  # None would be a leaf, which nothing could stack or lift


# ---- what is learned


# γ = 2f'(0): each class is a Dirac-GAN, and this damping keeps it from turning (Mescheder et al. 2018, 4.1)
DAMPED = {"r1": partial(r1, gamma=1.0)}


def seeing() -> Game:
    return Game(*networks(), NonSaturating(), DAMPED)


def blind() -> Game:
    return Game(Network(Blind(Centres())), Network(Blind(Slopes())), NonSaturating(), DAMPED)


def learned(of: Game, num: int = 400) -> Tensor:
    """Mean sample asked for of each class, (K, 2), after training by the module that Lightning drives."""
    data = Dataset("modes", modes(), modes(30))
    rule = SGD(1.0)
    method = Method(of, Alternating(rule, rule), {})
    member = Member(method, data, latents, batch_size=60, seed=0, num_steps=num, order=in_passes)
    module = GANModule([member], Pace(num))
    module.begin()
    module.play(next(module.chunks()))
    (batch,) = draw_batches(modes(3000), latents, of, 3000, 1, 1, 0)
    samples = of.generate(member.state.players, batch)
    return torch.stack([samples[batch.label == label].mean(0) for label in range(len(MODES))])


def test_a_conditional_generator_learns_the_mode_of_each_class():
    assert_close(learned(seeing()), MODES, atol=0.05, rtol=0)  # two standard errors of 20 a class


def test_a_generator_that_sees_no_class_gives_every_class_the_same():
    found = learned(blind())
    assert_close(found, MODES.mean(0).expand(3, 2), atol=0.2, rtol=0)  # likewise, of 60 with std 1.2
    assert (found - MODES).norm(dim=1).min() > 1


# ---- what looks at a game


def test_casting_a_batch_leaves_its_labels_integers():
    of, single = game(), [vector.float() for vector in game().init()]
    (batch,) = batches(of, 1, 0, 0)
    low = batch._replace(**{name: getattr(batch, name).float() for name in ("real", "latent", "mix")})
    at = game_gradient(of, Players(*single), [low], torch.float64)
    assert at.function(at.point).dtype == torch.float64
    assert_close(at.function(at.point), torch.cat(of.gradients(of.init(), batch)[0]), atol=1e-7, rtol=0)


def test_classes_do_not_turn_about_each_other():
    """A game a class: the Jacobian has no entry between the players of two classes."""
    of = game()
    (batch,) = batches(of, 1, 0, 0)
    matrix = jacobian(game_field(of, Players(MODES.flatten(), torch.ones(6)), [batch]))
    classes = torch.arange(3).repeat_interleave(2).repeat(2)
    assert not matrix[classes[:, None] != classes].any()
    assert matrix[classes[:, None] == classes].any()


def test_the_sensitivity_of_a_conditional_generator_is_that_of_its_own_class():
    of = game()
    (batch,) = batches(of, 1, 0, 0)
    assert generator_sensitivity(of, of.init(), batch) == pytest.approx(2**0.5, abs=1e-12)  # J is [0 I 0]


def test_probes_see_labels_of_the_split_that_they_look_at():
    data = Dataset("modes", modes(), modes(30))
    for batch in (draws_of(game(), data, latents, 0, 0)[split](12, 0) for split in (0, 1)):
        assert torch.equal(torch.cdist(batch.real, MODES).argmin(1), batch.label)


# ---- refusals


def test_a_conditional_player_is_refused_data_without_labels():
    of = game()
    (batch,) = draw_batches(modes(labelled=False), latents, of, 24, 1, 0, 0)
    with pytest.raises(ValueError, match=r"must be told the class .*; got Slopes .* Choose labelled data"):
        of.bind_discriminator(of.init(), batch)
    with pytest.raises(ValueError, match=r"must be told the class .*; got Centres .* Choose labelled data"):
        of.discriminator_gradient(of.init(), batch)


def test_a_conditional_player_is_refused_packs():
    with pytest.raises(ValueError, match=r"one by one, each with its class; got pack=2\. Take pack=1"):
        game(pack=2)
