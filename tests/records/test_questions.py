"""Labels are what a user would type: typing them gives the configuration back."""

from collections.abc import Iterator

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from saddle.records.questions import (
    as_text,
    chosen,
    config_hash,
    flatten,
    labels,
    question,
    typed,
    typed_keys,
    words,
)
from saddle.training.configuration import config_directory

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
CONF = config_directory()


@pytest.fixture
def compose() -> Iterator:
    """``compose(*overrides)``: resolved content and Hydra's choices."""

    def make(*overrides: str) -> tuple[dict, dict]:
        config = hydra.compose("train", ["name=n", *overrides], return_hydra_config=True)
        choices = chosen(config.hydra.runtime.choices)
        content = OmegaConf.to_container(config, resolve=False)
        content.pop("hydra")
        return OmegaConf.to_container(OmegaConf.create(content), resolve=True), choices

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        yield make


@given(LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=2))
def test_hydra_reads_a_typed_value_back(value):
    assert OverridesParser.create().parse_override(f"key={typed(value)}").value() == value


def test_a_command_line_names_its_keys():
    line = ["scripts/train.py", "-m", "loss=hinge,minimax", "+a.b=1", "~c", "++d=2", "seed=range(8)"]
    assert typed_keys(line) == {"loss", "a.b", "d", "seed"}


@pytest.mark.parametrize(
    "questions",
    [
        [["loss=hinge"], ["loss=least_squares"], ["loss=fgan_kl"]],
        [["loss=hinge", "regularizer=[]"], ["loss=hinge", "regularizer=[r1,r2]"]],
        [["regularizer=[r1]", "regularizer.r1.gamma=10.0"], ["regularizer=[r1]", "regularizer.r1.gamma=0.1"]],
        [
            ["optimizer.generator.lr=0.0001", "optimizer.discriminator.lr=0.0004"],
            ["optimizer.generator.lr=0.0002", "optimizer.discriminator.lr=0.0001"],
        ],
        [
            ["normalization@model.discriminator.normalization=spectral"],
            ["normalization@model.discriminator.normalization=none"],
        ],
        [["data=ring8", "model=mlp"], ["data=grid25", "model=mlp"]],
        [["dynamics=extragradient", "optimizer=optimistic_adam"], ["dynamics=alternating", "optimizer=adam"]],
        [["num_steps=100", "transform=[instance_noise]"], ["num_steps=200", "transform=[]"]],
    ],
)
def test_a_label_is_what_was_typed_where_that_varies(compose, questions):
    composed = [compose(*overrides) for overrides in questions]
    keys = {key for overrides in questions for key in typed_keys(overrides)}
    found = labels([words(content, choices, CONF) for content, choices in composed], keys)
    for overrides, text in zip(questions, found.texts("alone"), strict=True):
        varying = [word for word in overrides if not all(word in other for other in questions)]
        assert sorted(text.split()) == sorted(varying)


def test_typing_a_label_gives_the_configuration_back(compose):
    base = ["data=ring8", "model=mlp"]
    asked = [
        ["loss=hinge", "optimizer.generator.lr=1e-4"],
        ["loss=wasserstein", "regularizer=[wgan_gp]", "regularizer.wgan_gp.weight=1"],
        ["optimizer=rmsprop", "pack=2"],
    ]
    composed = [compose(*base, *overrides) for overrides in asked]
    found = labels(
        [words(*pair, CONF) for pair in composed],
        typed_keys([word for overrides in asked for word in overrides]),
    )
    for text, (content, _) in zip(found.texts(""), composed, strict=True):
        assert question(compose(*base, *text.split())[0]) == question(content)


@pytest.mark.parametrize("group", ["loss", "model", "optimizer"])
def test_an_older_records_choice_is_told_from_what_it_brought(compose, group):
    for path in sorted((CONF / group).glob("*.yaml")):
        content, choices = compose(f"{group}={path.stem}")
        assert words(content, None, CONF)[group] == path.stem == choices[group]


def test_without_choices_or_folder_a_target_is_typed(compose):
    pair = [compose(f"loss={loss}")[0] for loss in ("hinge", "minimax")]
    found = labels([words(content, None, None) for content in pair], None)
    assert found.texts("") == [
        "loss._target_=saddle.game.losses.Hinge",
        "loss._target_=saddle.game.losses.Minimax",
    ]


def test_where_nobody_knows_what_was_typed_keys_of_two_groups_are_both_named():
    pair = [{"loss._target_": "a", "optimizer.lr": "1"}, {"loss._target_": "b", "optimizer.lr": "2"}]
    assert labels(pair, None).keys == ("loss._target_", "optimizer.lr")
    assert labels(pair, set()).keys == ("loss._target_",)


KEYS = st.sampled_from(["a", "b.c", "b.d"])


@given(st.lists(st.dictionaries(KEYS, st.sampled_from("xyz")), min_size=1), st.sets(KEYS))
def test_questions_that_differ_have_labels_that_differ(questions, keys):
    distinct = [dict(items) for items in dict.fromkeys(tuple(sorted(asked.items())) for asked in questions)]
    texts = labels(distinct, keys).texts("alone")
    assert len({*texts}) == len(distinct)


def test_a_question_does_not_know_its_seed_or_logger(compose):
    first, second = compose("seed=1", "logger=[csv]")[0], compose("seed=2", "logger=none", "tags=[a]")[0]
    assert config_hash(first) == config_hash(second) == config_hash(OmegaConf.create(first))
    assert config_hash(first) != config_hash(compose("pack=2")[0])


def test_flattening_keeps_lists_and_empty_mappings_whole():
    assert flatten({"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}) == {
        "a.b": [1, {"c": 2}],
        "a.d": {},
        "e": None,
    }


def test_one_number_written_in_two_ways_is_one_question(compose):
    first, second = (
        compose("regularizer=[r1]", f"regularizer.r1.gamma={text}")[0] for text in ("10", "10.0")
    )
    assert config_hash(first) == config_hash(second) != config_hash(compose("regularizer=[r1]")[0])
    assert as_text({"a": [1.0, {"b": 2.0}], "c": True}) == as_text({"c": True, "a": [1, {"b": 2}]})
    assert as_text({"a": 1.5}) != as_text({"a": 1})
