"""Networks: shapes, first weights, dropout, and BatchNorm with its standing statistics."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap
from torch.testing import assert_close

from saddle.game.network import Network
from saddle.models import dcgan, mlp
from saddle.models.dropout import Dropout
from saddle.models.normalization import BATCH, INSTANCE, NONE, BatchNorm, for_sampling


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(make, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


# ---- shapes


@pytest.mark.parametrize("normalization", [NONE, BATCH])
@pytest.mark.parametrize("event", [(2,), (1, 8, 8), (3, 28, 28)])
@pytest.mark.parametrize("hidden", [[], [7], [16, 8]])
def test_mlp_players_have_the_events_shape(event, hidden, normalization):
    generator = mlp.Generator(5, event, hidden, 0.2, normalization)
    discriminator = mlp.Discriminator(event, hidden, 0.2)
    samples = generator(normal(4, 5))
    assert samples.shape == (4, *event)
    assert discriminator(samples).shape == (4,)
    assert discriminator(samples[:1]).shape == (1,)


@pytest.mark.parametrize("normalization", [NONE, BATCH])
@pytest.mark.parametrize("num_channels", [1, 3])
def test_dcgan_players_have_the_shape_of_28x28_images(num_channels, normalization):
    generator = dcgan.Generator(5, num_channels, 4, normalization)
    discriminator = dcgan.Discriminator(num_channels, 4, normalization)
    images = generator(normal(3, 5))
    assert images.shape == (3, num_channels, 28, 28)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (3,)
    assert discriminator(images[:1]).shape == (1,)


def test_an_mlp_generator_ends_as_it_is_told():
    latents = 50 * normal(4, 3)
    points = seeded(lambda: mlp.Generator(3, (2,), [8], 0.2))
    images = seeded(lambda: mlp.Generator(3, (2,), [8], 0.2, output=nn.Tanh()))
    assert points(latents).abs().max() > 1
    assert_close(images(latents), points(latents).tanh())


def test_an_mlp_is_the_formula_in_its_docstring():
    generator = seeded(lambda: mlp.Generator(3, (2,), [8], 0.2, BATCH))
    first, last = generator.layers[0], generator.layers[-1]
    latents = normal(6, 3)
    hidden = latents @ first.weight.T + first.bias
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    assert_close(generator(latents), hidden @ last.weight.T + last.bias)


def test_dropout_sits_behind_every_hidden_layer_of_a_discriminator_that_asks_for_it():
    def num_dropout(module: nn.Module) -> int:
        return sum(isinstance(layer, Dropout) for layer in module.modules())

    assert num_dropout(mlp.Discriminator((2,), [8, 8, 8], 0.2, dropout=0.3)) == 3
    assert num_dropout(mlp.Discriminator((2,), [8, 8, 8], 0.2)) == 0


# ---- first weights


@pytest.mark.parametrize(
    "make",
    [lambda: dcgan.Generator(64, 1, 32, BATCH), lambda: dcgan.Discriminator(1, 64, BATCH)],
    ids=["generator", "discriminator"],
)
def test_dcgan_starts_from_the_papers_weights(make):
    module = seeded(make)
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, BatchNorm)):
            mean = 1.0 if isinstance(layer, BatchNorm) else 0.0
            num = layer.weight.numel()
            # four standard errors of a mean and of a standard deviation
            assert_close(layer.weight.mean().item(), mean, atol=4 * 0.02 / math.sqrt(num), rtol=0)
            assert_close(layer.weight.std().item(), 0.02, atol=4 * 0.02 / math.sqrt(2 * num), rtol=0)
            assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_batch_norm_spares_the_discriminators_first_and_the_generators_last_layer():
    generator, discriminator = (
        dcgan.Generator(5, 1, 4, BATCH),
        dcgan.Discriminator(1, 4, BATCH),
    )
    assert [layer.num_features for layer in generator.modules() if isinstance(layer, BatchNorm)] == [
        8,
        4,
    ]
    assert [layer.num_features for layer in discriminator.modules() if isinstance(layer, BatchNorm)] == [8]


# ---- dropout


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_dropout_drops_a_share_p_and_keeps_the_mean(p):
    layer, num = Dropout(p, 10), 20_000
    layer.uniform = torch.rand(num, 10, generator=torch.Generator().manual_seed(0))
    found = layer(torch.ones(num, 10))
    assert set(found.unique().tolist()) <= {0.0, 1 / (1 - p)}
    error = math.sqrt(p * (1 - p) / (10 * num))  # of the share of dropped units
    assert_close((found == 0).double().mean().item(), p, atol=4 * error, rtol=0)
    assert_close(found.mean().item(), 1.0, atol=4 * error / (1 - p), rtol=0)


def test_dropout_drops_exactly_the_units_whose_uniform_number_is_below_p():
    layer = Dropout(0.25, 4)
    layer.uniform = torch.tensor([[0.0, 0.2499, 0.25, 0.99], [0.9, 0.1, 0.5, 0.2]])
    assert_close(layer(torch.full((2, 4), 3.0)), torch.tensor([[0.0, 0, 4, 4], [4, 0, 4, 0]]))


def test_dropout_does_nothing_in_evaluation_mode():
    layer, inputs = Dropout(0.9, 4), normal(3, 4)
    layer.uniform = torch.zeros(3, 4)
    assert layer.eval()(inputs) is inputs
    assert not layer.train()(inputs).any()


def test_dropout_draws_nothing_and_leaves_no_trace_in_a_state_dict():
    layer, before = Dropout(0.5, 4), torch.get_rng_state()
    layer(normal(3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert not layer.state_dict()


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0])
def test_a_dropout_share_out_of_range_is_refused(p):
    with pytest.raises(ValueError, match=rf"dropout p must lie in \[0, 1\); got {p}\. 0 turns it off"):
        Dropout(p, 4)


# ---- BatchNorm


@pytest.mark.parametrize("places", [[], [4, 4]])
def test_batch_norm_remembers_nothing(places):
    layer = BatchNorm(3)
    inputs = 5 + 2 * normal(16, 3, *places)
    first = layer(inputs)
    layer(10 * inputs)
    assert torch.equal(layer(inputs), first)
    axes = [0, 2, 3][: inputs.ndim - 1]
    assert_close(first.mean(axes), torch.zeros(3), atol=1e-14, rtol=0)  # round-off
    assert_close(first.var(axes, correction=0), torch.ones(3), atol=1e-4, rtol=0)  # BatchNorm's own ε = 1e-5
    assert list(layer.state_dict()) == ["weight", "bias"]
    Network(layer)  # accepted as a player's layer


GENERATORS = {
    "mlp": lambda: mlp.Generator(3, (2,), [8, 6], 0.2, BATCH),
    "dcgan": lambda: dcgan.Generator(3, 1, 2, BATCH),
}
every_generator = pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)


def standing_batches() -> list[tuple[Tensor]]:
    return [(normal(12, 3, seed=seed),) for seed in range(5)]


@every_generator
def test_standing_statistics_are_the_means_of_those_of_the_batches(make):
    """Of every layer's input as training sees it: the layers before it normalize by the batch."""
    module = seeded(make)
    inputs: dict[str, list[Tensor]] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.BatchNorm1d, BatchNorm)):
            layer.register_forward_pre_hook(
                lambda _, args, name=name: inputs.setdefault(name, []).append(args[0])
            )
    for (latents,) in standing_batches():
        module(latents)
    for name, layer in for_sampling(
        Network(seeded(make)), Network(module).flatten(), standing_batches()
    ).named_modules():
        if name in inputs:
            batches = [batch.transpose(0, 1).flatten(1) for batch in inputs[name]]
            assert_close(layer.running_mean, torch.stack([batch.mean(1) for batch in batches]).mean(0))
            # unbiased, in torch's convention
            assert_close(layer.running_var, torch.stack([batch.var(1) for batch in batches]).mean(0))
            assert layer.num_batches_tracked == len(batches)


