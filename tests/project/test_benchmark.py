"""The hand-written loop that the benchmark times us against computes what we compute."""

import importlib.util
import json
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import ModuleType

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch.testing import assert_close

from saddle.data.sampling import draw_batches
from saddle.data.sources import TensorSource
from saddle.rounds.execution import eager, start
from saddle.training.assembly import assemble
from saddle.training.configuration import config_directory

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load(SCRIPT)


@pytest.mark.parametrize("penalty", ["r1", "r2", "wgan_gp"])
@pytest.mark.parametrize("case", ["ring8/mlp", "mnist5k/dcgan28"])
def test_the_hand_written_loop_computes_the_same_steps(benchmark, case, penalty):
    small = [
        f"regularizer=[{penalty}]",
        "batch_size=16",
        "name=benchmark",
        "ema=0.15",
    ]  # reached by the ramp (1 + t)/(10 + t) at the 2nd step
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = hydra.compose("train", [*benchmark.CASES[case], *small])
    if "width" in config.model.generator:
        config.model.generator.width = config.model.discriminator.width = 4
    torch.set_default_dtype(torch.float32)  # as the commands have it
    experiment = assemble(OmegaConf.create(OmegaConf.to_container(config, resolve=True)))
    torch.set_default_dtype(torch.float64)
    game = experiment.game
    networks = [deepcopy(network.module).double() for network in (game.generator, game.discriminator)]
    for mine, theirs in zip((game.generator, game.discriminator), networks, strict=True):
        mine.module.double()
        assert {name for name, _ in theirs.named_parameters()} == {*mine.shapes}

    adam = config.optimizer.generator
    assert config.optimizer.discriminator == adam  # the loop has one set of numbers for both
    taken = config.regularizer[penalty]
    numbers = {key: value for key, value in taken.items() if key in ("gamma", "weight", "target")}
    hand = benchmark.hand_written(
        *networks,
        partial(benchmark.PENALTIES[penalty], **numbers),
        lr=adam.lr,
        beta1=adam.beta1,
        beta2=adam.beta2,
        ema=config.ema,
    )
    play = eager(game, experiment.dynamics, experiment.averages)
    state = start(game, experiment.dynamics, experiment.averages, torch.device("cpu"))
    source = experiment.dataset.train
    data = TensorSource(source.first(len(source)).double())
    # float64: both are exact to some 1e-15 a step, which Adam's division by √v + 1e-8 magnifies for the
    # smallest gradients: to 4e-10 after three steps with WGAN-GP
    close = {"rtol": 1e-8, "atol": 1e-8}
    for index in range(3):
        batches = draw_batches(data, experiment.member.latents, game, 16, 2, 0, index)
        state, logs = play(state, batches, index)
        losses = hand(batches[0].real, batches[0].latent, batches[1].latent, batches[0].mix)
        assert_close(losses[0], logs["loss/discriminator"].double(), **close)
        assert_close(losses[1], logs["loss/generator"].double(), **close)
        vectors = (state.players.generator, state.players.discriminator, state.evaluated)
        for vector, network, theirs in zip(
            vectors,
            (game.generator, game.discriminator, game.generator),
            (*networks, hand.average),
            strict=True,
        ):
            assert_close(network.unflatten(vector), dict(theirs.named_parameters()), **close)


@pytest.fixture(scope="module")
def of_metrics() -> ModuleType:
    return load(SCRIPT.with_name("benchmark_metrics.py"))


@pytest.mark.parametrize("case", ["fid/50000x2048", "prdc/10000x2048"])
def test_all_contenders_compute_the_same(of_metrics, case):
    contenders = of_metrics.CASES[case].contenders
    real, fake = of_metrics.features(300, 16, 0), of_metrics.features(300, 16, 1) * 0.9
    values = {name: dict(compute(real, fake)) for name, compute in contenders.items()}
    for found in values.values():
        assert_close(found, values["saddle"], atol=0, rtol=1e-5)  # torchmetrics' result is float32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
def test_both_ways_from_files_to_features_give_the_same(of_metrics):
    case = of_metrics.CASES["features/100x32x32"]
    torch.set_default_dtype(torch.float32)  # as a process of its own has it
    inputs = case.prepare(*(of_metrics.features(*case.small, seed) for seed in (0, 1)))
    values = [compute(*inputs) for compute in case.contenders.values()]
    assert_close(values[0], values[1], atol=0, rtol=1e-6)  # float32
    assert values[0]["mean"] > 0.01


def test_a_turn_says_its_time_value_and_memory(of_metrics, monkeypatch, capsys):
    small = of_metrics.CASES["vendi/50000x2048"]._replace(num=300, width=8)
    monkeypatch.setitem(of_metrics.CASES, "small", small)
    monkeypatch.setattr("sys.argv", ["benchmark_metrics.py", "small", "saddle"])
    torch.set_default_dtype(torch.float32)  # as a process of its own has it
    of_metrics.main()
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert found["peak_gigabytes"] >= found["before_gigabytes"] > 0.05
    assert 1 < found["value"]["vendi"] <= 8


def test_a_case_has_the_medians_of_its_rounds(of_metrics, monkeypatch):
    seconds = iter([1.0, 8.0, 2.0, 10.0, 1.0, 6.0])  # ours, theirs, ours, ...

    def turn(case: str, contender: str) -> dict:
        value = {"precision": 0.5 if contender == "saddle" else 0.4}
        return {"seconds": next(seconds), "cpu_seconds": 1.0, "value": value, "threads": 1} | dict.fromkeys(
            ("peak_gigabytes", "before_gigabytes"), 0.25
        )

    monkeypatch.setattr(of_metrics, "turn", turn)
    found = of_metrics.time_case("prdc/10000x2048", 3)
    assert (found["saddle"]["seconds"], found["prdc"]["seconds"]) == (1.0, 8.0)
    assert (found["prdc"]["ratio"], found["prdc"]["ratio_range"]) == (6.0, [5.0, 8.0])
    assert_close(found["prdc"]["relative_difference"], 0.2)  # of ours
