"""Whatever the data lies as, a run is put together, trains and is measured from its source alone."""

import json
import math
from pathlib import Path

import pytest
import torch

from command_line import POINTS, call
from compositions import composed
from saddle.commands import evaluate, sample, train
from saddle.data.dataset import Dataset
from saddle.data.pixels import to_uint8
from saddle.data.sources import BLOCK, TensorSource
from saddle.diagnosis.probes import draws_of
from saddle.game.refusals import Refused
from saddle.records.record import open_record
from saddle.training.assembly import Experiment, assemble
from saddle.training.module import GANModule, Pace


@pytest.fixture(autouse=True)
def _float32_as_the_commands_have_it(_float64_by_default: None) -> None:
    torch.set_default_dtype(torch.float32)


def spirals(*words: str, num_train: int = 20_000, radius: float = 1.0) -> Experiment:
    config = composed("data=ring8", "model=mlp", "metrics.num_samples=50", "metrics.num_real=60", *words)
    config.data = {
        "_target_": "computed.dataset",
        "name": "spiral",
        "radius": radius,
        "num_train": num_train,
        "num_held_out": 400,
    }
    return assemble(config)


def play(of: Experiment, num_rounds: int = 3) -> None:
    module = GANModule([of.member], Pace(num_rounds))
    module.begin()
    module.play(next(module.chunks()))


def most_asked(of: Experiment) -> int:
    return max(max(split.asked) for split in (of.dataset.train, of.dataset.held_out))


def test_a_source_is_never_asked_for_more_than_a_block_at_once():
    of = spirals(
        "diagnostics=[slopes,discriminator_gap]", "regularizer=[r1]", "regularizer.r1.every_n_steps=2"
    )
    assert len(of.advice) == 1  # of the lazy penalty on points
    play(of)
    evaluator = of.evaluator.prepare(of.dataset, torch.device("cpu"))
    evaluator.of_held_out(of.dataset)
    assert evaluator.real is not None
    assert [len(matrix) for matrix in evaluator.real.values()] == [60, 60]
    protocol = evaluator.protocol(of.dataset, of.sampler, of.averaging)
    assert (protocol["real"]["num"], protocol["num_held_out"]) == (60, 50)
    game, players = of.game, of.member.state.players
    draws = draws_of(game, of.dataset, of.member.latents, 0, 0)
    for probe in of.probes.values():
        assert all(math.isfinite(value) for value in probe(game, players, draws).values())
    assert most_asked(of) == BLOCK


def test_the_reach_of_a_source_is_found_block_by_block():
    words = "regularizer=[dragan_centred]", "loss=hinge"
    assert most_asked(spirals(*words, radius=0.9)) == BLOCK
    with pytest.raises(Refused, match=r"must see data in \[-1, 1\].*got spiral, which reaches 2"):
        spirals(*words, radius=2.0)


def test_samples_that_are_not_finite_are_counted_block_by_block():
    with pytest.raises(Refused, match=r"data must be finite; spiral has 3,400 samples with NaN"):
        spirals(num_train=3000, radius=math.nan)


def test_every_command_takes_a_source_that_holds_no_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    words = [*POINTS, "data._target_=computed.dataset", "+data.radius=1.5", "sampling=passes"]
    assert call(train.main, *words, "diagnostics=[slopes]", "hydra.run.dir=run") == 0
    record = open_record(Path("run"))
    assert record.read_summary()["status"] == "finished"
    assert record.report.is_file()
    assert call(sample.main, "run=run", "num=5", "grid=grid.png") == 0
    assert call(evaluate.main, "run=run", "output=numbers.json") == 0
    found = json.loads(Path("numbers.json").read_text())
    assert found["metrics"]["mmd"] == record.read_summary()["metrics"]["mmd"]["last"]


def test_levels_train_and_measure_as_the_floats_that_they_stand_for():
    """Digits have 17 grey levels, which uint8 does not hold: both runs see the levels nearest to them."""
    experiments = []
    for kind in ("levels", "floats"):
        of = assemble(composed("data=digits", "model=mlp8", "metrics.num_samples=50", "metrics.num_real=60"))
        stored = [to_uint8(split.first(len(split))) for split in (of.dataset.train, of.dataset.held_out)]
        train_split, held_out = (TensorSource(levels) for levels in stored)
        if kind == "floats":
            train_split, held_out = (TensorSource(split.first(9999)) for split in (train_split, held_out))
        member = of.member
        member.dataset = Dataset("digits", train_split, held_out)
        play(of)
        evaluator = of.evaluator.prepare(member.dataset, torch.device("cpu"))
        protocol = evaluator.protocol(member.dataset, of.sampler, of.averaging)
        values = evaluator.of_generator(of.sampler, member.state.evaluated)[1]
        experiments.append((member.state.players, protocol, values))
    (players, protocol, values), (same_players, same_protocol, same_values) = experiments
    assert all(torch.equal(*pair) for pair in zip(players, same_players, strict=True))
    assert (protocol, values) == (same_protocol, same_values)


# Of the data, of the first real samples and of the protocol: what stored numbers are compared by. And of the
# real samples and mixing weights of round 7, with batches of 8.
PINNED = {
    "ring8": (
        "f47ebbe856c7e3199534996ca99fd1def43cc43ab20279c8e9b78d4f3d89ef04",
        "c37318724e8af14c065aa620aae1d1efdb5a1df6eff2bf19a30d5c4ba30fe4aa",
        ("68c2267b70", 2500),
        "2b2d7c2f537eae4e7532c247fd1dc283812d257e15fb35c0c2957a901cab2b1d",
    ),
    "mnist5k": (
        "adfbfb8755ba3ede738da5a5c785497e06ec17457eb037c9d76010a7e79a50a0",
        "c45504f81666d53345c20bb81c21163478e371d2ccdcfb74c6347bf3a02d9fd2",
        ("aed5b4e6c4", 1000),
        "bb4884f75840b682d9dfb27fc8734446172a1518f22369240779721e4c4f13f6",
    ),
}


@pytest.mark.parametrize(("data", "model"), [("ring8", "mlp"), ("mnist5k", "dcgan28")])
def test_what_stored_numbers_are_told_by_stays_what_it_is(data, model):
    from hashlib import sha256

    config = composed(f"data={data}", f"model={model}")
    if data == "ring8":
        config.data.num_train, config.data.num_held_out = 100_000, 10_000
    of = assemble(config)
    protocol = of.evaluator.protocol(of.dataset, of.sampler, of.averaging)
    drawn = sha256()
    for batch in of.member.draw(7):
        drawn.update(batch.real.numpy().tobytes() + batch.mix.numpy().tobytes())
    told = protocol["fingerprint"], protocol["num_held_out"]
    assert (of.dataset.digest(), protocol["real"]["sha256"], told, drawn.hexdigest()) == PINNED[data]
