"""Parts with random numbers or a memory: DRAGAN, LeCam, transforms, packing, and how they ride along."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from oracles import dirac_gan
from saddle.data.sampling import draw_batches, normal_latents
from saddle.data.sources import TensorSource
from saddle.dynamics import Alternating
from saddle.dynamics.averages import ExponentialAverage
from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.calculus import AUTOGRAD, FUNCTIONAL, BoundDiscriminator
from saddle.game.game import Batch, Game
from saddle.game.losses import NonSaturating, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import Dragan, DraganCentred, LeCam, LeCamMemory, r1
from saddle.game.penalties.generator import JacobianClamping, mode_seeking, nagarajan_kolter
from saddle.game.transforms import AdaptiveAugment, Count, InstanceNoise, Probability, augment
from saddle.models import dcgan, mlp
from saddle.models.minibatch import MinibatchDiscrimination, MinibatchStandardDeviation
from saddle.models.normalization import (
    BATCH,
    GROUP,
    INSTANCE,
    LAYER,
    NONE,
    SPECTRAL,
    WEIGHT,
    SpectralNorm,
    for_sampling,
)
from saddle.rounds.execution import eager, start


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch_of(real: Tensor) -> Batch:
    return Batch(real, gaussian(len(real), 3, seed=1), random(len(real), seed=2))


SLOPE = torch.tensor([3.0, 4.0], dtype=torch.float64)  # length 5
linear = BoundDiscriminator(lambda samples: samples @ SLOPE, AUTOGRAD)


# ---- penalties


@pytest.mark.parametrize("penalty", [Dragan(10.0), DraganCentred(10.0)])
def test_dragan_on_a_linear_critic_is_its_slope_against_the_target(penalty):
    batch = batch_of(gaussian(6, 2))
    # clipping in the centred form would flatten the slope: stay well inside
    value = penalty(linear, batch._replace(real=0.1 * batch.real), batch.real, uniform=random(6, 2))
    assert_close(value.item(), 10.0 * (5.0 - 1.0) ** 2)


def test_dragan_looks_where_its_authors_noise_leads():
    batch, uniform, seen = batch_of(gaussian(5, 2)), random(5, 2, seed=3), []

    def discriminator(samples: Tensor) -> Tensor:
        seen.append(samples.detach())
        return samples.square().sum(1)

    Dragan(1.0)(BoundDiscriminator(discriminator, AUTOGRAD), batch, batch.real, uniform=uniform)
    noise = 0.5 * batch.real.std() * uniform
    assert_close(seen[0], batch.real + batch.mix[:, None] * noise)
    assert ((seen[0] - batch.real) >= 0).all()  # one-sided


def test_lecam_is_its_formula_and_its_averages_follow_the_logits():
    penalty = LeCam(0.3, decay=0.9)
    real, fake = gaussian(4, 2), gaussian(4, 2, seed=5)
    memory = LeCamMemory(torch.tensor(0.7), torch.tensor(-0.2))
    value, seen = penalty(linear, batch_of(real), fake, memory=memory)
    assert_close(seen["diag/lecam_real_logit"], (real @ SLOPE).mean())
    assert_close(seen["diag/lecam_fake_logit"], (fake @ SLOPE).mean())
    assert_close(value, 0.3 * ((real @ SLOPE + 0.2).square().mean() + (fake @ SLOPE - 0.7).square().mean()))
    moved = penalty.advance(
        memory, {"diag/lecam_real_logit": torch.tensor(2.0), "diag/lecam_fake_logit": torch.tensor(-1.0)}
    )
    assert_close([moved.real.item(), moved.fake.item()], [0.9 * 0.7 + 0.1 * 2.0, 0.9 * -0.2 - 0.1 * 1.0])
    assert penalty.init(torch.zeros(3)) == (0.0, 0.0)


# ---- penalties on the generator


def points_game(**parts: object) -> Game:
    torch.manual_seed(0)
    networks = mlp.Generator(3, (2,), [8], 0.2), mlp.Discriminator((2,), [8], 0.2, pack=parts.get("pack", 1))
    return Game(*map(Network, networks), NonSaturating(), **parts)


def test_nagarajan_kolter_is_the_squared_gradient_of_the_discriminator():
    game, batch = points_game(), batch_of(gaussian(6, 2))
    players = game.init()
    gradient, _ = game.discriminator_gradient(players, batch)
    value = nagarajan_kolter(game, players, batch, game.generate(players, batch), eta=0.5)
    assert_close(value.detach(), 0.5 * gradient.square().sum())


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_nagarajan_kolter_damps_the_bilinear_game_as_published(sigma):
    """L_D = σθψ has ∇_ψL_D = σθ, so the term adds 2ησ²θ to G's gradient."""
    term = {"nk": partial(nagarajan_kolter, eta=0.3)}
    plain = dirac_gan(Wasserstein(), calculus=FUNCTIONAL)
    game = Game(
        plain.generator, plain.discriminator, plain.loss, calculus=FUNCTIONAL, generator_penalties=term
    )
    batch = Batch(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1))
    players = game.init()._replace(generator=torch.tensor([sigma]), discriminator=torch.tensor([0.7]))
    with_term, _ = game.generator_gradient(players, batch)
    without, _ = plain.generator_gradient(players, batch)
    assert_close(with_term - without, torch.tensor([2 * 0.3 * sigma]))


