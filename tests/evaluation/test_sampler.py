"""A conditional generator is asked for every class alike, always for the same ones."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from conditional import MODES, STD, Centres, latents
from saddle.evaluation.evaluator import Sampler
from saddle.game.network import Network
from saddle.game.randomness import generator
from saddle.metrics.generators import log_condition_number, path_length
from saddle.models.normalization import BATCH

SAMPLER = Sampler(Network(Centres()), latents, batch_size=16, seed=0, num_classes=3)


def test_a_class_is_asked_for_as_often_as_any_other():
    """10,000 of three classes: chi-squared with 2 degrees of freedom below 18.4, P > 1e-4."""
    samples = SAMPLER(MODES.flatten(), 10_000)
    counts = torch.cdist(samples, MODES).argmin(1).bincount(minlength=3).double()
    assert ((counts - 10_000 / 3).square() / (10_000 / 3)).sum() < 18.4


def test_labels_come_from_a_stream_of_their_own_and_leave_the_latents_as_they_are():
    noise = SAMPLER(torch.zeros(6), 700) / STD
    expected = [latents(500, generator(0, "evaluation", index)) for index in range(2)]
    assert_close(noise, torch.cat(expected)[:700])
    labels = torch.cdist(SAMPLER(MODES.flatten(), 700), MODES).argmin(1)
    drawn = [torch.randint(3, (500,), generator=generator(0, "evaluation labels", i)) for i in range(2)]
    assert torch.equal(labels, torch.cat(drawn)[:700])


def test_the_first_samples_are_of_the_same_classes_however_many_are_drawn():
    many = SAMPLER(MODES.flatten(), 1100)
    for num in (1, 500, 501):
        assert torch.equal(SAMPLER(MODES.flatten(), num), many[:num])
    assert not torch.equal(replace(SAMPLER, seed=1)(MODES.flatten(), 20), many[:20])


class Normalized(nn.Module):
    """A class's centre, normalized over the batch: its standing statistics are those of all classes."""

    conditional = True

    def __init__(self) -> None:
        super().__init__()
        self.centres = Centres()
        self.norm = BATCH.after(2)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.norm(self.centres(latents, labels))


def test_standing_statistics_are_those_of_all_classes():
    network = Network(Normalized())
    vector = torch.cat([MODES.flatten(), torch.ones(2), torch.zeros(2)])
    sampler = Sampler(network, latents, batch_size=2000, seed=0, num_classes=3)
    norm = sampler.module(vector).norm
    # 64,000 samples, a coordinate of whose modes has a standard deviation of 1.3 at most: four errors
    assert_close(norm.running_mean, MODES.mean(0), atol=4 * 1.3 / 64_000**0.5, rtol=0)


def test_metrics_of_a_conditional_generator_move_within_a_class():
    """Its Jacobian is σI in every class; a path that changed class would have a length of some 1/ε²."""
    ready = SAMPLER.ready(SAMPLER.module(MODES.flatten()), torch.device("cpu"))
    condition = log_condition_number(ready.sample, ready.latents(20))["log_condition"]
    assert_close(condition, 0.0, atol=1e-9, rtol=0)  # round-off of singular values of one size
    found = path_length(ready.sample, nn.Flatten(), ready.latents(400))["path_length"]
    assert found < 1  # the speed is σ times an arc of some 2 in unit time
    classes = torch.cdist(ready.sample(torch.zeros(2500, 2)), MODES).argmin(1)
    assert torch.equal(classes[:1000], classes[1000:2000])
    assert (classes.bincount() > 700).all()


def test_a_conditional_generator_is_refused_data_without_classes():
    with pytest.raises(ValueError, match=r"must be asked for classes; got data without labels\. Choose"):
        Sampler(Network(Centres()), latents, batch_size=4, seed=0)
