"""What does not fit together is refused with a reason, and what is unwise is said."""

import pytest
import torch

from saddle.commands.compose import assemble
from test_compositions import composed

POINTS = ["data=ring8", "model=mlp"]
IMAGES = ["data=digits", "model=mlp8"]


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["normalization@model.discriminator.normalization=batch"],
            r"penalty on the slope .* got batch normalization in it and regularizer=\[r1\]\. Take",
        ),
        (
            [
                "normalization@model.discriminator.normalization=batch",
                "regularizer=[]",
                "generator_regularizer=[]",
                "trainer.precision=16-mixed",
            ],
            r"half precision: .* got trainer\.precision=16-mixed\. Take 32-true or bf16-mixed",
        ),
        (
            ["regularizer.r1.every_n_steps=4", "dynamics=extragradient"],
            r"plain descent.*got regularizer\.r1\.every_n_steps=4 and ExtraGradient\. Take",
        ),
        (
            [
                "regularizer.r1.every_n_steps=4",
                "dynamics=lookahead",
                "dynamics@dynamics.inner=extragradient",
            ],
            r"got regularizer\.r1\.every_n_steps=4 and ExtraGradient",
        ),
        (
            [
                "generator_regularizer=[mode_seeking]",
                "dynamics=sga",
                "generator_regularizer.mode_seeking.every_n_steps=2",
            ],
            r"got generator_regularizer\.mode_seeking\.every_n_steps=2 and SymplecticGradientAdjustment",
        ),
        (
            ["regularizer.r1.every_n_steps=0"],
            r"r1\.every_n_steps must be a whole number of at least 1; got 0",
        ),
        (
            [
                "normalization@model.discriminator.normalization=spectral",
                "update.discriminator.max_weight=0.01",
            ],
            r"bounded in one way; got spectral normalization in the discriminator and "
            r"update\.discriminator\.max_weight=0\.01",
        ),
        (
            [
                "normalization@model.generator.normalization=spectral",
                "dynamics=lookahead",
                "update.generator.max_weight=1.0",
            ],
            r"got spectral normalization in the generator and update\.generator\.max_weight=1",
        ),
        (["pack=3"], r"batch_size must be a multiple of pack=3; got 8\. Take 6"),
        (["transform=[diffaugment]"], r"transform .*images \(N, C, H, W\)|must accept samples"),
        (["schedule=linear", "schedule.generator.num_warmup_steps=2"], r"num_warmup_steps must lie in"),
        (["average=[ema_half_life]", "average.ema_half_life.half_life=0"], r"half_life must be a positive"),
        (["update.generator.max_gradient_norm=-1"], r"max_gradient_norm must be positive; got -1"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(words, reason):
    with pytest.raises(Exception, match=reason):
        assemble(composed(*POINTS, *words))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*POINTS, "loss=wasserstein", "regularizer=[]"], "no minimum over unbounded critics"),
        ([*POINTS, "normalization@model.discriminator.normalization=spectral"], "both bound"),
        ([*POINTS, "regularizer.r1.every_n_steps=16"], "break the convergence of small problems"),
        ([*POINTS, "dynamics=cgd"], "exact for SGD alone; got Adam and Adam"),
    ],
)
def test_what_is_unwise_is_said(words, sentence):
    (found,) = assemble(composed(*words)).advice
    assert sentence in found


@pytest.mark.parametrize(
    "words",
    [
        POINTS,
        [*POINTS, "loss=wasserstein", "regularizer=[wgan_gp]"],
        [*POINTS, "loss=wasserstein", "regularizer=[]", "update.discriminator.max_weight=0.01"],
        [*IMAGES, "regularizer.r1.every_n_steps=16"],
        [*POINTS, "dynamics=runge_kutta4", "optimizer=sgd"],
    ],
)
def test_usual_compositions_are_not_warned_of(words):
    assert assemble(composed(*words)).advice == []


def test_a_schedule_reaches_the_learning_rate_of_each_player():
    module = assemble(composed(*POINTS, "schedule=cosine", "schedule.generator.final=0.5")).module
    assert [module.schedules.generator(2), module.schedules.discriminator(2)] == [0.5, 0.0]