def test_mode_seeking_of_a_linear_generator_is_its_inverse_stretch():
    game = Game(
        Network(nn.Linear(1, 1, bias=False)), Network(mlp.Discriminator((1,), [4], 0.2)), NonSaturating()
    )
    players = game.init()._replace(generator=torch.tensor([-4.0]))
    batch = Batch(torch.zeros(5, 1), gaussian(5, 1), torch.zeros(5))
    value = mode_seeking(game, players, batch, game.generate(players, batch), weight=2.0)
    assert_close(value.item(), 2.0 / (4.0 + 1e-5))


@pytest.mark.parametrize(("stretch", "expected"), [(5.0, 0.0), (0.25, 0.75**2), (23.0, 3.0**2)])
def test_jacobian_clamping_charges_only_what_leaves_the_interval(stretch, expected):
    game = Game(
        Network(nn.Linear(3, 3, bias=False)), Network(mlp.Discriminator((3,), [4], 0.2)), NonSaturating()
    )
    players = game.init()._replace(generator=(stretch * torch.eye(3)).flatten())
    batch = Batch(torch.zeros(5, 3), gaussian(5, 3), torch.zeros(5))
    value = JacobianClamping(1.0)(game, players, batch, game.generate(players, batch))
    assert_close(value.item(), expected, atol=1e-9, rtol=1e-9)  # 1e-12 under the root


def test_jacobian_clamping_refuses_an_empty_interval():
    with pytest.raises(ValueError, match=r"low must lie between 0 and high; got 3\.0 and 2\.0\. Swap"):
        JacobianClamping(1.0, low=3.0, high=2.0)


# ---- transforms


def test_instance_noise_is_normal_and_vanishes_on_schedule():
    transform = InstanceNoise(0.5, num_rounds=10)
    uniform, zeros = random(20_000, 2), torch.zeros(20_000, 2)
    noise = transform(zeros, uniform, Count(torch.tensor(0.0)))
    assert_close(noise.mean().item(), 0.0, atol=4 * 0.5 / 200, rtol=0)  # 4 standard errors of 40,000 draws
    assert_close(noise.std().item(), 0.5, atol=4 * 0.5 / 283, rtol=0)  # likewise, σ/√(2n)
    assert_close(transform(zeros, uniform, Count(torch.tensor(5.0))), 0.5 * noise)
    assert (transform(zeros, uniform, Count(torch.tensor(12.0))) == 0).all()
    assert transform.advance(transform.init(zeros), {}).rounds == 1
    assert torch.isfinite(
        transform(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]]), Count(torch.tensor(0.0)))
    ).all()


def images(num: int = 4) -> Tensor:
    return gaussian(num, 1, 8, 8)


