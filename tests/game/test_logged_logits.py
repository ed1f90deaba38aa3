"""What is logged of D's logits, and that nothing but round-off decides is left out of it."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan
from saddle.data.sampling import draw_batches, normal_latents
from saddle.data.sources import TensorSource
from saddle.dynamics import Alternating
from saddle.dynamics.optimizers import Adam
from saddle.game.game import Game
from saddle.game.losses import (
    FGAN,
    PEARSON,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    RelativisticAverage,
    Wasserstein,
    hinged,
    squared,
)
from saddle.game.network import Network
from saddle.game.penalties.discriminator import LeCam
from saddle.models import mlp

BLIND = [
    Wasserstein(),
    *(kind(form) for kind in (Relativistic, RelativisticAverage) for form in (squared, hinged)),
    Relativistic(),
    RelativisticAverage(),
]
SEEING = [Minimax(), NonSaturating(), LeastSquares(), Hinge(), FGAN(PEARSON)]
NAMES = ("diag/real_logit", "diag/fake_logit", "diag/real_sign")


def logged(loss, shift: float = 0.0) -> list[float]:
    """Of D(x) = 15 and D(G(z)) = 6, both moved by a shift."""
    game = dirac_gan(loss, start=(2.0, 3.0))
    real = torch.full((4, 1), 5.0)

    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = game.discriminator.module

        def forward(self, samples):
            return self.inner(samples) + shift

    moved = Game(game.generator, Network(Shifted()), loss)
    _, logs = moved.discriminator_loss(moved.init(), dirac_batch(4)._replace(real=real))
    return [logs[name].item() for name in NAMES]


@pytest.mark.parametrize("loss", SEEING)
def test_a_loss_that_sees_the_level_logs_the_means_as_they_are(loss):
    assert logged(loss) == [15.0, 6.0, 1.0]
    assert logged(loss, shift=-20.0) == [-5.0, -14.0, -1.0]


@pytest.mark.parametrize("loss", BLIND)
def test_a_loss_that_is_blind_to_it_logs_them_about_their_common_mean(loss):
    assert logged(loss) == [4.5, -4.5, 1.0]  # 15 and 6 about 10.5
    assert logged(loss, shift=-20.0) == [4.5, -4.5, -1.0]  # the sign stays that of the logits themselves


@pytest.mark.parametrize("loss", [*BLIND, *SEEING])
def test_a_loss_says_that_it_is_blind_if_and_only_if_a_shift_leaves_both_values(loss):
    real, fake = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))

    def values(shift: float) -> torch.Tensor:
        given = (fake + shift, real + shift) if loss.paired else (fake + shift,)
        # the generator's own value may move by the shift; its gradient does not see it
        return torch.stack([loss.discriminator(real + shift, fake + shift), loss.generator(*given)])

    moved = values(2.0) - values(0.0)
    still = moved.abs() < 1e-12  # rounding of sums of 16 numbers of size 1
    assert getattr(loss, "shift_invariant", False) == bool(still[0])
    if loss.paired:
        assert bool(still[1])


def play(loss, shift: float) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Twenty rounds in float32 from D with its last bias moved: what each logged, and D(x) at the end."""
    torch.manual_seed(0)
    networks = mlp.Generator(3, (2,), [8], 0.2), mlp.Discriminator((2,), [8, 8], 0.2)
    with torch.no_grad():
        networks[1].layers[-1].bias += shift
    game = Game(*map(Network, networks), loss)
    dynamics, players = Alternating(Adam(0.002), Adam(0.002)), game.init()
    data, state = torch.randn(64, 2, generator=torch.Generator().manual_seed(1)), dynamics.init(players)
    rows = []
    for index in range(20):
        batches = draw_batches(TensorSource(data), partial(normal_latents, size=3), game, 16, 2, 0, index)
        players, state, logs = dynamics.step(game, players, state, batches)
        rows.append(torch.stack([logs[name] for name in NAMES[:2]]))
    return rows, game.bind_discriminator(players, batches[0])(data).mean().detach()


@pytest.mark.parametrize("loss", BLIND)
def test_trainings_from_discriminators_a_constant_apart_log_the_same(loss):
    torch.set_default_dtype(torch.float32)
    (here, level), (there, far) = play(loss, 0.0), play(loss, 32.0)
    assert level.dtype == torch.float32
    assert abs(float(far - level) - 32.0) < 1.0  # by as much their raw means would differ
    # logits near 32 are rounded to 4e-6; Adam makes steps of 2e-3 out of gradients that differ by as much
    assert_close(torch.stack(here), torch.stack(there), atol=2e-4, rtol=0)


def test_lecam_follows_the_logits_as_they_are():
    penalty = LeCam(0.3, decay=0.75)
    game = dirac_gan(Relativistic(), {"lecam": penalty}, start=(2.0, 3.0))
    players, batch = game.init(), dirac_batch(4)._replace(real=torch.full((4, 1), 5.0))
    memory = game.init_memory(players)
    game = game.remember(memory)
    value, logs = game.discriminator_loss(players, batch)
    assert (logs["diag/real_logit"], logs["diag/fake_logit"]) == (4.5, -4.5)
    assert (logs["diag/lecam_real_logit"], logs["diag/lecam_fake_logit"]) == (15.0, 6.0)
    # its averages begin at 0: 15² and 6²
    assert_close(logs["penalty/lecam"].item(), 0.3 * (225.0 + 36.0))
    assert_close(value, logs["loss/discriminator"] + logs["penalty/lecam"])
    assert game.advance_memory(memory, players, logs)["regularizer.lecam"] == (0.25 * 15.0, 0.25 * 6.0)
