"""Consistency of the discriminator under small moves: by hand on linear critics, and pixel by pixel."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dynamics_laws import every_calculus
from oracles import Linear
from saddle.game.calculus import AUTOGRAD, BoundDiscriminator
from saddle.game.game import Batch, Game
from saddle.game.losses import Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.consistency import (
    BalancedConsistency,
    Consistency,
    LatentConsistency,
    nearby_latents,
)
from saddle.game.penalties.generator import latent_diversity
from saddle.game.transforms import gaussian


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def batch_of(real: Tensor) -> Batch:
    return Batch(real, normal(len(real), 3, seed=8), torch.zeros(len(real)))


def evaluate(penalty, critic: nn.Module, real: Tensor, fake: Tensor, numbers: Tensor, calculus=AUTOGRAD):
    """The penalty and its gradient in the critic's parameters."""
    network = Network(critic)

    def loss(vector: Tensor):
        bound = BoundDiscriminator(network.bind(vector, {}), calculus)
        value = penalty(bound, batch_of(real), fake, uniform=numbers)
        return value, {"value": value.detach()}

    gradient, logs = calculus.derivative(loss, network.flatten())
    return logs["value"], gradient


# ---- points


@every_calculus
@pytest.mark.parametrize("num", [1, 2, 16])
def test_a_linear_critic_is_charged_for_its_weight_along_the_jitter(num, calculus):
    """D(x) − D(x + δ) = −w·δ whatever x: λE[(w·δ)²], with gradient 2λE[(w·δ)δ]."""
    weight, numbers = normal(2, seed=1), uniform(num, 2, seed=2)
    moves = 0.1 * gaussian(numbers)
    of_real = [sum(weight * move) ** 2 for move in moves]
    for penalty, times in (
        (Consistency(3.0, jitter=0.1), 3.0),
        (BalancedConsistency(3.0, 2.0, jitter=0.1), 5.0),  # both kinds share the numbers
    ):
        real, fake = normal(num, 2, seed=3), normal(num, 2, seed=4)
        value, gradient = evaluate(penalty, Linear(weight), real, fake, numbers, calculus)
        # D(x) − D(x + δ) cancels: numbers of order 1 leave differences of order 0.1
        assert_close(value, times * sum(of_real) / num, rtol=1e-12, atol=1e-15)
        expected = 2 * times * torch.stack([sum(weight * move) * move for move in moves]).mean(0)
        assert_close(gradient, expected, rtol=1e-11, atol=1e-14)


def test_each_kind_has_its_weight():
    class Square(nn.Module):
        """D(x) = a·x² in one dimension, so that the place matters."""

        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor(1.0))

        def forward(self, samples: Tensor) -> Tensor:
            return self.a * samples[:, 0].square()

    real, fake, numbers = torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[0.9]])
    move = gaussian(numbers).item()
    on_real, on_fake = ((1 - (1 + move) ** 2) ** 2, (4 - (2 + move) ** 2) ** 2)
    value, _ = evaluate(Consistency(3.0, jitter=1.0), Square(), real, fake, numbers)
    assert_close(value.item(), 3 * on_real)
    value, _ = evaluate(BalancedConsistency(3.0, 5.0, jitter=1.0), Square(), real, fake, numbers)
    assert_close(value.item(), 3 * on_real + 5 * on_fake)


def test_penalties_are_means_over_samples():
    real, fake, numbers = normal(8, 2, seed=1), normal(8, 2, seed=2), uniform(8, 2, seed=3)
    critic = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
    penalty = BalancedConsistency(3.0, 2.0, jitter=0.3)
    whole = evaluate(penalty, critic, real, fake, numbers)
    halves = [
        evaluate(penalty, critic, real[part], fake[part], numbers[part]) for part in (slice(4), slice(4, 8))
    ]
    for index in range(2):
        assert_close(whole[index], (halves[0][index] + halves[1][index]) / 2)