NUMBERS = {"translation": 0.25, "cutout": 0.5, "color": 1.0}


def test_nothing_chosen_changes_nothing():
    assert torch.equal(augment(images(), random(4, 8), torch.zeros(4, 6), **NUMBERS), images())


def test_each_augmentation_is_what_it_says():
    whole = gaussian(1, 3, 8, 8)

    def one(which: int, *draws: float) -> Tensor:
        chosen, uniform = torch.zeros(1, 6), torch.full((1, 8), 0.5)
        chosen[0, which] = 1.0
        for index, draw in zip(((0,), (1,), (2,), (3,), (4, 5), (6, 7))[which], draws, strict=True):
            uniform[0, index] = draw
        return augment(whole, uniform, chosen, **NUMBERS)

    assert torch.equal(one(0, 0.2), whole.flip(-1))
    assert torch.equal(one(0, 0.8), whole)
    assert_close(one(1, 0.9), whole + 0.4)
    grey = whole.mean(1, keepdim=True)
    for draw, factor in ((0.0, 0.0), (0.5, 1.0), (1.0, 2.0)):  # the published range of saturation is [0, 2]
        assert_close(one(2, draw), grey + factor * (whole - grey))
    for draw, factor in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5)):  # the published range of contrast is [0.5, 1.5]
        assert_close(one(3, draw), whole.mean() + factor * (whole - whole.mean()))
    down = torch.zeros_like(whole)  # reach 2 of 8 pixels: the draw 0 is −2, so row i shows row i − 2
    down[:, :, 2:] = whole[:, :, :6]
    assert torch.equal(one(4, 0.0, 0.5), down)
    assert torch.equal(one(4, 0.5, 0.5), whole)
    cut = one(5, 0.5, 0.5)  # centre 4, half side 2: rows and columns 2 … 6
    assert (cut[:, :, 2:7, 2:7] == 0).all()
    cut[:, :, 2:7, 2:7] = whole[:, :, 2:7, 2:7]
    assert torch.equal(cut, whole)


