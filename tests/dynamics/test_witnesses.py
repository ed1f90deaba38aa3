"""Another library plays the same game: cooper-optim 1.0.1, which carries the authors' ExtraSGD and ExtraAdam.

torch's own optimizers are witnesses in ``test_optimizers`` and ``test_catalogue_optimizers``, its spectral
norm in ``test_parts``.
"""

import pytest
import torch
from cooper.optim import ExtraAdam, ExtraSGD
from torch import Tensor, nn

from by_hand import loss_by_hand_d, loss_by_hand_g, small_batch, small_game, start_by_hand
from dynamics_laws import ROUND_OFF, play
from saddle.dynamics.extrapolation import ExtraGradient
from saddle.dynamics.optimizers import SGD, Adam
from saddle.game.game import Batch


def fill(theta: nn.Parameter, psi: nn.Parameter, batch: Batch) -> None:
    """Each player's gradient of its own loss, both at the same point."""
    (theta.grad,) = torch.autograd.grad(loss_by_hand_g(theta, psi.detach(), batch), theta)
    (psi.grad,) = torch.autograd.grad(loss_by_hand_d(theta.detach(), psi, batch), psi)


def play_theirs(make_g, make_d, num_rounds: int = 10) -> Tensor:
    theta, psi = (nn.Parameter(part.clone()) for part in start_by_hand().split(3))
    optimizers, path = (make_g([theta]), make_d([psi])), []
    for turn in range(num_rounds):
        batch = small_batch(10 * turn)
        fill(theta, psi, batch)
        for optimizer in optimizers:
            optimizer.extrapolation()
        fill(theta, psi, batch)
        for optimizer in optimizers:
            optimizer.step()
        path.append(torch.cat([theta, psi]).detach())
    return torch.stack(path)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((SGD(0.1), SGD(0.3)), (lambda p: ExtraSGD(p, lr=0.1), lambda p: ExtraSGD(p, lr=0.3))),
        (
            (SGD(0.1, 0.5), SGD(0.05, 0.9)),
            (lambda p: ExtraSGD(p, lr=0.1, momentum=0.5), lambda p: ExtraSGD(p, lr=0.05, momentum=0.9)),
        ),
        (
            # they add ε to √v and we, as Adam's paper does, to √v̂: without ε the two are one algorithm
            (Adam(0.05, 0.5, 0.9, eps=0.0), Adam(0.1, 0.9, 0.999, eps=0.0)),
            (
                lambda p: ExtraAdam(p, lr=0.05, betas=(0.5, 0.9), eps=0.0),
                lambda p: ExtraAdam(p, lr=0.1, betas=(0.9, 0.999), eps=0.0),
            ),
        ),
        (
            (Adam(0.05, 0.0, 0.9, eps=0.0), SGD(0.1)),
            (lambda p: ExtraAdam(p, lr=0.05, betas=(0.0, 0.9), eps=0.0), lambda p: ExtraSGD(p, lr=0.1)),
        ),
    ],
    ids=["sgd", "momentum", "adam", "one each"],
)
def test_extragradient_is_that_of_cooper(ours, theirs):
    found, expected = play(small_game(), ExtraGradient(*ours)), play_theirs(*theirs)
    torch.testing.assert_close(found, expected, **ROUND_OFF)
    assert (expected[-1] - start_by_hand()).abs().max() > 0.1  # they moved
