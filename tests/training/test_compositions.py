"""Every file of conf/ composes, becomes objects, and takes a step; files are found, not listed."""

import math
from itertools import cycle
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from compositions import (
    CONF,
    GROUPS,
    LISTS,
    PAIRS,
    PARTS,
    README,
    TOP,
    choices,
    composed,
    fitting,
    step,
)
from saddle.diagnosis.probes import draws_of
from saddle.dynamics.optimizers import SGD, Adam
from saddle.evaluation.evaluator import of_matrices
from saddle.metrics.evidence import SAMPLES, Evidence, ReadyGenerator
from saddle.metrics.values import HIGH, Value
from saddle.training import trackers as tracking
from saddle.training.assembly import Experiment, assemble, config_hash
from saddle.training.scoring import chosen_metrics


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        (group, choice)
        for group in ("data", "model", "loss", "dynamics", "optimizer", "schedule")
        for choice in choices(group)
    ],
)
def test_every_choice_takes_a_step(group, choice):
    _, experiment = fitting(group, choice)
    step(experiment)


@pytest.mark.parametrize(
    ("group", "choice", "loss"),
    [
        (group, choice, loss)
        for group in LISTS
        for choice, loss in zip(choices(group), cycle(choices("loss")), strict=False)
    ],
)
def test_every_choice_of_a_list_takes_a_step_on_images_with_some_loss(group, choice, loss):
    words = f"{group}=[{choice}]", f"loss={loss}"
    step(assemble(composed("data=digits", "model=mlp8", *words)))


@pytest.mark.parametrize(
    ("loss", "penalty"), [*zip(choices("loss"), cycle(choices("regularizer")), strict=False)]
)
def test_every_loss_takes_a_step_with_some_penalty(loss, penalty):
    experiment = assemble(composed("data=digits", "model=mlp8", f"loss={loss}", f"regularizer=[{penalty}]"))
    step(experiment)
    assert [name for name in experiment.member.logs or {} if name.startswith("penalty/")]


@pytest.mark.parametrize(
    ("dynamics", "optimizer"), [*zip(choices("dynamics"), cycle(choices("optimizer")), strict=False)]
)
def test_every_dynamics_takes_a_step_with_some_optimizer_and_all_penalties(dynamics, optimizer):
    penalties = ",".join(choices("regularizer"))
    words = f"dynamics={dynamics}", f"optimizer={optimizer}", f"regularizer=[{penalties}]"
    step(assemble(composed("data=digits", "model=mlp8", *words)))


@pytest.mark.parametrize(
    ("outer", "name", "group", "choice"),
    [(outer, name, group, choice) for group, outer, name in PARTS for choice in choices(group)],
)
def test_every_choice_within_a_choice_takes_a_step_in_all_its_places_that_fit(outer, name, group, choice):
    parts = {"model": "mlp", outer: name}
    data = next((data for data, model in PAIRS if model == parts["model"]), "mnist5k")
    words = [f"{key}={value}" for key, value in parts.items()]
    places = [f"{key}={choice}" for key in PARTS[group, outer, name]]
    # no penalty: batch normalization in D does not go with one
    config = composed(f"data={data}", "regularizer=[]", *words, *places)
    if choice == "instance" and name != "dcgan28":  # a fully connected network
        with pytest.raises(ValueError, match=r"must see feature maps .*; got \(\d+, \d+\)"):
            assemble(config)
        return
    step(assemble(config))


def test_a_player_may_have_an_optimizer_of_its_own():
    words = "optimizer=adam", "rule@optimizer.discriminator=sgd", "optimizer.discriminator.momentum=-0.5"
    dynamics = assemble(composed("data=ring8", "model=mlp", *words)).dynamics
    assert isinstance(dynamics.generator.rule, Adam)
    assert dynamics.discriminator.rule == SGD(0.01, -0.5)


@pytest.mark.parametrize("optimizer", choices("optimizer"))
def test_an_optimizer_is_the_rule_of_its_name_for_both_players(optimizer):
    config = composed(f"optimizer={optimizer}").optimizer
    rule = OmegaConf.load(CONF / "rule" / f"{optimizer}.yaml")
    assert config == {"generator": rule, "discriminator": rule}


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_label_smoothing_is_a_number_on_the_command_line(loss):
    experiment = assemble(composed("data=ring8", "model=mlp", f"loss={loss}", "loss.real_target=0.9"))
    assert experiment.game.loss.real_target == 0.9
    step(experiment)


