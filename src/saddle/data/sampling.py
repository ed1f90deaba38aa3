"""Counter-based sampling: the batches of a step are a pure function of (seed, step)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from saddle.game.game import Batch, Game, Players
from saddle.game.randomness import generator

LatentLaw = Callable[[int, torch.Generator], Tensor]


def normal(num: int, random: torch.Generator, *, size: int) -> Tensor:
    """Latents from N(0, I), shape (num, size)."""
    return torch.randn(num, size, generator=random, device=random.device)


def uniform(num: int, random: torch.Generator, *, size: int, bound: float = 1.0) -> Tensor:
    """Latents uniform on [−bound, bound), shape (num, size)."""
    return (torch.rand(num, size, generator=random, device=random.device) * 2.0 - 1.0) * bound


def draw_batches(
    data: Tensor, latents: LatentLaw, game: Game, batch_size: int, num_batches: int, seed: int, step: int
) -> tuple[Batch, ...]:
    """The batches of one round. Real samples are drawn with replacement.

    Args:
        data: all real samples (M, *event), on the device where the batches are wanted.
        latents: (num, random) -> latents (num, d).
        game: says how many uniform numbers its players' layers need.
        step: the round; with ``seed`` it alone decides every number drawn.
    """
    random = generator(seed, "batch", step, data.device)
    num = num_batches * batch_size
    indices = torch.randint(len(data), (num,), generator=random, device=data.device)
    latent = latents(num, random)
    mix = torch.rand(num, generator=random, device=data.device)

    def draw(sizes: Mapping[str, int]) -> dict[str, tuple[Tensor, ...]]:
        return {
            name: torch.rand(num, size, generator=random, device=data.device).split(batch_size)
            for name, size in sizes.items()
        }

    for_generator, for_discriminator = draw(game.generator.num_uniform), draw(game.discriminator.num_uniform)
    for_parts = draw(game.num_uniform(tuple(data.shape[1:])))
    pieces = zip(
        data[indices].split(batch_size), latent.split(batch_size), mix.split(batch_size), strict=True
    )
    return tuple(
        Batch(
            *piece,
            uniform=Players(
                {name: values[index] for name, values in for_generator.items()},
                {name: values[index] for name, values in for_discriminator.items()},
            ),
            draws={name: values[index] for name, values in for_parts.items()},
        )
        for index, piece in enumerate(pieces)
    )
