"""What each player minimises, its gradient and Jacobian, and that each point is evaluated once."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from game_parts import LOSSES, PENALTIES, R1, R2, bind_game, data, image_networks, points_networks, seeded
from oracles import dirac_batch, dirac_gan, field_jacobian, sorted_eigenvalues
from saddle.data.sampling import draw_batches, normal_latents
from saddle.data.sources import TensorSource
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL
from saddle.game.game import Batch, Game
from saddle.game.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1, r2
from saddle.models.toy import Affine, Quadratic
from saddle.theory import linear_quadratic

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
    (batch,) = draw_batches(TensorSource(data((2,))), partial(normal_latents, size=3), game, 6, 1, 0, 0)
    players = game.init()
    players = players._replace(
        discriminator=5 * players.discriminator
    )  # some logits beyond the hinge's margin

    def as_generator_sees(vector: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return game.discriminator_loss(players._replace(generator=vector), batch)

    of_discriminator, _ = FUNCTIONAL.derivative(as_generator_sees, players.generator)
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
    (batch,) = draw_batches(TensorSource(data((2,))), partial(normal_latents, size=3), game, 6, 1, 0, 0)

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
    (batch,) = draw_batches(TensorSource(data((1, 8, 8))), partial(normal_latents, size=3), plain, 6, 1, 0, 0)
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
