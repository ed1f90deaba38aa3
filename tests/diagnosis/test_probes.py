"""Probes of a game under training: closed forms on toy games, and training that they do not change."""

import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import nn
from torch.testing import assert_close

from oracles import Bowl, dirac_batch, dirac_gan
from saddle.commands import train
from saddle.data.dataset import of_tensors
from saddle.data.sampling import normal_latents
from saddle.diagnosis import probes
from saddle.diagnosis.probes import Draws, draws_of
from saddle.diagnosis.spectra import NotConverged
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.game.game import Batch, Game
from saddle.game.losses import Minimax, Wasserstein
from saddle.game.network import Network
from saddle.game.penalties.discriminator import r1
from saddle.models import mlp
from saddle.models.toy import Bilinear, Point
from saddle.records.record import open_record
from saddle.rounds.execution import Method
from saddle.training.member import Member
from saddle.training.recorder import Recorder
from saddle.training.stopwatch import Stopwatch

LATENTS = partial(normal_latents, size=1)


def always(train: Batch, held_out: Batch | None = None) -> Draws:
    return Draws(lambda *_: train, lambda *_: train if held_out is None else held_out)


def points(*values: float) -> Batch:
    real = torch.tensor(values)[:, None]
    return Batch(real, torch.zeros(len(real), 1), torch.full((len(real),), 0.5))


def bilinear_game(matrix: list[list[float]]) -> Game:
    """G(z) = θ, D(x) = ψᵀMx at θ = (2, 1), ψ = (−1, 3), data at the origin."""
    networks = Network(Point([2.0, 1.0])), Network(Bilinear([-1.0, 3.0], matrix))
    return Game(*networks, Wasserstein())


def plane() -> Batch:
    return Batch(torch.zeros(2, 2), torch.zeros(2, 1), torch.full((2,), 0.5))


# ---- closed forms


def test_slopes_of_a_bowl_are_a_squared_times_the_samples_squares():
    game = Game(Network(Point([2.0])), Network(Bowl(3.0)), Minimax())  # D = ½·3x²: slope 3x
    found = probes.slopes(game, game.init(), always(points(1.0, -2.0)), num_samples=2)
    assert_close(
        found,
        {
            "real_slope": 9.0 * (1 + 4) / 2,
            "fake_slope": 9.0 * 4,
            "slope_ratio": 36.0 / 22.5,
        },
    )


def test_slopes_of_a_discriminator_that_sees_packs_run_over_the_whole_pack():
    game = Game(Network(Point([2.0])), Network(Bowl(3.0)), Minimax(), pack=2)
    found = probes.slopes(game, game.init(), always(points(1.0, -2.0)), num_samples=2)
    assert_close(found["real_slope"], 9.0 * (1 + 4))
    assert_close(found["fake_slope"], 9.0 * (4 + 4))


def test_a_discriminator_that_is_flat_has_no_ratio_of_slopes():
    game = dirac_gan(Minimax(), start=(1.0, 0.0))
    found = probes.slopes(game, game.init(), always(dirac_batch()), num_samples=1)
    assert found["real_slope"] == 0
    assert math.isnan(found["slope_ratio"])


def test_the_discriminators_gap_is_the_difference_of_its_means():
    game = dirac_gan(Minimax(), start=(1.0, 2.0))  # D(x) = 2x
    draws = always(points(3.0, -1.0, 1.0, 1.0), points(-1.0, 0.5))
    found = probes.discriminator_gap(game, game.init(), draws, num_samples=4)
    assert found == {"discriminator_gap": 2.5, "train_accepted": 0.75, "held_out_accepted": 0.5}


def test_generator_gradients_are_the_sigmoids_of_the_dirac_gan():
    theta, psi = 2.0, -1.5  # ∂log(1 − σ(ψθ)) = −ψσ(ψθ), ∂(−log σ(ψθ)) = −ψσ(−ψθ)
    game = dirac_gan(Wasserstein(), start=(theta, psi))  # its own loss takes no part
    found = probes.generator_gradients(game, game.init(), always(dirac_batch(3)), num_samples=3)
    sigma = 1 / (1 + math.exp(-psi * theta))
    assert_close(found, {"saturating_gradient": 1.5 * sigma, "non_saturating_gradient": 1.5 * (1 - sigma)})


def gap_of(game: Game, batch: Batch, num_steps: int = 3) -> dict[str, float]:
    options = {"num_steps": num_steps, "evaluate_every": 1, "num_samples": 2}
    rule = SGD(0.1)
    return probes.duality_gap(game, game.init(), always(batch), generator=rule, discriminator=rule, **options)