@pytest.mark.parametrize("regularizers", ["[zcr]", "[bcr,zcr]"])
def test_the_two_parts_of_latent_consistency_train_together(regularizers):
    words = f"regularizer={regularizers}", "generator_regularizer=[zcr]"
    step(assemble(composed("data=digits", "model=mlp8", *words)))


def test_what_a_round_calls_is_not_asked_anew_by_hydra_whether_it_may_be_called():
    words = "regularizer=[r1,cr]", "generator_regularizer=[mode_seeking]", "transform=[ada]"
    experiment = assemble(composed("data=digits", "model=mlp8", *words))
    game = experiment.game
    parts = [*game.penalties.values(), *game.generator_penalties.values(), *game.transforms.values()]
    called = [*parts, game.loss, experiment.member.latents, experiment.dynamics]
    # each call of a partial of Hydra's costs 80 µs
    assert {type(part).__module__.partition(".")[0] for part in called} == {"functools", "saddle"}


def test_no_penalty_is_a_choice_too():
    step(assemble(composed("data=ring8", "model=mlp", "regularizer=[]")))


def measured(config: DictConfig, num: int = 60) -> tuple[Experiment, dict[str, float]]:
    """The experiment, its evaluator prepared on few samples, and the untrained generator's numbers."""
    config.metrics.num_samples = config.metrics.num_real = num
    if "num_train" in config.data:
        config.data.num_train, config.data.num_held_out = max(400, num), max(100, num)
    experiment = assemble(config)
    evaluator = experiment.evaluator.prepare(experiment.dataset, torch.device("cpu"))
    samples, values = evaluator.of_generator(experiment.sampler, experiment.game.init().generator)
    assert len(samples) == num
    return experiment._replace(evaluator=evaluator), values


def is_set(name: str) -> bool:
    """Whether a choice of metrics, or one that it begins with, says what a run keeps of them."""
    content = OmegaConf.load(CONF / "metrics" / f"{name}.yaml")
    brought = [entry for entry in content.get("defaults", ()) if isinstance(entry, str) and entry != "_self_"]
    return "best" in content or any(map(is_set, brought))


SETS = [name for name in choices("metrics") if is_set(name)]


# how many numbers held-out samples cannot have, by the metrics that need a generator or further samples
OWN_NUMBERS = {
    frozenset(): 0,
    frozenset({"memorization", "path_length"}): 4 + 2,
    frozenset({"memorization", "log_condition", "path_length"}): 4 + 2 + 2,
}


@pytest.mark.parametrize("choice", SETS)
def test_every_set_of_metrics_measures_some_data(choice):
    chosen_by = [
        data for data in choices("data") if f": {choice}\n" in (CONF / "data" / f"{data}.yaml").read_text()
    ]
    if chosen_by:
        experiment, values = measured(fitting("data", chosen_by[0])[0])
    else:  # a longer list for the same data: a user's choice, never a default; it draws subsets of 500
        data = "ring8" if choice.startswith("points") else "mnist5k"
        config = composed(f"data={data}", f"model={dict(PAIRS)[data]}", f"metrics={choice}")
        if choice == "images_full":
            config.metrics.measures.features.kid_of_subsets.num_subsets = 2
            config.metrics.measures.features.prd.num_runs = 1
        experiment, values = measured(config, 600)
    evaluator = experiment.evaluator
    assert values
    assert all(math.isfinite(value) for value in values.values())
    assert evaluator.meanings.keys() == values.keys()  # each says what it means
    floors = {value.floor for value in evaluator.meanings.values()} - {None}
    assert {*evaluator.best, *evaluator.shown, *floors} <= values.keys()
    yardstick = evaluator.of_held_out(experiment.dataset)
    needy = {
        name for name, judge in evaluator.evidence.items() if judge.needs_held_out or judge.needs_generator
    }
    assert len(values.keys() - yardstick.keys()) == OWN_NUMBERS[frozenset(needy)]
    assert yardstick.keys() <= values.keys()


