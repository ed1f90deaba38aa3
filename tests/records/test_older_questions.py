"""Records of earlier versions: read by the names of today, and asking what today's runs ask."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from compositions import composed
from saddle.data.sampling import with_replacement
from saddle.records.older import upgraded, upgraded_choices
from saddle.records.questions import as_text, config_hash, labels, words
from saddle.training.assembly import assemble

EARLIER = {"saddle.data.sampling.normal_latents": "saddle.data.sampling.normal"}


def earlier(*chosen: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration of today, and the same as a record of before passes and latents' new names has it."""
    today: Any = OmegaConf.to_container(composed("data=ring8", "model=mlp", *chosen))
    before = deepcopy(today)
    del before["sampling"]
    before["model"]["latents"]["_target_"] = EARLIER[before["model"]["latents"]["_target_"]]
    return today, before


@pytest.mark.parametrize(
    ("before", "today"),
    [
        ("saddle.data.sampling.normal", "saddle.data.sampling.normal_latents"),
        ("saddle.data.sampling.uniform", "saddle.data.sampling.uniform_latents"),
        ("saddle.data.sampling.normal_latents", "saddle.data.sampling.normal_latents"),
        ("saddle.data.sampling.in_passes", "saddle.data.sampling.in_passes"),
        ("saddle.losses.Hinge", "saddle.game.losses.Hinge"),
        ("saddle.game.losses.Hinge", "saddle.game.losses.Hinge"),
        ("mine.data.sampling.normal", "mine.data.sampling.normal"),
    ],
)
def test_a_name_of_any_version_is_read_as_todays(before, today):
    assert upgraded({"a": [{"_target_": before}]}) == {"a": [{"_target_": today}]}
    assert upgraded({"a": before}) == {"a": before}  # another key's value is a word like any other


def test_only_a_runs_configuration_gets_the_choices_it_did_not_have():
    today, before = earlier()
    kept = deepcopy(before)
    assert upgraded(before) == today
    assert before == kept
    assert upgraded({"loss": {}}) == {"loss": {}}
    assert upgraded(today | {"sampling": {"mine": 1}})["sampling"] == {"mine": 1}
    assert upgraded({"inner": {"data": 1}}) == {"inner": {"data": 1}}


def test_an_earlier_run_asks_the_question_of_the_same_run_today():
    today, before = earlier()
    assert as_text(before) == as_text(today)
    assert config_hash(before) == config_hash(OmegaConf.create(before)) == config_hash(today)
    passes, _ = earlier("sampling=passes")
    assert config_hash(passes) != config_hash(today)


def test_a_comparison_with_earlier_runs_does_not_name_what_they_had_no_word_for():
    choices = {"data": "ring8", "model": "mlp", "loss": "hinge"}
    (today, _), (_, before) = earlier("loss=hinge"), earlier("loss=minimax")
    read = [
        words(today, choices | {"sampling": "replacement"}, None),
        words(before, choices | {"loss": "minimax"}, None),
    ]
    assert labels(read, {"loss"}).texts("") == ["loss=hinge", "loss=minimax"]
    assert upgraded_choices({"sampling": "passes"}) == {"sampling": "passes"}


def test_an_earlier_configuration_is_assembled_into_the_same_run():
    torch.set_default_dtype(torch.float32)  # of the data, as runs have it
    today, before = (assemble(OmegaConf.create(one)).member for one in earlier())
    assert before.order.func is today.order.func is with_replacement
    for one, other in zip(before.draw(3), today.draw(3), strict=True):
        assert torch.equal(one.real, other.real)
        assert torch.equal(one.latent, other.latent)