def test_the_duality_gap_of_a_bilinear_game_grows_by_both_squared_gradients_a_step():
    """M = −ψᵀMθ: k steps of descent gain kη‖Mθ‖² and kη‖Mᵀψ‖², the gradients being constant."""
    found = gap_of(bilinear_game([[1.0, 0.0], [0.0, 0.5]]), plane())  # Mθ = (2, 0.5), Mᵀψ = (−1, 1.5)
    value = -(-1.0 * 2.0 + 3.0 * 0.5)
    assert_close(found["game_value"], value)
    assert_close(found["duality_upper"], value + 0.3 * (4 + 0.25))
    assert_close(found["duality_lower"], value - 0.3 * (1 + 2.25))
    assert_close(found["duality_gap"], 0.3 * 7.5)


def test_the_classic_game_has_no_duality_gap_and_the_value_minus_log_4_at_its_equilibrium():
    found = gap_of(dirac_gan(Minimax(), start=(0.0, 0.0)), dirac_batch())
    assert found["duality_gap"] == 0
    assert_close(found["game_value"], -math.log(4))


def test_a_gap_without_a_bound_is_not_a_number():
    game = dirac_gan(Wasserstein(), start=(1e300, 1.0))
    found = gap_of(game, dirac_batch())
    assert all(math.isnan(value) for value in found.values())


def spectrum_of(game: Game, batch: Batch, num: int = 2, max_dense: int = 300) -> dict[str, float]:
    return probes.spectrum(
        game, game.init(), always(batch), num_eigenvalues=num, num_samples=2, max_dense=max_dense
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # of the run; the probe's own is float64
def test_a_bilinear_game_only_rotates_as_fast_as_its_largest_singular_value(dtype):
    torch.set_default_dtype(dtype)
    found = spectrum_of(bilinear_game([[3.0, 0.0], [0.0, 0.5]]), plane())
    # eigenvalues ±iσ: a computed real part is rounding, 1e-16 of σ
    expected = {"spectral_radius": 3.0, "rotation": 1.0, "smallest_real_part": 0.0, "stable_step": 0.0}
    assert_close(found, expected, atol=1e-12, rtol=0)


def test_leading_eigenvalues_of_a_network_are_those_of_its_dense_jacobian():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = Network(mlp.Generator(3, (2,), [6], 0.2)), Network(mlp.Discriminator((2,), [6], 0.2))
        game = Game(*networks, Minimax(), {"r1": partial(r1, gamma=1.0)})
        batch = Batch(torch.randn(8, 2), torch.randn(8, 3), torch.rand(8))
    dense, leading = (spectrum_of(game, batch, num=2, max_dense=num) for num in (10_000, 1))
    # Arnoldi's own tolerance; the other numbers are of all eigenvalues here, of two there
    assert_close(leading["spectral_radius"], dense["spectral_radius"], rtol=1e-3, atol=0)


def test_eigenvalues_that_are_not_found_are_not_numbers(monkeypatch):
    def fail(*arguments, **options):
        raise NotConverged

    monkeypatch.setattr(probes, "eigenvalues", fail)
    found = spectrum_of(bilinear_game([[1.0, 0.0], [0.0, 0.5]]), plane())
    assert all(math.isnan(value) for value in found.values())


def test_no_eigenvalue_at_all_is_refused():
    with pytest.raises(ValueError, match="num_eigenvalues must be at least 1; got 0"):
        spectrum_of(bilinear_game([[1.0, 0.0], [0.0, 0.5]]), plane(), num=0)


# ---- draws


def test_draws_are_a_function_of_the_seed_and_the_step_and_keep_the_splits_apart():
    data = of_tensors("points", torch.arange(10.0)[:, None], 100 + torch.arange(10.0)[:, None])
    with torch.random.fork_rng():
        game = Game(Network(Point([2.0])), Network(mlp.Discriminator((1,), [4], 0.2, dropout=0.5)), Minimax())
    first, again = (draws_of(game, data, LATENTS, 1, 50) for _ in range(2))
    assert_close(first.train(6, 2), again.train(6, 2))
    assert first.train(6, 0).uniform.discriminator  # dropout's numbers too
    for other in (
        draws_of(game, data, LATENTS, 2, 50).train(6, 2),
        draws_of(game, data, LATENTS, 1, 51).train(6, 2),
        first.train(6, 3),
        first.held_out(6, 2),
    ):
        assert not torch.equal(other.latent, first.train(6, 2).latent)
    assert bool((first.held_out(50, 0).real >= 100).all())
    assert bool((first.train(50, 0).real < 100).all())


def test_draws_fill_packs():
    data = of_tensors("points", torch.zeros(3, 1), torch.zeros(3, 1))
    game = replace(dirac_gan(Minimax()), pack=4)
    assert [len(draws_of(game, data, LATENTS, 0, 0).train(num, 0).real) for num in (4, 5, 7)] == [4, 8, 8]


# ---- in a run


RUN = [
    *("data=ring8", "model=mlp", "logger=none", "batch_size=16", "num_steps=12", "evaluate_every=4"),
    *("checkpoint_every=4", "steps_per_execution=3", "data.num_train=300", "data.num_held_out=100"),
    *("metrics.num_samples=100", "metrics.num_real=100", "model.generator.hidden=[16]"),
    *("model.discriminator.hidden=[16]", "model.discriminator.dropout=0.2", "regularizer=[r1]"),
]
ALL = [
    "diagnostics=[slopes,discriminator_gap,generator_gradients,duality_gap,spectrum]",
    *("diagnostics.duality_gap.num_steps=2", "diagnostics.duality_gap.num_samples=16"),
    *("diagnostics.spectrum.num_samples=16", "diagnostics.slopes.num_samples=16"),
    *("diagnostics.discriminator_gap.num_samples=16", "diagnostics.generator_gradients.num_samples=16"),
]


def run(directory: Path, *words: str) -> list[bytes]:
    """The lines of the record's metrics."""
    GlobalHydra.instance().clear()
    torch.set_default_dtype(torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["saddle-train", *words, f"hydra.run.dir='{directory}'"])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        train.main()
    return open_record(directory).metrics.read_bytes().splitlines()


def test_a_run_with_probes_trains_as_one_without_and_goes_on_exactly(tmp_path):
    plain, probed = run(tmp_path / "plain", *RUN), run(tmp_path / "probed", *RUN, *ALL)
    own = [line for line in probed if line not in plain]
    assert [line for line in probed if line not in own] == plain
    assert {line.split(b",")[0] for line in own} == {b"0", b"4", b"8", b"12"}
    assert len(own) == 4 * (3 + 3 + 2 + 4 + 4)
    assert all(line.split(b",")[1].startswith(b"diag/") for line in own)

    run(tmp_path / "short", *RUN, *ALL, "num_steps=8")
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["saddle-train", f"resume={tmp_path / 'short'}", "num_steps=12"])
        patch.chdir(tmp_path)
        train.main()
    longer = open_record(tmp_path / "short").metrics.read_bytes().splitlines()
    # the shorter run ended at step 8, and so measured the raw generator there too
    assert [line for line in longer if b"eval_raw" not in line] == [
        line for line in probed if b"eval_raw" not in line
    ]