@pytest.mark.parametrize("choice", choices("data"))
def test_all_data_choose_metrics_that_can_measure_them(choice):
    experiment, _ = measured(fitting("data", choice)[0])
    found = experiment.evaluator.of_held_out(experiment.dataset)
    assert all(math.isfinite(value) for value in found.values())


def evaluation(*words: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("evaluate", [*words])


@pytest.mark.parametrize("choice", [name for name in choices("metrics") if name not in SETS])
def test_every_single_metric_measures_something_and_says_what_it_means(choice, tmp_path, monkeypatch):
    few = {"kid_subsets": ["metrics.measures.features.kid_of_subsets.subset_size=20"]}.get(choice, [])
    config = evaluation(f"metrics=[{choice}]", *few).metrics
    random = torch.Generator().manual_seed(0)

    def layers(num: int) -> dict[str, torch.Tensor]:
        features, images = torch.randn(num, 4, generator=random), torch.rand(num, 1, 28, 28, generator=random)
        return {"features": features, "logits": 3 * features[:, :2], SAMPLES: 2 * images - 1}

    ready = ReadyGenerator(torch.nn.Linear(3, 4), lambda num: torch.randn(num, 3, generator=random))
    evidence = Evidence(layers(60), layers(50), layers(40), ready)
    measures, judges, meanings = chosen_metrics(config)
    if choice == "lpips":
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(ValueError, match=r"weights of its network; found no .*alexnet.*Download"):
            of_matrices(measures, evidence.real, evidence.fake)
        assert meanings == {"lpips": Value(HIGH)}
        return
    found = of_matrices(measures, evidence.real, evidence.fake)
    for judge in judges.values():
        found |= judge(evidence)
    assert found
    assert all(math.isfinite(value) for value in found.values())
    assert meanings.keys() == found.keys()


def test_a_name_means_the_same_in_every_set_and_alone():
    meant: dict[str, Value] = {}
    for choice in choices("metrics"):
        words = "data=ring8", "model=mlp", f"metrics={choice}"
        config = composed(*words) if choice in SETS else evaluation(f"metrics=[{choice}]")
        for name, value in chosen_metrics(config.metrics).meanings.items():
            assert meant.setdefault(name, value) == value, f"{name} in {choice}"
    assert len(meant) > 40


# without their files and a network these say what is missing, which is tested where they are
DOWNLOADED = {"inception", "vgg16", "clip", "dinov2", "torchscript"}


@pytest.mark.parametrize("choice", choices("features"))
def test_every_choice_of_features_sees_samples(choice, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    words = ["+features.network._target_=torch.nn.Identity"] if choice == "module" else []
    config = evaluation(f"features={choice}", *words)
    if choice in DOWNLOADED:
        config.features.weights = str(tmp_path / "nowhere")
        with pytest.raises(InstantiationException, match="nowhere"):
            instantiate(config.features, _convert_="all")
        return
    side = 8 if choice == "digits" else 28
    samples = torch.zeros(3, 2) if choice == "points" else torch.zeros(3, 1, side, side)
    found = instantiate(config.features, _convert_="all")(samples)
    assert all(matrix.shape[0] == 3 and matrix.ndim == 2 for matrix in found.values())


def test_a_run_can_be_measured_through_other_features():
    experiment, values = measured(composed("data=digits", "model=mlp8", "features@metrics.features=digits"))
    assert "fid" in values
    words = "features@metrics.features=flatten", "~metrics.measures.logits"
    other, flat = measured(composed("data=digits", "model=mlp8", *words))
    assert flat["fid"] != values["fid"]
    both = experiment, other
    protocols = [one.evaluator.protocol(one.dataset, one.sampler, one.averaging) for one in both]
    assert protocols[0]["fingerprint"] != protocols[1]["fingerprint"]


def test_costly_features_of_a_runs_real_samples_are_kept_and_give_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("SADDLE_CACHE", str(tmp_path))
    words = (
        *("data=digits", "model=mlp8", "features@metrics.features=module", "~metrics.measures.logits"),
        "+metrics.features.network._target_=torch.nn.Identity",
    )
    _, first = measured(composed(*words))
    (kept,) = (tmp_path / "real").iterdir()
    before = kept.stat().st_mtime_ns
    _, again = measured(composed(*words))
    assert again == first
    assert [*(tmp_path / "real").iterdir()] == [kept]
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize("choice", choices("logger"))
def test_every_logger_takes_numbers(choice, tmp_path):
    config = composed("data=ring8", "model=mlp", f"logger=[{choice}]")
    identity = tracking.Identity("name", "group", 0, ("tag",), f"test{choice}")
    loggers = [
        instantiate(node)(tmp_path, identity, {})
        for node in config.logger.values()
        if OmegaConf.is_dict(node)
    ]
    for logger in loggers:
        logger.log_metrics({"loss/generator": 0.5, "generator_step": 3}, step=3)
    summary = {"metrics": {}, "status": "finished", "verdict": {"word": "settled"}}
    tracking.finish(loggers, summary, 0)
    assert {path.name for path in tmp_path.iterdir()} == ({choice} if loggers else set())


@pytest.mark.parametrize("choice", choices("trainer"))
def test_every_trainer_is_one_of_lightning(choice):
    config = composed("data=ring8", "model=mlp", f"trainer={choice}")
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    trainer = Trainer(**config.trainer, logger=False, enable_checkpointing=False)
    assert trainer.num_devices == 1


@pytest.mark.parametrize("choice", choices("diagnostics"))
def test_every_probe_sees_numbers_of_points_and_of_images(choice):
    for data, model in (("ring8", "mlp"), ("digits", "mlp8")):
        small = [f"model.{player}.hidden=[8]" for player in ("generator", "discriminator")]
        experiment = assemble(composed(f"data={data}", f"model={model}", *small, f"diagnostics=[{choice}]"))
        member, (probe,) = experiment.member, experiment.probes.values()
        member.begin(torch.device("cpu"))
        draws = draws_of(experiment.game, member.dataset, member.latents, 0, 0)
        found = probe(experiment.game, member.state.players, draws)
        assert found
        assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("choice", choices("experiment"))
def test_every_experiment_takes_a_step(choice):
    # a round of two_clusters makes ten generator steps
    words = "num_steps=10", "evaluate_every=10", "checkpoint_every=10"
    step(assemble(composed(f"experiment={choice}", *words)))


@pytest.mark.parametrize("group", GROUPS)
def test_the_readme_names_every_choice(group):
    text = README.read_text()
    assert [choice for choice in choices(group) if f"`{choice}`" not in text] == []


def test_a_runs_group_in_a_tracker_is_its_question_without_the_seed():
    words = ["data=ring8", "model=mlp"]
    group = config_hash(composed(*words))
    for other in ("seed=1", "tags=[x]", "logger=none", "trainer=cpu", "on_divergence=record"):
        assert config_hash(composed(*words, other)) == group
    for other in ("loss=hinge", "optimizer.generator.lr=0.5", "num_steps=4", "ema=0.5"):
        assert config_hash(composed(*words, other)) != group


def test_every_group_is_under_test_here():
    # experiment has a test of its own above; data choose the metrics
    # hydra: test_sweeps.py; search: test_search.py; sweep: test_wandb_sweeps.py; picture: test_portrait.py;
    # claim: test_claims.py
    elsewhere = {"hydra", "search", "sweep", "picture", "claim"}
    tested = {*TOP, *(group for group, *_ in PARTS), "metrics", "features", *elsewhere}
    assert {*GROUPS} == tested


def test_no_key_of_a_run_is_a_folder_of_choices_by_accident():
    # Hydra would take KEY=value for a choice of the group, and refuse every value
    keys = OmegaConf.load(CONF / "train.yaml").keys() - {"defaults", "hydra"}
    assert {key for key in keys if key in GROUPS} <= {*TOP}
    assert composed("sweep_name=name").sweep_name == "name"


def test_a_conf_file_is_not_silently_ignored():
    # every file is a choice of a group or one of the commands' own
    assert {path.stem for path in CONF.glob("*.yaml")} == {
        "train",
        "evaluate",
        "sample",
        "search",
        "portrait",
    }
    assert not [path for path in CONF.iterdir() if path.is_file() and path.suffix != ".yaml"]
    assert not [path for path in CONF.rglob("*") if path.is_file() and path.suffix != ".yaml"]
    flat = {*GROUPS} - {"hydra"}  # whose groups are Hydra's own
    assert not [path for group in flat for path in (CONF / group).iterdir() if not Path(path).is_file()]