def test_augmentations_are_differentiable_and_can_be_lifted():
    several = gaussian(3, 4, 1, 8, 8)
    uniform, chosen = random(3, 4, 8), (random(3, 4, 6, seed=9) < 0.5).to(torch.float64)

    def total(x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return augment(x, u, c, **NUMBERS).square().sum()

    lifted = torch.func.vmap(torch.func.grad(total))(several, uniform, chosen)
    for index in range(3):
        solo = torch.func.grad(total)(several[index], uniform[index], chosen[index])
        assert_close(lifted[index], solo)


def test_adaptive_augmentation_follows_the_sign_of_the_logits():
    transform = AdaptiveAugment(target=0.6, speed=0.01)
    memory = transform.init(torch.zeros(1))
    assert torch.equal(transform(images(), random(4, 14), memory), images())  # p starts at 0
    for _ in range(3):
        memory = transform.advance(memory, {"diag/real_sign": torch.tensor(0.9)})
    assert_close(memory.p.item(), 0.03)
    memory = transform.advance(memory, {"diag/real_sign": torch.tensor(0.1)})
    assert_close(memory.p.item(), 0.02)
    always = transform(images(), random(4, 14), Probability(torch.tensor(1.0)))
    uniform = random(4, 14)[:, :8]
    numbers = {"translation": 0.125, "cutout": 0.5, "color": 1.0}
    assert torch.equal(always, augment(images(), uniform, torch.ones(4, 6), **numbers))


def test_the_discriminator_sees_transformed_samples_and_penalties_do_so_too():
    class Double:
        def __call__(self, samples: Tensor) -> Tensor:
            return 2.0 * samples

    game, seeing = points_game(), points_game(transforms={"double": Double()})
    batch, players = batch_of(gaussian(6, 2)), game.init()
    assert_close(
        seeing.bind_discriminator(players, batch)(batch.real),
        game.bind_discriminator(players, batch)(2 * batch.real),
    )
    slope = game.bind_discriminator(players, batch).slope(2 * batch.real)
    assert_close(seeing.bind_discriminator(players, batch).slope(batch.real), 2 * slope)


# ---- packing


def test_packing_shows_samples_side_by_side_and_trains():
    game = points_game(pack=2, penalties={"r1": partial(r1, gamma=1.0)})
    samples = gaussian(6, 2)
    assert torch.equal(game.packed(samples), samples.reshape(3, 4))
    batch, players = batch_of(samples), game.init()
    assert game.bind_discriminator(players, batch)(game.packed(samples)).shape == (3,)
    gradients, logs = game.gradients(players, batch)
    assert torch.isfinite(gradients.generator).all()
    assert torch.isfinite(gradients.discriminator).all()
    pictures = Game(game.generator, game.discriminator, game.loss, pack=3).packed(gaussian(6, 2, 4, 4))
    assert pictures.shape == (2, 6, 4, 4)
    assert logs["penalty/r1"] > 0


def test_a_packed_discriminator_draws_its_dropout_once_a_pack():
    discriminator = mlp.Discriminator((2,), [8], 0.2, dropout=0.5, pack=2)
    game = Game(
        Network(mlp.Generator(3, (2,), [8], 0.2)),
        Network(discriminator),
        NonSaturating(),
        {"r1": partial(r1, gamma=1.0)},
        pack=2,
    )
    (batch,) = draw_batches(TensorSource(gaussian(20, 2)), partial(normal_latents, size=3), game, 6, 1, 0, 0)
    (name,) = batch.uniform.discriminator
    game.gradients(game.init(), batch)
    logits = game.bind_discriminator(game.init(), batch)(game.packed(batch.real))
    network = game.discriminator.bind(
        game.init().discriminator, {name: batch.uniform.discriminator[name][:3]}
    )
    assert torch.equal(logits, network(batch.real.reshape(3, 4)))


# ---- memory


def everything() -> Game:
    torch.manual_seed(0)
    return Game(
        Network(dcgan.Generator(3, 1, 2, BATCH)),
        Network(dcgan.Discriminator(1, 2, SPECTRAL)),
        NonSaturating(),
        {"lecam": LeCam(0.3), "dragan": Dragan(1.0)},
        generator_penalties={"ms": partial(mode_seeking, weight=0.1), "jc": JacobianClamping(0.1)},
        transforms={"noise": InstanceNoise(0.1, 5.0), "ada": AdaptiveAugment(speed=0.2)},
    )


def play(game: Game, num: int):
    dynamics, averages = Alternating(Adam(0.001), Adam(0.001)), {"ema": ExponentialAverage(0.9)}
    state = start(game, dynamics, averages, torch.device("cpu"))
    turn, data = eager(game, dynamics, averages), images(20).repeat(1, 1, 4, 4)[:, :, :28, :28]
    for index in range(num):
        batches = draw_batches(TensorSource(data), partial(normal_latents, size=3), game, 4, 2, 0, index)
        state, logs = turn(state, batches, index)
    return state, logs


def test_every_memory_advances_once_a_round():
    state, logs = play(everything(), 3)
    assert state.game["transform.noise"].rounds == 3
    assert state.game["regularizer.lecam"].real != 0
    assert set(state.game) == {"transform.noise", "transform.ada", "regularizer.lecam", "discriminator"}
    # the last round was played with the noise of two rounds before it
    assert_close(logs["diag/instance_noise_std"].item(), 0.1 * (1 - 2 / 5))
    assert logs["diag/ada_p"] == play(everything(), 2)[0].game["transform.ada"].p


def test_a_game_with_memory_trains_alike_both_ways():

    first, second = (play(everything(), 3)[0], play(everything().functional(), 3)[0])
    assert_close(tuple(first.players), tuple(second.players), atol=1e-10, rtol=0)


# ---- normalization


def test_spectral_norm_finds_the_largest_singular_value_and_torchs():
    for make in (lambda: nn.Linear(5, 4), lambda: nn.Conv2d(3, 4, 3), lambda: nn.ConvTranspose2d(3, 4, 3)):
        torch.manual_seed(1)
        layer = make()
        mine = SpectralNorm(layer)
        buffers = dict(mine.named_buffers(recurse=False))
        for _ in range(500):
            buffers = mine.iterate(layer.weight.detach(), buffers)
        matrix = mine.matrix(layer.weight.detach())
        sigma = buffers["u"] @ matrix @ buffers["v"]
        assert_close(sigma, torch.linalg.matrix_norm(matrix, 2), atol=1e-8, rtol=0)  # 500 iterations
        mine.u, mine.v = buffers["u"], buffers["v"]
        inputs = gaussian(2, 5) if isinstance(layer, nn.Linear) else gaussian(2, 3, 6, 6)
        torch.manual_seed(1)
        theirs = nn.utils.parametrizations.spectral_norm(make(), n_power_iterations=200)
        theirs(inputs)
        assert_close(mine(inputs), theirs.eval()(inputs), atol=1e-4, rtol=1e-4)


def test_spectral_norm_starts_near_its_value_and_bounds_the_sampling_generator():
    torch.manual_seed(0)
    network = Network(mlp.Generator(3, (2,), [8], 0.2, SPECTRAL))
    memory = network.init_memory()
    weight = network.unflatten(network.flatten())["layers.0.layer.weight"]
    sigma = memory["layers.0.u"] @ weight @ memory["layers.0.v"]
    true = torch.linalg.matrix_norm(weight, 2)
    assert_close(sigma, true, atol=0, rtol=0.05)  # 15 iterations from a random start
    module = for_sampling(network, network.flatten(), [])
    norm = module.layers[0]
    assert_close(norm.u @ norm.matrix(norm.layer.weight) @ norm.v, true, atol=1e-6, rtol=0)


@pytest.mark.parametrize("normalization", [NONE, BATCH, LAYER, GROUP, INSTANCE, WEIGHT, SPECTRAL])
def test_every_normalization_trains_in_both_players(normalization):
    torch.manual_seed(0)
    networks = dcgan.Generator(3, 1, 8, normalization), dcgan.Discriminator(1, 8, normalization)
    game = Game(*map(Network, networks), NonSaturating(), {"r1": partial(r1, gamma=0.1)})
    state, _ = play(game, 2)
    assert all(torch.isfinite(vector).all() for vector in state.players)


def test_weight_norm_keeps_the_papers_first_weights():
    torch.manual_seed(0)
    weights = dcgan.Discriminator(1, 32, WEIGHT).layers[2].weight
    assert_close(
        weights.std().item(), 0.02, atol=0, rtol=0.02
    )  # 32,768 numbers: relative error 1/√(2n) = 0.4 %


# ---- minibatch layers


def test_minibatch_standard_deviation_is_zero_for_a_collapsed_batch_and_right_otherwise():
    layer, inputs = MinibatchStandardDeviation(), gaussian(5, 3, 4, 4)
    appended = layer(inputs)[:, 3]
    assert_close(appended, (inputs.var(0, correction=0) + 1e-8).sqrt().mean().expand(5, 4, 4))
    assert_close(layer(inputs[:1].expand(5, 3, 4, 4))[:, 3], torch.full((5, 4, 4), 1e-4))  # √1e-8


def test_minibatch_discrimination_counts_the_likeness_of_the_others():
    torch.manual_seed(0)
    layer, inputs = MinibatchDiscrimination(4, 3, 2), gaussian(5, 4)
    projected = (inputs @ layer.project.weight.T).view(5, 3, 2)
    expected = torch.zeros(5, 3)
    for i in range(5):
        for j in range(5):
            if i != j:
                expected[i] += (-(projected[i] - projected[j]).abs().sum(1)).exp()
    assert_close(layer(inputs)[:, 4:], expected)
    assert_close(layer(inputs[:1].expand(5, 4))[:, 4:], torch.full((5, 3), 4.0))


def test_sgd_moves_packed_players_too():
    game = points_game(pack=2)
    state = Alternating(SGD(0.1), SGD(0.1)).init(game.init())
    assert state.generator.velocity.shape == game.init().generator.shape