def test_a_probe_sees_lazy_penalties_with_their_own_weight():
    seen = []
    with torch.random.fork_rng():
        game = Game(Network(Point([2.0])), Network(Bowl()), Minimax(), {"r1": partial(r1, gamma=1.0)})
    game = replace(game, intervals={"regularizer.r1": 5})
    data = of_tensors("points", torch.ones(3, 1), torch.ones(3, 1))
    rule = SGD(0.1)
    member = Member(Method(game, Simultaneous(rule, rule), {}), data, LATENTS, 1, seed=0, num_steps=1)
    member.begin(torch.device("cpu"))

    def probe(game, players, draws):
        seen.append(game.discriminator_loss(players, draws.train(1, 0))[1]["penalty/r1"])
        return {}

    recorder: Any = SimpleNamespace(
        experiment=SimpleNamespace(probes={"probe": probe}),
        member=member,
        stopwatch=Stopwatch(),
        _append=lambda *_: None,
        _track=lambda *_: None,
    )
    Recorder._probe(recorder)
    assert_close(seen, [torch.tensor(0.5)])  # ½γ(a·x)², where 5 times that is due in round 0


class Flat(nn.Module):
    """D(x) = 0, whatever its one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.tensor([1.0]))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return samples.flatten(1).sum(1) * self.unused * 0


def test_a_game_in_which_nothing_moves_has_no_rotation_and_allows_every_step():
    game = Game(Network(Point([2.0])), Network(Flat()), Wasserstein())
    found = spectrum_of(game, dirac_batch(2))
    assert found == {
        "spectral_radius": 0.0,
        "rotation": 0.0,
        "smallest_real_part": 0.0,
        "stable_step": math.inf,
    }
