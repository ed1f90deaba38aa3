"""Counter-based sampling: the batches of a round are a pure function of (seed, round)."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from saddle.data.permutations import permuted
from saddle.data.sources import Source
from saddle.game.game import Batch, Game, Players
from saddle.game.randomness import generator, seed_of

LatentLaw = Callable[[int, torch.Generator], Tensor]


def normal_latents(num: int, random: torch.Generator, *, size: int) -> Tensor:
    """Latents from N(0, I), shape (num, size)."""
    return torch.randn(num, size, generator=random, device=random.device)


def uniform_latents(num: int, random: torch.Generator, *, size: int, bound: float = 1.0) -> Tensor:
    """Latents uniform on [−bound, bound), shape (num, size)."""
    return (torch.rand(num, size, generator=random, device=random.device) * 2.0 - 1.0) * bound


class Order(Protocol):
    """Which samples a round takes: a choice of ``conf/sampling``."""

    def __call__(self, size: int, num: int, seed: int, step: int, random: torch.Generator) -> Tensor:
        """Give the indices of the real samples of a round.

        Args:
            size: M, how many samples there are.
            num: how many a round takes, the same in every round.
            seed: with ``step`` it alone decides the indices.
            step: the round, from 0.
            random: the round's own generator, which draws latents after this.

        Returns:
            (num,) int64 from 0 to M − 1, on the device of ``random``.
        """


def with_replacement(size: int, num: int, seed: int, step: int, random: torch.Generator) -> Tensor:
    """Each index is drawn alone and uniformly: in M draws a sample is missed with probability 1/e."""
    return torch.randint(size, (num,), generator=random, device=random.device)


def in_passes(size: int, num: int, seed: int, step: int, random: torch.Generator) -> Tensor:
    """Shuffled passes over the data, in each of which every sample comes once, as papers count epochs.

    Position p = step·num + j of the run lies in pass ⌊p/M⌋, and its sample is the (p mod M)-th of that
    pass's own permutation. Nothing is stored: a round finds its samples without the rounds before it.
    """
    # by the host: it takes a fifth of a millisecond there, and every device sees the same samples
    start = step * num
    within, number = start % size + np.arange(num), start // size
    seeds = [seed_of(seed, "pass", number + index) for index in range(int(within[-1]) // size + 1)]
    keys = np.array(seeds, np.uint64)[within // size]
    found = permuted((within % size).astype(np.uint64), size, keys)
    return torch.from_numpy(found.astype(np.int64)).to(random.device)


def draw_batches(
    source: Source,
    latents: LatentLaw,
    game: Game,
    batch_size: int,
    num_batches: int,
    seed: int,
    step: int,
    order: Order = with_replacement,
) -> tuple[Batch, ...]:
    """The batches of one round.

    Args:
        source: of all real samples, on the device where the batches are wanted.
        latents: (num, random) -> latents (num, d).
        game: says how many uniform numbers its players' layers need.
        step: the round; with ``seed`` it alone decides every number drawn.
        order: which real samples are taken.
    """
    random = generator(seed, "batch", step, source.device)
    num = num_batches * batch_size
    indices = order(len(source), num, seed, step, random)
    latent = latents(num, random)
    mix = torch.rand(num, generator=random, device=source.device)

    def draw(sizes: Mapping[str, int]) -> dict[str, tuple[Tensor, ...]]:
        return {
            name: torch.rand(num, size, generator=random, device=source.device).split(batch_size)
            for name, size in sizes.items()
        }

    for_generator, for_discriminator = draw(game.generator.num_uniform), draw(game.discriminator.num_uniform)
    for_parts = draw(game.num_uniform(source.event_shape))
    real, label = source.take(indices)
    pieces = zip(real.split(batch_size), latent.split(batch_size), mix.split(batch_size), strict=True)
    labels = () if label is None else label.split(batch_size)
    return tuple(
        Batch(
            *piece,
            uniform=Players(
                {name: values[index] for name, values in for_generator.items()},
                {name: values[index] for name, values in for_discriminator.items()},
            ),
            draws={name: values[index] for name, values in for_parts.items()},
            labels=labels[index : index + 1],
        )
        for index, piece in enumerate(pieces)
    )
