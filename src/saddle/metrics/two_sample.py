"""Can a nearest-neighbour classifier tell the two sets apart?"""

import torch
from torch import Tensor

from saddle.metrics.distances import kth_nearest
from saddle.metrics.matrices import comparable
from saddle.metrics.values import Value, metric


@metric({"one_nn": Value(0.5), "one_nn_real": Value(0.5), "one_nn_fake": Value(0.5)})
def one_nearest_neighbour(real: Tensor, fake: Tensor, *, block_size: int = 256) -> dict[str, float]:
    """Leave-one-out accuracy of the 1-nearest-neighbour classifier of real against fake.

    A sample is classified rightly when its nearest other sample is of its own kind; a tie counts half.
    min(N, M) samples of each side are used, the first so many, for chance is ½ only at equal numbers.

    Args:
        real: (N, d), N ≥ 2.
        fake: (M, d), M ≥ 2.
        block_size: rows of the distance matrix held at once.

    Returns:
        "one_nn", the mean of "one_nn_real" and "one_nn_fake", the accuracies on either side. ½ is best;
        above, the sides differ; below, fakes stick to real samples: memorization. Fakes that crowd into
        few places are near each other: high on fakes, low on the real samples there, which can cancel in
        the mean, so look at both. Standard error at ½: about ½/√N.

    Raises:
        ValueError: fewer than two rows, unlike widths, or a value that is not finite.

    Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545; for GANs Xu et al. 2018, arXiv:1806.07755.
    """
    real, fake = comparable(real, fake, at_least=2)
    num = min(len(real), len(fake))
    real, fake = real[:num], fake[:num]
    accuracies = []
    for side, other in ((real, fake), (fake, real)):
        own = kth_nearest(side, None, (1,), block_size=block_size)[0]
        across = kth_nearest(side, other, (1,), block_size=block_size)[0]
        right = (own < across).to(torch.float64) + 0.5 * (own == across)
        accuracies.append(float(right.mean()))
    return {"one_nn": sum(accuracies) / 2, "one_nn_real": accuracies[0], "one_nn_fake": accuracies[1]}
