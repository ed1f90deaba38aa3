"""What does not fit together is refused with a reason, and what is unwise is said."""

import pytest
import torch
from torch import nn

from compositions import composed
from saddle.game.refusals import Refused
from saddle.training.assembly import assemble

POINTS = ["data=ring8", "model=mlp"]
PERIODS = ["evaluate_every=10", "checkpoint_every=10"]
PLACE = "normalization@model."
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
        (["transform=[diffaugment]"], r"must be given images \(N, C, H, W\); got samples \(2, 2\)\. Take"),
        (["transform=[ada]"], r"must be given images \(N, C, H, W\); got samples \(2, 2\)\. Take"),
        (["schedule=linear", "schedule.generator.num_warmup_steps=2"], r"num_warmup_steps must lie in"),
        (["average=[ema_half_life]", "average.ema_half_life.half_life=0"], r"half_life must be a positive"),
        (
            ["regularizer=[dragan_centred]"],
            r"dragan_centred must see data in \[-1, 1\], .* got ring8, which reaches 1\.\d+\. Take",
        ),
        (
            [f"{PLACE}generator.normalization=batch", "batch_size=1"],
            r"at least two samples at once; got a batch of 1 for the generator",
        ),
        (
            [f"{PLACE}discriminator.normalization=batch", "batch_size=2", "pack=2", "regularizer=[]"],
            r"got a batch of 1 for the discriminator, of batch_size=2 and pack=2\. Take",
        ),
        (["regularizer.r1.gamma=-1"], r"regularizer\.r1\.gamma must be a number of at least 0; got -1"),
        (
            ["generator_regularizer=[mode_seeking]", "generator_regularizer.mode_seeking.weight=-1"],
            r"generator_regularizer\.mode_seeking\.weight must be a number of at least 0; got -1",
        ),
        (["update.generator.max_gradient_norm=-1"], r"max_gradient_norm must be positive; got -1"),
        *(
            (
                ["average=[]", f"+average={{{name}:{{_target_:saddle.dynamics.averages.UniformAverage}}}}"],
                rf"an average must not be named raw, none, .*; got average\.{name}\. Give it another in",
            )
            for name in ("raw", "none", "true", "false", "Raw")
        ),
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
        ([*POINTS, "update.discriminator.max_weight=0.1"], "max_weight and a penalty on slopes both bound"),
        (
            [*POINTS, f"{PLACE}discriminator.normalization=spectral", "regularizer=[spectral]"],
            "shrinks the discriminator's weights before spectral normalization",
        ),
        (
            [*POINTS, f"{PLACE}generator.normalization=spectral", "generator_regularizer=[spectral]"],
            "shrinks the generator's weights before spectral normalization",
        ),
        ([*IMAGES, "regularizer=[zcr]"], "got that of D alone"),
        ([*IMAGES, "generator_regularizer=[zcr]"], "got that of G alone"),
        (
            [*POINTS, f"{PLACE}generator.normalization=batch", "generator_regularizer=[path_length]"],
            "path_length is about the generator's Jacobian",
        ),
        (
            [*POINTS, f"{PLACE}generator.normalization=batch", "generator_regularizer=[jacobian_clamping]"],
            "jacobian_clamping is about the generator's Jacobian",
        ),
        (
            [*POINTS, "regularizer=[]", f"{PLACE}discriminator.normalization=spectral", "optimizer=adamw"],
            "weight decay shrinks the discriminator's weights before spectral normalization",
        ),
        (
            [*POINTS, f"{PLACE}generator.normalization=layer", "update.generator.max_weight=0.1"],
            "the scales of the generator's normalization too",
        ),
        (
            [*POINTS, "regularizer=[cr]", f"{PLACE}discriminator.normalization=batch"],
            "cr compares the logits of two batches",
        ),
        ([*POINTS, "dynamics=extragradient", "optimizer=optimistic_adam"], "both look ahead"),
        (
            [
                *POINTS,
                "transform=[instance_noise]",
                "dynamics.num_generator_steps=2",
                "num_steps=20",
                *PERIODS,
            ],
            r"has 10. Take transform.instance_noise.num_rounds=10",
        ),
        ([*IMAGES, "transform=[ada]", "loss=relativistic"], "means nothing under Relativistic"),
        ([*IMAGES, "transform=[ada]", "loss=wasserstein"], "means nothing under Wasserstein"),
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
        [*IMAGES, "regularizer=[zcr]", "generator_regularizer=[zcr]"],
        [*POINTS, "transform=[instance_noise]"],
        [*IMAGES, "transform=[ada]", "regularizer=[dragan_centred]"],
        [*POINTS, f"{PLACE}generator.normalization=spectral", "regularizer=[spectral]"],
        [*POINTS, "generator_regularizer=[path_length,jacobian_clamping]"],
        [*POINTS, "dynamics=runge_kutta4", "optimizer=sgd"],
        # the slope that it takes is not D's
        [
            *POINTS,
            "regularizer=[]",
            "generator_regularizer=[path_length]",
            f"{PLACE}discriminator.normalization=batch",
        ],
    ],
)
def test_usual_compositions_are_not_warned_of(words):
    assert assemble(composed(*words)).advice == []


def with_torchs_own() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 1), nn.Flatten(0)
    )


def test_torchs_own_batch_normalization_is_refused_as_ours_is():
    config = composed(*POINTS)
    config.model.discriminator = {"_target_": f"{__name__}.with_torchs_own"}
    with pytest.raises(Refused, match=r"^a penalty on the slope .*; got batch normalization in it and .*r1"):
        assemble(config)


def test_a_schedule_reaches_the_learning_rate_of_each_player():
    method = assemble(composed(*POINTS, "schedule=cosine", "schedule.generator.final=0.5")).member.method
    assert [method.schedules.generator(2), method.schedules.discriminator(2)] == [0.5, 0.0]