@every_generator
def test_a_sample_does_not_depend_on_the_others_in_its_batch(make):
    network = Network(seeded(make))
    module = for_sampling(network, network.flatten(), standing_batches())
    latents = normal(8, 3, seed=9)
    together = module(latents)
    one_by_one = torch.cat([module(latent) for latent in latents.split(1)])
    assert_close(one_by_one, together, atol=1e-12, rtol=0)  # sums in another order, values below 10
    assert not torch.allclose(network.module(latents), network.module(torch.cat([latents, 9 * latents]))[:8])


@every_generator
def test_sampling_uses_the_given_weights_and_leaves_the_player_alone(make):
    network = Network(seeded(make))
    vector, before = 1.5 * network.flatten(), network.flatten()
    module = for_sampling(network, vector, standing_batches())
    assert_close(
        Network(seeded(make)).unflatten(vector),
        dict(module.named_parameters()),
        rtol=0,
        atol=0,
        check_device=False,
    )
    assert torch.equal(network.flatten(), before)
    assert network.module.training
    assert not module.training
    Network(network.module)  # still without running statistics


def test_sampling_equals_training_mode_where_standing_statistics_are_those_of_the_batch():
    """One standing batch: evaluation on it differs from training only by Bessel's correction."""
    network, latents = Network(seeded(GENERATORS["mlp"])), normal(100_000, 3)
    module = for_sampling(network, network.flatten(), [(latents,)])
    assert_close(
        module(latents), network.module(latents).detach(), atol=1e-4, rtol=0
    )  # 1/(2·100,000), few layers


