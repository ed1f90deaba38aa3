"""Metrics of more than two matrices give what their functions give, and say beforehand what they lack."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from saddle.evaluation.evaluator import settings_of
from saddle.metrics.evidence import (
    ClassFID,
    ClassVendi,
    Evidence,
    LogCondition,
    Memorization,
    PathLength,
    ReadyGenerator,
    must_have,
)
from saddle.metrics.frechet import class_fid
from saddle.metrics.kernels import kid_of_subsets
from saddle.metrics.memorization import memorization
from saddle.metrics.neighbours import prdc
from saddle.metrics.two_sample import one_nearest_neighbour
from saddle.metrics.vendi import class_vendi


def layers(num: int, seed: int) -> dict[str, Tensor]:
    features = torch.randn(num, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"features": features, "logits": features[:, :2]}


REAL, FAKE, HELD_OUT = layers(80, 0), layers(60, 1), layers(50, 2)
LATENTS = torch.randn(40, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def linear(scales: list[float]) -> ReadyGenerator:
    """G(z) = diag(scales)·z of the same latents at every call."""
    return ReadyGenerator(lambda z: z * torch.tensor(scales), lambda num: LATENTS[:num])


def test_memorization_compares_the_training_set_with_the_held_out_one():
    found = Memorization("features")(Evidence(REAL, FAKE, HELD_OUT))
    sides = REAL["features"], FAKE["features"]
    assert found == memorization(*sides, held_out=HELD_OUT["features"])
    copies = Memorization("features")(Evidence(REAL, REAL, HELD_OUT))
    assert copies["nearer_train"] == 50 / 80 + 30 / 80 * copies_beyond(50)


def copies_beyond(num: int) -> float:
    """Share of the later training rows that are nearer to the first ``num`` than to held-out ones."""
    x, first, held_out = REAL["features"][num:], REAL["features"][:num], HELD_OUT["features"]
    nearer = torch.cdist(x, first).amin(1) < torch.cdist(x, held_out).amin(1)
    return float(nearer.double().mean())


def test_a_class_is_the_one_that_the_classifier_finds_likeliest():
    sides = REAL["features"], FAKE["features"]
    classes = [(side["features"][:, 1] > side["features"][:, 0]).long() for side in (REAL, FAKE)]
    evidence = Evidence(REAL, FAKE)
    expected = class_fid(*sides, real_classes=classes[0], fake_classes=classes[1])
    assert ClassFID("features", "logits")(evidence) == expected
    assert ClassVendi("features", "logits")(evidence) == class_vendi(*sides, fake_classes=classes[1])


def test_the_generators_own_metrics_see_its_map():
    evidence = Evidence({}, {}, generator=linear([1.0, 10.0]))
    found = LogCondition(num=16)(evidence)
    assert_close(found["log_condition"], 2 * torch.log(torch.tensor(10.0)).item(), rtol=1e-9, atol=0)
    straight = PathLength(num=10, interpolate=torch.lerp)(evidence)
    steps = (LATENTS[10:20] - LATENTS[:10]) * torch.tensor([1.0, 10.0])
    # a difference over ε = 0.01 of numbers of size 10: rounding of 1e-15/0.01, squared
    assert_close(straight["path_length"], float(steps.square().sum(1).mean()), rtol=1e-9, atol=0)
    doubled = PathLength(num=10, interpolate=torch.lerp, features=lambda x: 2 * x)(evidence)
    assert_close(doubled["path_length"], 4 * straight["path_length"], rtol=1e-9, atol=0)


def test_what_a_metric_lacks_is_refused_before_anything_is_computed():
    judges = {"memorization": Memorization("features"), "log_condition": LogCondition()}
    must_have(judges, has_held_out=True, has_generator=True)
    with pytest.raises(ValueError, match=r"memorization must have .* not seen; got none\. Say held_out="):
        must_have(judges, has_held_out=False, has_generator=True)
    with pytest.raises(ValueError, match=r"log_condition must have the generator .* Give a run"):
        must_have(judges, has_held_out=True, has_generator=False)
    must_have({"class_fid": ClassFID("features", "logits")}, has_held_out=False, has_generator=False)


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"must have the layer logits; these features have features\."):
        ClassVendi("features", "logits")(Evidence({"features": LATENTS}, {"features": LATENTS}))


def test_the_default_features_of_a_path_are_the_samples_themselves():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Unflatten(1, (2, 2, 2)))
    evidence = Evidence({}, {}, generator=ReadyGenerator(network, lambda num: LATENTS[:num]))
    flat = ReadyGenerator(lambda z: network(z).flatten(1), lambda num: LATENTS[:num])
    assert PathLength(num=5)(evidence) == PathLength(num=5)(Evidence({}, {}, generator=flat))


def test_settings_tell_what_moves_a_metrics_number_and_nothing_else():
    measures = {
        "features": {
            "prdc": partial(prdc, k=4, block_size=7),
            "one_nn": one_nearest_neighbour,
            "kid_of_subsets": partial(kid_of_subsets, seed=3, subset_size=50),
        }
    }
    assert settings_of(measures, {"log_condition": LogCondition(num=8)}) == {
        "prdc": "prdc(density_k=5, k=4)",  # also what was left as it is
        "one_nn": "one_nearest_neighbour()",
        "kid_of_subsets": "kid_of_subsets(num_subsets=100, subset_size=50)",
        "log_condition": "LogCondition(num=8)",
    }
