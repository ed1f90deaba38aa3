"""Copies: of the training set among the fakes, and of the fakes among themselves.

In all of these ``real`` is the *training* set that the generator saw.
"""

import math

import torch
from torch import Tensor

from saddle.game.refusals import Refused
from saddle.metrics.distances import kth_nearest, pairs_within
from saddle.metrics.matrices import comparable
from saddle.metrics.values import HIGH, Value, metric


@metric(Value(HIGH))
def authenticity(real: Tensor, fake: Tensor, *, block_size: int = 256) -> float:
    """AuthPct: percent of fakes farther from their nearest training sample than that one's own neighbour is.

    Args:
        real: the training set (N, d), N ≥ 2.
        fake: (M, d).
        block_size: rows of the distance matrix held at once.

    Returns:
        0 … 100; larger means fewer copies. Between fresh samples of the data's own distribution about
        50 to 70, by the dimension: compare with what held-out samples score. Poor fakes are authentic, too.

    Raises:
        ValueError: too few rows, unlike widths, or a value that is not finite.

    Source: Alaa et al. 2022, arXiv:2102.08921, secs. 3-4; in percent Stein et al. 2023, arXiv:2306.04675.
    """
    real, fake = comparable(real, fake)
    if len(real) < 2:
        raise Refused(
            "real features must have at least 2 rows for this metric; got 1. Give the training set."
        )
    own = kth_nearest(real, None, (1,), block_size=block_size)[0][:, 0]
    across, which = kth_nearest(fake, real, (1,), block_size=block_size)
    return 100 * float((own[which[:, 0]] < across[:, 0]).to(torch.float64).mean())


@metric(
    {
        "nearer_train": Value(),  # not ½: below it nothing is memorized, it is chance
        "nearer_train_se": Value(),
        "distance_train": Value(),
        "distance_held_out": Value(),
    }
)
def memorization(real: Tensor, fake: Tensor, *, held_out: Tensor, block_size: int = 256) -> dict[str, float]:
    """Whether fakes are nearer to the training set than to held-out samples of the same distribution.

    min(N, H) samples of either set are used, the first so many: the larger set would always be nearer.
    Not the C_T of Meehan et al., which asks whether fakes are nearer to the training set than held-out
    samples are to it, cell by cell.

    Args:
        real: the training set (N, d).
        fake: (M, d).
        held_out: (H, d), drawn as the training set was, not seen by the generator.
        block_size: rows of the distance matrix held at once.

    Returns:
        "nearer_train", share of fakes nearer to the training set, ties counting half: ½ without
        memorization, 1 for copies; "distance_train" and "distance_held_out", mean distances to the nearest;
        "nearer_train_se", standard error of the share for fakes that are independent.

    Raises:
        ValueError: unlike widths, or a value that is not finite.

    Source: after Meehan et al. 2020, arXiv:2004.05675.
    """
    real, fake = comparable(real, fake)
    _, held_out = comparable(real, held_out)
    num = min(len(real), len(held_out))
    to_train, to_held_out = (
        kth_nearest(fake, side[:num], (1,), block_size=block_size)[0][:, 0] for side in (real, held_out)
    )
    nearer = (to_train < to_held_out).to(torch.float64) + 0.5 * (to_train == to_held_out)
    share = float(nearer.mean())
    return {
        "nearer_train": share,
        "nearer_train_se": math.sqrt(share * (1 - share) / len(fake)),
        "distance_train": float(to_train.sqrt().mean()),
        "distance_held_out": float(to_held_out.sqrt().mean()),
    }


# what it counts, a few pairs, is in the denominator
@metric({"birthday_support": Value(HIGH, relative=True), "birthday_pairs": Value()})
def birthday_support(
    real: Tensor, fake: Tensor, *, quantile: float = 0.01, block_size: int = 256
) -> dict[str, float]:
    """Size of the fakes' support, from how often two of them are the same.

    Among M draws from S equally likely things, C = M(M−1)/(2S) pairs are expected to be equal; so
    S ≈ M(M−1)/(2C). For unequal chances p this is 1/Σp². Two fakes are the same when they are no
    farther apart than the closest ``quantile`` of real samples are from their nearest neighbour. The
    paper's authors looked at the pairs instead.

    Args:
        real: (N, d), N ≥ 2: what sets the threshold. It should have about as many rows as fake.
        fake: (M, d), M ≥ 2.
        quantile: in [0, 1]; 0 counts pairs at the smallest real distance.
        block_size: rows of the distance matrix held at once.

    Returns:
        "birthday_support", larger is more diverse, and "birthday_pairs", C. Without such a pair the support
        is at least what one pair would say, and that is returned: it cannot exceed M(M−1)/2. The standard
        error of log S is about 1/√C.

    Raises:
        ValueError: fewer than two rows, a quantile outside [0, 1], unlike widths, or not finite.

    Source: Arora and Zhang 2017, arXiv:1706.08224.
    """
    real, fake = comparable(real, fake, at_least=2)
    if not 0 <= quantile <= 1:
        raise Refused(f"quantile must lie in [0, 1]; got {quantile}. Try 0.01.")
    threshold = kth_nearest(real, None, (1,), block_size=block_size)[0][:, 0].quantile(quantile)
    nowhere = torch.full((len(fake),), -1.0, dtype=torch.float64, device=fake.device)
    radii = threshold.expand(len(fake))
    inside = 0
    for at in pairs_within(fake, fake, [radii], nowhere, block_size=block_size):
        inside += int((at.in_row[0] & (at.rows != at.columns)).sum())
    pairs = inside / 2
    num = len(fake)
    return {"birthday_support": num * (num - 1) / 2 / max(pairs, 1.0), "birthday_pairs": pairs}