def test_a_network_without_batch_norm_needs_no_latents_to_sample():
    network = Network(seeded(lambda: mlp.Generator(3, (2,), [8], 0.2)))

    def never():
        raise AssertionError("drawn in vain")
        yield

    module = for_sampling(network, network.flatten(), never())
    assert torch.equal(module(normal(4, 3)), network.module(normal(4, 3)))


def test_standing_statistics_are_those_of_a_generator_whose_dropout_is_off():
    def make(p: float) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), Dropout(p, 8), BatchNorm(8))

    with_dropout, without = (Network(seeded(lambda: make(p))) for p in (0.5, 0.0))  # noqa: B023
    found, expected = (
        for_sampling(one, one.flatten(), standing_batches()) for one in (with_dropout, without)
    )
    assert_close(found[2].running_var, expected[2].running_var)


# ---- instance normalization


@pytest.mark.parametrize("places", [(), (1,), (1, 1)])
def test_instance_normalization_refuses_maps_of_one_place(places):
    layer = INSTANCE.after(3)
    with pytest.raises(
        ValueError, match=r"must see feature maps .*; got \(4, 3.*\), one .*Take layer or group"
    ):
        layer(torch.ones(4, 3, *places))


def test_instance_normalization_gives_every_map_mean_0_and_variance_1():
    maps = normal(2, 3, 5, 4)
    found = INSTANCE.after(3)(maps)
    assert_close(found.mean((2, 3)), torch.zeros(2, 3), atol=1e-12, rtol=0)  # round-off of 20 numbers
    spread = maps.var((2, 3), correction=0)
    assert_close(found.var((2, 3), correction=0), spread / (spread + 1e-5))  # torch's ε


# ---- lifting


@settings(max_examples=10, deadline=None)  # no deadline: the first call warms torch up
@given(seed=st.integers(0, 99))
@pytest.mark.parametrize("name", ["mlp", "dcgan"])
def test_networks_can_be_lifted_over_members(name, seed):
    network = Network(seeded(GENERATORS[name]))
    vectors = torch.stack([network.flatten() * scale for scale in (0.5, 1.0, 2.0)])
    latents = normal(3, 4, 3, seed=seed)
    lifted = vmap(lambda vector, latent: network.bind(vector, {})(latent))(vectors, latents)
    for index in range(3):
        # sums in another order; BatchNorm divides by the spread of 4 samples
        assert_close(lifted[index], network.bind(vectors[index], {})(latents[index]), atol=1e-10, rtol=1e-10)


def test_orthogonal_weights_have_all_singular_values_equal_to_the_gain_and_no_bias():
    def initialize(layer: nn.Linear) -> None:
        mlp.orthogonal(layer, gain=0.8)

    for module in (
        mlp.Generator(6, [2], [5, 4], 0.0, initialize=initialize),
        mlp.Discriminator([2], [5, 4], 0.0, initialize=initialize),
    ):
        for layer in module.layers:
            if isinstance(layer, nn.Linear):
                values = torch.linalg.svdvals(layer.weight)
                assert_close(values, torch.full_like(values, 0.8))
                assert not layer.bias.any()


def test_inputs_are_scaled_and_hidden_layers_have_the_activation_that_was_chosen():
    plain = mlp.Discriminator([2], [5], 0.0, activation=nn.Sigmoid())
    scaled = mlp.Discriminator([2], [5], 0.0, activation=nn.Sigmoid(), input_scale=0.25)
    scaled.load_state_dict(plain.state_dict())
    points = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert_close(scaled(4 * points), plain(points))
    first, last = (layer for layer in plain.layers if isinstance(layer, nn.Linear))
    assert_close(plain(points), last(first(points).sigmoid()).squeeze(-1))
