"""The game as pure functions: networks, gradients, the Jacobian of the field, and lifting over members."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.testing import assert_close

from oracles import Bowl, dirac_batch, dirac_gan, field_jacobian, sorted_eigenvalues
from saddle.averages import ExponentialAverage
from saddle.calculus import AUTOGRAD, FUNCTIONAL
from saddle.data.sampling import draw_batches, normal
from saddle.dynamics import Alternating, Simultaneous
from saddle.execution import TrainingState, eager, start
from saddle.game import Batch, Game
from saddle.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from saddle.models import dcgan, mlp
from saddle.models.dropout import Dropout
from saddle.models.normalization import BATCH, BatchNorm
from saddle.models.toy import Affine, Linear, Point, Quadratic
from saddle.network import Network
from saddle.optimizers import SGD, Adam, RMSProp
from saddle.regularizers import r1, r2, wgan_gp
from saddle.theory import linear_quadratic

LOSSES = [Minimax(), NonSaturating(), LeastSquares(), Wasserstein(), Hinge(), Relativistic()]
R1, R2, GP = partial(r1, gamma=0.7), partial(r2, gamma=0.4), partial(wgan_gp, weight=0.9)
PENALTIES = {
    "none": {},
    "r1": {"r1": R1},
    "r1+r2": {"r1": R1, "r2": R2},
    "wgan_gp": {"wgan_gp": GP},
    "all": {"wgan_gp": GP, "r2": R2, "r1": R1},
}
# where a gradient is exactly 0, as for a bias before BatchNorm, a rule divides round-off of 1e-16 by its ε
OPTIMIZERS = [partial(SGD, momentum=-0.3), partial(RMSProp, eps=1e-6), partial(Adam, beta1=0.5, eps=1e-6)]
ROUND_OFF = {
    "atol": 1e-10,
    "rtol": 1e-10,
}  # 1e-16/ε, which is 1e-10, times a learning rate below 0.1, a few times
DYNAMICS = [Simultaneous, partial(Alternating, num_discriminator_steps=2)]


def points_networks() -> tuple[nn.Module, nn.Module]:
    return mlp.Generator(3, (2,), [8, 8], 0.2, BATCH), mlp.Discriminator((2,), [8, 8], 0.2, dropout=0.3)


def image_networks() -> tuple[nn.Module, nn.Module]:
    """BatchNorm in the generator, convolutions and dropout in the discriminator, 8x8 images."""
    generator = nn.Sequential(
        nn.Linear(3, 4 * 16), nn.Unflatten(1, (4, 4, 4)), BatchNorm(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        Dropout(0.3, 64),
        nn.Linear(64, 1),
        nn.Flatten(0),
    )
    return generator, discriminator


def bind_game(networks: tuple[nn.Module, nn.Module], loss: Any, penalties: Any, calculus: Any) -> Game:
    generator, discriminator = networks
    return Game(Network(generator), Network(discriminator), loss, penalties, calculus)


def seeded(make: Callable[[], tuple[nn.Module, nn.Module]], seed: int = 0) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


NETWORKS = {"points": points_networks, "images": image_networks}
EVENTS = {"points": (2,), "images": (1, 8, 8)}


def data(event: tuple[int, ...]) -> Tensor:
    return torch.rand(32, *event, generator=torch.Generator().manual_seed(5)) * 2 - 1


def play(
    game: Game, dynamics: Any, real: Tensor, rounds: int, seed: int = 0
) -> tuple[TrainingState, dict[str, Tensor]]:
    state = start(game, dynamics, {"ema": ExponentialAverage(0.9)}, torch.device("cpu"))
    logs: dict[str, Tensor] = {}
    for step in range(rounds):
        batches = draw_batches(real, partial(normal, size=3), game, 6, dynamics.num_batches, seed, step)
        state, logs = eager(game, dynamics, {"ema": ExponentialAverage(0.9)})(state, batches, 0)
    return state, logs


# ---- networks as functions


@pytest.mark.parametrize("make", [*NETWORKS.values(), lambda: (dcgan.Generator(3, 1, 4, BATCH),) * 2])
def test_flatten_and_unflatten_are_inverse(make):
    for module in seeded(make):
        network = Network(module)
        vector = network.flatten()
        assert vector.shape == (sum(value.numel() for value in module.parameters()),)
        parameters = network.unflatten(vector)
        assert {name: value.shape for name, value in parameters.items()} == network.shapes
        for name, value in module.named_parameters():
            assert torch.equal(parameters[name], value)


def test_flatten_copies():
    module = Point(3.0)
    vector = Network(module).flatten()
    vector += 1.0
    assert module.theta.item() == 3.0


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(RuntimeError, match="split_with_sizes"):
        Network(Point(3.0)).unflatten(torch.zeros(2))


def test_bind_is_functional_call_in_value_and_gradient():
    generator, _ = seeded(image_networks)
    network, latents = Network(generator), torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    vector = (network.flatten() * 1.3).requires_grad_()

    def by_torch(inputs: Tensor) -> Tensor:
        return functional_call(generator, network.unflatten(vector), (inputs,))

    ours, theirs = network.bind(vector, {})(latents), by_torch(latents)
    assert torch.equal(ours, theirs)  # the same operations on the same numbers
    assert torch.equal(
        *(torch.autograd.grad(value.square().sum(), vector, retain_graph=True)[0] for value in (ours, theirs))
    )


def test_bind_gives_layers_their_uniform_numbers_by_name():
    _, discriminator = seeded(points_networks)
    network = Network(discriminator)
    assert network.num_uniform == {"layers.2.uniform": 8, "layers.5.uniform": 8}
    uniform = {
        name: torch.rand(4, size, generator=torch.Generator().manual_seed(2))
        for name, size in network.num_uniform.items()
    }
    samples, vector = torch.ones(4, 2), network.flatten()
    expected = functional_call(discriminator, {**network.unflatten(vector), **uniform}, (samples,))
    assert torch.equal(network.bind(vector, uniform)(samples), expected)


def test_bind_leaves_the_module_as_it_was_even_if_it_fails():
    module = Linear(2.0)
    own, bound = module.psi, Network(module).bind(torch.tensor([7.0]), {})
    assert bound(torch.ones(1, 1)).item() == 7.0
    assert module.psi is own
    with pytest.raises(TypeError):
        bound(None)
    assert module.psi is own


def test_a_parameter_shared_by_two_layers_is_bound_in_both():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.second.weight = self.first.weight

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second(self.first(inputs))

    network = Network(Tied())
    vector = 2 * network.flatten()
    weight = vector.view(2, 2)
    assert_close(network.bind(vector, {})(torch.eye(2)), (weight @ weight).T)


def test_two_functions_of_one_module_do_not_disturb_each_other():
    network = Network(Linear(2.0))
    three, seven = network.bind(torch.tensor([3.0]), {}), network.bind(torch.tensor([7.0]), {})
    assert [f(torch.ones(1, 1)).item() for f in (three, seven, three)] == [3.0, 7.0, 3.0]


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True)]
)
def test_a_layer_with_running_statistics_is_refused_by_name(layer):
    with pytest.raises(
        ValueError, match=r"no memory.*'1' is .*Norm.*running statistics.*track_running_stats=False"
    ):
        Network(nn.Sequential(nn.Linear(3, 3), layer))


# ---- what each player minimises


def test_the_losses_are_the_adversarial_loss_plus_penalties_and_are_logged():
    game = dirac_gan(LeastSquares(1.0, 0.0), {"r1": R1, "r2": R2}, start=(2.0, 3.0))
    batch = dirac_batch(4)._replace(real=torch.full((4, 1), 5.0))
    loss, logs = game.discriminator_loss(game.init(), batch)
    # D(x) = 15, D(G) = 6: ½(15 − 1)² + ½·6² = 116; slope 3 everywhere
    assert_close(loss.item(), 116 + 0.5 * 0.7 * 9 + 0.5 * 0.4 * 9)
    assert {name: value.item() for name, value in logs.items()} == pytest.approx(
        {
            "loss/discriminator": 116, "penalty/r1": 3.15, "penalty/r2": 1.8,
            "diag/real_logit": 15, "diag/fake_logit": 6, "diag/real_sign": 1,
        }
    )  # fmt: skip
    loss, logs = game.generator_loss(game.init(), batch)
    assert (loss.item(), logs["loss/generator"].item()) == (12.5, 12.5)  # ½(6 − 1)²
    assert not any(value.requires_grad for value in logs.values())


@pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
def test_gradients_by_hand_on_the_dirac_gan(calculus):
    theta, psi, gamma = 0.8, -1.1, 0.7
    game = dirac_gan(Minimax(), {"r1": R1}, (theta, psi), calculus=calculus)
    gradients, _ = game.gradients(game.init(), dirac_batch(3))
    sigma = torch.tensor(psi * theta).sigmoid().item()
    assert_close(gradients.generator, torch.tensor([-psi * sigma]))
    assert_close(gradients.discriminator, torch.tensor([theta * sigma + gamma * psi]))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_only_a_zero_sum_loss_gives_the_generator_the_negative_gradient(loss):
    game = bind_game(seeded(points_networks), loss, {}, FUNCTIONAL)
    (batch,) = draw_batches(data((2,)), partial(normal, size=3), game, 6, 1, 0, 0)
    players = game.init()
    players = players._replace(
        discriminator=5 * players.discriminator
    )  # some logits beyond the hinge's margin

    def as_generator_sees(vector: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return game.discriminator_loss(players._replace(generator=vector), batch)

    of_discriminator, _ = FUNCTIONAL.gradient(as_generator_sees, players.generator)
    of_generator, _ = game.generator_gradient(players, batch)
    zero_sum = isinstance(loss, (Minimax, Wasserstein))
    assert (
        torch.allclose(of_discriminator, -of_generator, rtol=0, atol=1e-14) == zero_sum
    )  # round-off of O(0.1)


@pytest.mark.parametrize(
    "loss", [Minimax(), NonSaturating(), Relativistic()], ids=lambda loss: type(loss).__name__
)
@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.0), (0.5, 2.0)])
def test_the_linear_quadratic_gan_has_its_published_jacobian(loss, mu, sigma):
    # six equally likely numbers with the moments 0, 1, 0, 3 of N(0, 1): the Jacobian sees no others
    latents = torch.tensor([3**0.5, -(3**0.5), 0, 0, 0, 0]).unsqueeze(1)
    # a paired loss sees E over pairs, so every real meets every latent
    real = (mu + sigma * latents).repeat_interleave(6, 0)
    batch = Batch(real, latents.repeat(6, 1), torch.zeros(36))
    game = Game(Network(Affine(sigma, mu)), Network(Quadratic((0.0, 0.0))), loss, {}, FUNCTIONAL)
    solved = linear_quadratic.field_jacobian
    if isinstance(loss, Relativistic):
        solved = linear_quadratic.relativistic_field_jacobian
    expected = torch.from_numpy(solved(mu, sigma))
    assert_close(field_jacobian(game, batch), expected, atol=1e-12, rtol=1e-12)  # O(50) numbers, round-off


def test_eigenvalues_of_the_linear_quadratic_gan_are_the_published_ones():
    latents = torch.tensor([3**0.5, -(3**0.5), 0, 0, 0, 0]).unsqueeze(1)

    def eigenvalues(loss: Any, mu: float, sigma: float) -> Tensor:
        game = Game(Network(Affine(sigma, mu)), Network(Quadratic((0.0, 0.0))), loss, {}, FUNCTIONAL)
        return sorted_eigenvalues(field_jacobian(game, Batch(mu + sigma * latents, latents, torch.zeros(6))))

    def published(*values: complex) -> Tensor:
        return torch.tensor(values, dtype=torch.complex128)

    digits = {"atol": 6e-5, "rtol": 0}  # four digits are printed
    assert_close(
        eigenvalues(NonSaturating(), 0.0, 1.0),
        published(-0.75 - 0.6614j, -0.75 + 0.6614j, -0.25 - 0.4330j, -0.25 + 0.4330j), **digits,
    )  # fmt: skip
    assert_close(eigenvalues(Minimax(), 0.5, 2.0), published(-27.2462, -1.5977, -0.1937, -0.1186), **digits)
    assert_close(eigenvalues(Wasserstein(), 0.0, 1.0).imag, torch.tensor([-2.0, -1.0, 1.0, 2.0]))
    assert_close(eigenvalues(Wasserstein(), 0.0, 1.0).real, torch.zeros(4))


# ---- each point is evaluated once


@pytest.mark.parametrize(
    ("penalties", "num_discriminator_step"),
    [("none", 2), ("r1", 2), ("r1+r2", 2), ("wgan_gp", 3), ("all", 3)],
)
@pytest.mark.parametrize("loss", [Hinge(), Relativistic()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("calculus", [AUTOGRAD, FUNCTIONAL], ids=["autograd", "functional"])
def test_the_discriminator_runs_once_a_point(loss, penalties, num_discriminator_step, calculus):
    generator, discriminator = seeded(points_networks)
    calls = {"generator": 0, "discriminator": 0}

    def count(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            calls[name] += 1

        return hook

    generator.register_forward_pre_hook(count("generator"))
    discriminator.register_forward_pre_hook(count("discriminator"))
    game = bind_game((generator, discriminator), loss, PENALTIES[penalties], calculus)
    (batch,) = draw_batches(data((2,)), partial(normal, size=3), game, 6, 1, 0, 0)

    def calls_of(work: Callable[[], Any]) -> tuple[int, int]:
        calls.update(generator=0, discriminator=0)
        work()
        return calls["generator"], calls["discriminator"]

    players, num_generator_step = game.init(), 2 if loss.paired else 1
    assert calls_of(lambda: game.discriminator_gradient(players, batch)) == (1, num_discriminator_step)
    assert calls_of(lambda: game.generator_gradient(players, batch)) == (1, num_generator_step)
    rule = SGD(lr=0.01)
    for dynamics, num_d, num_g in (
        (Simultaneous(rule, rule), 1, 1),
        (Alternating(rule, rule, 5, 1), 5, 1),
        (Alternating(rule, rule, 1, 2), 1, 2),
    ):
        found = calls_of(
            partial(dynamics.step, game, players, dynamics.init(players), (batch,) * dynamics.num_batches)
        )
        assert found == (num_d + num_g, num_d * num_discriminator_step + num_g * num_generator_step)


def test_logits_left_by_a_slope_are_those_of_a_plain_evaluation():
    """A penalty must not change the adversarial part of the loss, nor its gradient at weight 0."""
    networks = seeded(image_networks)
    plain = bind_game(networks, NonSaturating(), {}, AUTOGRAD)
    free = bind_game(
        networks, NonSaturating(), {"r1": partial(r1, gamma=0.0), "r2": partial(r2, gamma=0.0)}, AUTOGRAD
    )
    (batch,) = draw_batches(data((1, 8, 8)), partial(normal, size=3), plain, 6, 1, 0, 0)
    (expected, expected_logs), (found, found_logs) = (
        game.discriminator_gradient(game.init(), batch) for game in (plain, free)
    )
    assert_close(found, expected, atol=1e-15, rtol=1e-12)  # sums in another order
    assert torch.equal(found_logs["loss/discriminator"], expected_logs["loss/discriminator"])


@pytest.mark.parametrize("penalties", PENALTIES)
def test_a_discriminator_without_one_logit_per_sample_is_refused(penalties):
    class Column(nn.Module):
        def forward(self, samples: Tensor) -> Tensor:
            return samples

    game = replace(dirac_gan(Hinge(), PENALTIES[penalties]), discriminator=Network(Column()))
    with pytest.raises(ValueError, match=r"one logit per sample, shape \(4,\); got \(4, 1\)\. End .*squeeze"):
        game.discriminator_loss(game.init(), dirac_batch(4))
    with pytest.raises(ValueError, match=r"one logit per sample"):
        game.generator_loss(game.init(), dirac_batch(4))


# ---- one code path: eager, functional, lifted


@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("networks", NETWORKS)
def test_both_ways_to_differentiate_train_alike(networks, loss, penalties):
    modules, real = seeded(NETWORKS[networks]), data(EVENTS[networks])
    for make_rule, make_dynamics in itertools.product(OPTIMIZERS, DYNAMICS):
        dynamics = make_dynamics(make_rule(lr=1e-2), make_rule(lr=2e-2))
        (ours, logs), (again, _), (functional, functional_logs) = (
            play(bind_game(modules, loss, PENALTIES[penalties], calculus), dynamics, real, rounds=3)
            for calculus in (AUTOGRAD, AUTOGRAD, FUNCTIONAL)
        )
        assert torch.equal(torch.cat(ours.players), torch.cat(again.players))
        assert torch.cat(ours.players).isfinite().all()
        assert_close(functional.players, ours.players, **ROUND_OFF)
        assert_close(functional.averages, ours.averages, **ROUND_OFF)
        assert_close(functional_logs, logs, **ROUND_OFF)


def _stack(trees: list[Any]) -> Any:
    return torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)


def _member(tree: Any, index: int) -> Any:
    return torch.utils._pytree.tree_map(lambda leaf: leaf[index], tree)


@pytest.mark.parametrize("make_dynamics", DYNAMICS, ids=["simultaneous", "alternating"])
@pytest.mark.parametrize("make_rule", OPTIMIZERS, ids=["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize(
    ("networks", "loss", "penalties"),
    [  # every network, loss and penalty at least once
        ("points", Minimax(), "none"),
        ("points", NonSaturating(), "r1"),
        ("points", Wasserstein(), "wgan_gp"),
        ("images", LeastSquares(), "r1+r2"),
        ("images", Hinge(), "wgan_gp"),
        ("images", Relativistic(), "all"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_member_of_a_lifted_round_equals_the_solo_run(networks, loss, penalties, make_rule, make_dynamics):
    """Members differ in weights, batches and learning rate."""
    modules, real, rates = (
        seeded(NETWORKS[networks]),
        data(EVENTS[networks]),
        torch.tensor([0.01, 0.02, 0.04]),
    )
    game = bind_game(modules, loss, PENALTIES[penalties], FUNCTIONAL)
    averages = {"ema": ExponentialAverage(0.9)}

    def dynamics_of(rate: Any) -> Any:
        return make_dynamics(make_rule(lr=rate), make_rule(lr=2 * rate))

    def advance(rate: Any, state: TrainingState, batches: tuple[Batch, ...]) -> Any:
        return eager(game, dynamics_of(rate), averages)(state, batches, 0)

    states, batches = [], []
    for seed in range(3):
        fresh = bind_game(seeded(NETWORKS[networks], seed), loss, {}, FUNCTIONAL)
        states.append(start(fresh, dynamics_of(0.01), averages, torch.device("cpu")))
        batches.append([
            draw_batches(real, partial(normal, size=3), game, 6, dynamics_of(0.01).num_batches, seed, step)
            for step in range(2)
        ])  # fmt: skip
    lifted = _stack(states)
    for step in range(2):
        lifted, lifted_logs = vmap(advance)(rates, lifted, _stack([one[step] for one in batches]))
    for index, state in enumerate(states):
        for step in range(2):
            state, logs = advance(rates[index].item(), state, batches[index][step])
        assert_close(_member(lifted, index), state, **ROUND_OFF)
        assert_close(_member(lifted_logs, index), logs, **ROUND_OFF)


def test_hyperparameters_can_be_lifted_with_the_round():
    """One value a member of what is not in a network: penalties' weights, targets, moments' decays."""
    batch = dirac_batch(3)._replace(real=torch.tensor([[0.5], [-1.0], [2.0]]))

    def advance(gamma: Any, weight: Any, target: Any, decay: Any) -> Any:
        penalties = {"r1": partial(r1, gamma=gamma), "gp": partial(wgan_gp, weight=weight, target=target)}
        game = replace(dirac_gan(LeastSquares(target, -target), penalties), discriminator=Network(Bowl(0.5)))
        rule = Adam(0.1 * decay, decay, decay, decay), RMSProp(0.1, decay, decay)
        dynamics, players = Alternating(*rule), game.init()
        return dynamics.step(game, players, dynamics.init(players), (batch, batch))

    values = [(0.1, 0.2, 0.3, 0.4), (1.0, 0.5, 2.0, 0.9), (0.0, 3.0, 1.0, 0.5)]
    lifted = vmap(advance)(*torch.tensor(values).T)
    for index, value in enumerate(values):
        assert_close(_member(lifted, index), advance(*value))
