"""Values that no part can be made of, and slips that Hydra's own messages leave one alone with."""

import pytest
import torch

from command_line import POINTS, assert_refused, made
from compositions import composed
from saddle.commands import train
from saddle.game.refusals import Refused
from saddle.training.assembly import assemble
from saddle.training.configuration import folder
from saddle.training.runs import must_still_learn

BOTH = ["data=ring8", "model=mlp"]


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        *(
            (f"{key}={value}", rf"^{key} must be a whole number .*; got {value}\. ")
            for key in ("batch_size", "num_steps", "pack", "seed", "metrics.num_samples")
            for value in ("abc", "2.5", "true", "null")
        ),
        ("seed=-1", "seed must be a whole number of at least 0; got -1"),
        ("metrics.num_real=1", "metrics.num_real must be a whole number of at least 2; got 1"),
        ("regularizer.r1.every_n_steps=true", "every_n_steps must be a whole number .* got true"),
        ("regularizer.r1.gamma=true", "gamma must be a number of at least 0; got true"),
    ],
)
def test_what_is_no_number_of_its_kind_is_refused(word, reason):
    with pytest.raises(ValueError, match=reason):
        assemble(composed(*BOTH, word))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["optimizer.generator=sgd"],
            r"^optimizer\.generator must be an update rule; got sgd\. Take rule@optimizer\.generator=sgd\.$",
        ),
        (["optimizer.discriminator=null"], r"got null\. Take rule@optimizer\.discriminator=NAME"),
        (["update.generator.rule=sgd"], r"update\.generator\.rule must be an update rule"),
        (
            ["model.discriminator.normalization=batch"],
            r"must be a normalization; got batch\. Take normalization@model\.discriminator\.normalization=ba",
        ),
        (["model.generator=mlp"], r"model\.generator must be a network; got mlp\. Take model=mlp"),
        (
            ["dynamics=lookahead", "dynamics.inner=extragradient"],
            r"must be a dynamics; got extragradient\. Take dynamics@dynamics\.inner=extragradient",
        ),
        (["metrics.features=inception"], r"Take features@metrics\.features=inception"),
        (
            ["schedule.generator=linear"],
            r"schedule\.generator must be a schedule, or null; got linear\. Take",
        ),
        (["regularizer.r1=null"], r"regularizer\.r1 must be a part .* got null\. Name it in regularizer=\["),
        (["average.ema=0.9"], r"average\.ema must be a part with keys of its own; got 0\.9"),
        (["+transform.ada=true"], r"transform\.ada must be a part with keys of its own; got true"),
    ],
)
def test_a_plain_value_where_a_part_must_stand_is_refused_with_the_choice(words, reason):
    with pytest.raises(ValueError, match=reason):
        assemble(composed(*BOTH, *words))


def test_the_words_that_refusals_of_parts_give_are_understood():
    words = [
        "rule@optimizer.generator=sgd",
        "normalization@model.discriminator.normalization=layer",
        "dynamics=lookahead",
        "dynamics@dynamics.inner=extragradient",
        "schedule=linear",
        "schedule.discriminator=null",
    ]
    assert assemble(composed(*BOTH, *words)).advice == []


def test_data_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match=r"^data must be finite; ring8 has 500 samples with NaN or infinite"):
        assemble(composed(*BOTH, "data.mixture.radius=nan"))


@pytest.mark.parametrize(
    ("word", "pieces"),
    [
        ("regularizer=null", ["regularizer must be a list of choices", "got null", "regularizer=[] is none"]),
        ("regularizer=none", ["Could not find 'regularizer/none'", "regularizer=[] is none"]),
        ("~regularizer", ["Could not delete 'regularizer'", "regularizer=[] is none"]),
        ("generator_regularizer=none", ["generator_regularizer=[] is none"]),
        ("transform=null", ["transform=[] is none"]),
        ("average=none", ["average=[] is none"]),
        ("diagnostics=null", ["diagnostics=[] is none"]),
        ("loss=null", ["loss must be one of fgan_hellinger,", "got null", "Choose"]),
        ("name=../../x", ["name must be one folder's name", "got '../../x'", "Give a word without slashes"]),
        ("tags=foo", ["tags must be a list", "got foo", "Take tags=[foo]"]),
        ("tags=null", ["tags must be a list", "got null", "Take tags=[]"]),
    ],
)
def test_a_slip_is_refused_with_what_was_probably_meant(command, tmp_path, word, pieces):
    assert_refused(command(train.main, *BOTH, word), tmp_path, *pieces)


def test_a_near_key_is_named_alone(command, tmp_path):
    answer = command(train.main, *BOTH, "regularizer.r1.gama=3")
    assert_refused(answer, tmp_path, "regularizer.r1.gama", "Did you mean regularizer.r1.gamma")
    assert "To append" not in answer.err  # it would do nothing
    answer = command(train.main, *BOTH, "quite_another_thing=3")
    assert_refused(answer, tmp_path, "quite_another_thing", "To append to your config")


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "", ".", "..", None])
def test_a_name_that_leads_to_another_folder_is_refused(name):
    with pytest.raises(Refused, match=r"^name must be one folder's name; got .*\. Give a word without"):
        folder(name)
    assert [folder("ring8-mlp"), folder(7), folder("...")] == ["ring8-mlp", "7", "..."]


def member_of(*words: str):
    return assemble(composed(*BOTH, "num_steps=40", *words)).member


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_run_whose_learning_rate_has_fallen_to_0_is_not_extended(schedule):
    words = [f"schedule={schedule}", "schedule.generator.num_steps=20", "schedule.discriminator.num_steps=20"]
    reason = r"^a run whose learning rate has fallen to 0 at step 20 must not be extended; got num_steps=40"
    with pytest.raises(ValueError, match=rf"{reason} and a schedule\.generator .* anew with num_steps=40\.$"):
        must_still_learn(member_of(*words), 20)
    with pytest.raises(ValueError, match=r"a schedule\.discriminator that stays at 0"):
        must_still_learn(member_of(*words, "schedule.generator.final=0.1"), 20)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["schedule=warm_up"],
        ["schedule=linear"],  # its own length is 40: it is at 0 in none of them
        ["schedule=cosine", *(f"schedule.{player}.final=0.1" for player in ("generator", "discriminator"))],
    ],
)
def test_a_run_that_still_learns_is_extended(words):
    must_still_learn(member_of(*words), 20)
    must_still_learn(member_of(*words), 40)  # nothing is added


def test_an_extension_at_learning_rate_0_leaves_the_run_as_it_was(command, tmp_path, tmp_path_factory):
    record = made(tmp_path_factory, [*POINTS, "schedule=linear"])
    before = [path.read_bytes() for path in (record.metrics, record.config, record.report, record.summary)]
    answer = command(train.main, f"resume={record.directory}", "num_steps=20")
    assert_refused(answer, tmp_path, "fallen to 0 at step 10", "got num_steps=20", "Start anew")
    after = [path.read_bytes() for path in (record.metrics, record.config, record.report, record.summary)]
    assert after == before
