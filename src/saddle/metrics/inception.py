"""Inception Score's form, for the class probabilities of any classifier."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from saddle.game.refusals import Refused
from saddle.metrics.matrices import feature_matrices
from saddle.metrics.values import HIGH, Value, metric


@metric({"inception_score": Value(HIGH), "inception_score_std": Value()})
def inception_score(
    real: Tensor, fake: Tensor, *, num_splits: int = 10, seed: int = 2020
) -> dict[str, float]:
    """exp(E KL(p(y|x) ‖ p(y))) over the fakes, mean over splits, p(y) being each split's own mean.

    With the default seed the splits are those of torch-fidelity. Sees neither the real samples nor
    diversity within a class. Biased: it grows with the size of a split, so numbers of unlike M or
    num_splits are not comparable.

    Args:
        real: (N, num_classes); only its width is looked at.
        fake: logits (M, num_classes), M ≥ num_splits; of probabilities p give log p, at least −700.
        num_splits: 10 in papers.
        seed: of the order in which samples are split.

    Returns:
        "inception_score", from 1 to num_classes, larger is better; "inception_score_std", over the splits.

    Raises:
        ValueError: fewer rows than splits, unlike widths, or a value that is not finite.

    Source: Salimans et al. 2016, arXiv:1606.03498, sec. 4; torch-fidelity 0.4.
    """
    _, fake = feature_matrices(real, fake)
    if not 1 <= num_splits <= len(fake):
        raise Refused(
            f"num_splits must be between 1 and the number of fakes, {len(fake)}; got {num_splits}. "
            "Evaluate more samples, or split less."
        )
    # the legacy generator is the published protocol
    random = np.random.RandomState(seed)
    order = torch.from_numpy(random.permutation(len(fake))).to(fake.device)
    logs = fake[order].log_softmax(dim=1)
    edges = [part * len(fake) // num_splits for part in range(num_splits + 1)]
    scores = []
    for start, stop in pairwise(edges):
        log_p = logs[start:stop]
        p = log_p.exp()
        marginal = p.mean(0)
        # where p(y) is 0 so is every p(y|x), and their product with any logarithm
        divergence = p * (log_p - torch.where(marginal > 0, marginal, 1).log())
        scores.append(float(divergence.sum(1).mean().exp()))
    return {"inception_score": float(np.mean(scores)), "inception_score_std": float(np.std(scores))}