@every_calculus
@pytest.mark.parametrize("event", [(2,), (1, 4, 4)])
def test_a_critic_that_does_not_look_is_charged_exactly_nothing(event, calculus):
    numbers = uniform(4, Consistency(1.0).num_uniform(event))
    for penalty in (Consistency(10.0), BalancedConsistency(10.0, 10.0)):
        value, gradient = evaluate(
            penalty, Linear(torch.zeros(event)), normal(4, *event), normal(4, *event), numbers, calculus
        )
        assert value.item() == 0
        assert not gradient.any()


# ---- images


def moved_by_hand(image: Tensor, numbers: Tensor, reach: int) -> Tensor:
    """Flip if the first number is below ½, then shift: pixel (i, j) shows (i + di, j + dj), or 0 outside."""
    channels, height, width = image.shape
    down, right = (int(numbers[index].item() * (2 * reach + 1)) - reach for index in (4, 5))
    flipped = [
        [[image[c, i, width - 1 - j if numbers[0] < 0.5 else j] for j in range(width)] for i in range(height)]
        for c in range(channels)
    ]
    out = torch.zeros_like(image)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                if 0 <= i + down < height and 0 <= j + right < width:
                    out[c, i, j] = flipped[c][i + down][j + right]
    return out


@every_calculus
def test_images_are_flipped_and_shifted_pixel_by_pixel(calculus):
    real, fake, numbers = normal(6, 2, 8, 8, seed=1), normal(6, 2, 8, 8, seed=2), uniform(6, 8, seed=3)
    assert 0 < (numbers[:, 0] < 0.5).sum() < 6  # some are flipped, some are not
    critic = Linear(normal(2, 8, 8, seed=4))
    expected = [
        sum(
            (critic(x[None]) - critic(moved_by_hand(x, u, reach=2)[None])).item() ** 2
            for x, u in zip(images, numbers, strict=True)
        )
        / 6
        for images in (real, fake)
    ]
    value, _ = evaluate(Consistency(3.0, translation=0.25), critic, real, fake, numbers, calculus)
    assert_close(value.item(), 3 * expected[0])
    penalty = BalancedConsistency(3.0, 2.0, translation=0.25)
    value, _ = evaluate(penalty, critic, real, fake, numbers, calculus)
    assert_close(value.item(), 3 * expected[0] + 2 * expected[1])


def test_a_critic_that_is_the_same_for_mirror_images_is_charged_only_for_shifts():
    images, numbers = normal(6, 1, 8, 8, seed=1), uniform(6, 8, seed=3)
    critic = Linear(torch.ones(1, 8, 8))
    still, _ = evaluate(Consistency(1.0, translation=0.0), critic, images, images, numbers)
    assert_close(still.item(), 0.0, atol=1e-26, rtol=0)  # sums of 64 numbers in another order, squared
    shifted, _ = evaluate(Consistency(1.0, translation=0.25), critic, images, images, numbers)
    assert shifted > 1e-3


@pytest.mark.parametrize("event", [(2,), (1, 4, 4)])
def test_each_sample_of_a_pack_is_moved_on_its_own(event):
    """A packed critic that adds up its samples: the squared difference is that of the pair's sum."""
    real, weight = normal(6, *event, seed=1), normal(*event, seed=2)
    penalty = Consistency(1.0, translation=0.25, jitter=0.3)
    numbers = uniform(6, penalty.num_uniform(event), seed=3)

    def alone(samples: Tensor) -> Tensor:
        return (samples.reshape(-1, *event) * weight).flatten(1).sum(1)

    def paired(samples: Tensor) -> Tensor:
        return alone(samples).view(-1, 2).sum(1)

    differences: list[Tensor] = []

    class Recording(BoundDiscriminator):
        def __call__(self, samples: Tensor) -> Tensor:
            differences.append(super().__call__(samples))
            return differences[-1]

    penalty(Recording(alone, AUTOGRAD), batch_of(real), real, uniform=numbers)
    packed = real.reshape(3, 2 * event[0], *event[1:])
    value = penalty(BoundDiscriminator(paired, AUTOGRAD), batch_of(packed), packed, uniform=numbers)
    assert_close(value, (differences[0] - differences[1]).view(3, 2).sum(1).square().mean())


