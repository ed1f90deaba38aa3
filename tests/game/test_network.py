"""Networks as functions of one flat vector: to it and back, bound, and left as they were."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.testing import assert_close

from game_parts import NETWORKS, image_networks, points_networks, seeded
from saddle.game.network import Network
from saddle.models import dcgan
from saddle.models.normalization import BATCH
from saddle.models.toy import Linear, Point


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