# ---- latents


def linear_game(**parts: object) -> Game:
    """G(z) = Az, D(x) = w·x, three latents to two entries."""
    generator = nn.Linear(3, 2, bias=False)
    generator.weight.data = normal(2, 3, seed=5)
    return Game(Network(generator), Network(Linear(normal(2, seed=6))), Wasserstein(), **parts)


@pytest.mark.parametrize("num", [1, 2, 5])
@every_calculus
def test_zcr_on_a_linear_game_is_known_in_closed_form(num, calculus):
    """δ = s·z', z' the next latent: λ_D s²E[(w·Az')²] and −λ_G s²E[‖Az'‖²]."""
    game = linear_game(
        calculus=calculus,
        penalties={"zcr": LatentConsistency(5.0, std=0.2)},
        generator_penalties={"zcr": lambda *a: latent_diversity(*a, weight=0.5, std=0.3)},
    )
    batch, weight, slope = batch_of(normal(num, 2)), normal(2, 3, seed=5), normal(2, seed=6)
    following = [batch.latent[(index + 1) % num] for index in range(num)]
    bare, players = linear_game(calculus=calculus), game.init()

    gradient, logs = game.discriminator_gradient(players, batch)
    along = [(slope @ weight @ z).item() for z in following]
    assert_close(logs["penalty/zcr"].item(), 5 * 0.04 * sum(a**2 for a in along) / num)
    expected = 2 * 5 * 0.04 * sum(a * (weight @ z) for a, z in zip(along, following, strict=True)) / num
    assert_close(gradient - bare.discriminator_gradient(players, batch)[0], expected)

    gradient, logs = game.generator_gradient(players, batch)
    size = sum((weight @ z).square().sum() for z in following) / num
    assert_close(logs["penalty/generator_zcr"], -0.5 * 0.09 * size)
    expected = -2 * 0.5 * 0.09 * sum(torch.outer(weight @ z, z) for z in following) / num
    assert_close(gradient - bare.generator_gradient(players, batch)[0], expected.flatten())


def test_a_generator_or_critic_that_is_constant_is_charged_exactly_nothing():
    penalty = LatentConsistency(5.0)
    game = linear_game(penalties={"zcr": penalty})
    for players in (
        game.init()._replace(generator=torch.zeros(6)),
        game.init()._replace(discriminator=torch.zeros(2)),
    ):
        gradient, logs = game.discriminator_gradient(players, batch_of(normal(4, 2)))
        assert logs["penalty/zcr"] == 0
        assert torch.isfinite(gradient).all()


def test_latents_are_moved_by_independent_ones_of_the_given_size():
    latent = normal(40_000, 2)
    moves = nearby_latents(latent, 0.03) - latent
    # five standard errors of 80,000 draws: σ/√n, σ/√(2n), and 1/√n of a correlation
    assert_close(moves.mean().item(), 0.0, atol=5 * 0.03 / 280, rtol=0)
    assert_close(moves.std().item(), 0.03, atol=5 * 0.03 / 400, rtol=0)
    correlation = torch.corrcoef(torch.stack([moves.flatten(), latent.flatten()]))[0, 1]
    assert_close(correlation.item(), 0.0, atol=5 / 280, rtol=0)


def test_zcr_shows_packs_to_a_packing_discriminator():
    generator = nn.Linear(3, 2, bias=False)
    game = Game(
        Network(generator),
        Network(Linear(normal(4, seed=6))),
        Wasserstein(),
        {"zcr": LatentConsistency(5.0, std=0.2)},
        pack=2,
    )
    batch = batch_of(normal(4, 2))
    pairs = generator(batch.latent.roll(-1, 0)).detach().view(2, 4)
    _, logs = game.discriminator_gradient(game.init(), batch)
    assert_close(logs["penalty/zcr"], 5 * 0.04 * (pairs @ normal(4, seed=6)).square().mean())
