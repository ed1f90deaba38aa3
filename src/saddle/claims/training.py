"""Training for claims: the experiments of ``conf``, all seeds at once, through the rounds that a run plays.

A round is a pure function of tensors, so the rounds of several seeds are one round lifted by
``torch.func.vmap``: each member draws the batches of the run with its seed, and equals it up to round-off.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from saddle.data.sampling import LatentLaw, Order, draw_batches
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Game, Players
from saddle.rounds.execution import Dynamics, TrainingState, eager, start

Draw = Callable[[int, int], tuple[Batch, ...]]  # seed, round -> the batches of that round


Play = Callable[[TrainingState, list[tuple[Batch, ...]], int], tuple[TrainingState, Logs]]


class Arm(NamedTuple):
    """What a configuration of ``saddle-train`` plays, and every seed's players before the first round."""

    game: Game
    dynamics: Dynamics
    dataset: Any
    latents: LatentLaw
    order: Order
    batch_size: int
    num_rounds: int
    seeds: tuple[int, ...]
    start: TrainingState  # stacked, (seeds, ...)


class Seen(NamedTuple):
    """A look at all seeds after some rounds."""

    num_rounds: int
    players: Players  # (seeds, P) and (seeds, Q)


def arm(words: Sequence[str], seeds: Sequence[int]) -> Arm:
    """Assemble an experiment once for every seed; on a GPU where there is one.

    Raises:
        ValueError: what ``saddle-train`` refuses.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from saddle.training.assembly import assemble
    from saddle.training.configuration import config_directory

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    GlobalHydra.instance().clear()
    states = []
    with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"):
        for seed in seeds:
            config = hydra.compose("train", [*words, f"seed={seed}", "name=claim"])
            plain: Any = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
            experiment = assemble(plain)
            states.append(start(experiment.game, experiment.dynamics, {}, device))
    return Arm(
        experiment.game,
        experiment.dynamics,
        experiment.dataset.to(device),
        experiment.module.latents,
        experiment.module.order,
        plain.batch_size,
        plain.num_steps // experiment.dynamics.num_generator_steps,
        tuple(seeds),
        stack(states),
    )


def train(
    of: Arm,
    looks: Sequence[int],
    draw: Draw | None = None,
    every: Callable[[int, Logs], None] | None = None,
) -> Iterator[Seen]:
    """Play rounds and yield the players after each number of rounds in ``looks``, ascending.

    Args:
        draw: (seed, round) -> batches; None: those of the run with that seed.
        every: called after each round with its index and what it logged, name -> (seeds,).
    """
    play = _lifted(of) if len(of.seeds) > 1 else _solo(of)
    draw = draw or drawn(of)
    state, done = of.start, 0
    for look in looks:
        for index in range(done, look):
            state, logs = play(state, [draw(seed, index) for seed in of.seeds], index)
            if every is not None:
                every(index, logs)
        done = look
        yield Seen(look, state.players)


def _lifted(of: Arm) -> Play:
    play = eager(of.game.functional(), of.dynamics, {})
    return lambda state, batches, index: vmap(lambda one, own: play(one, own, index))(state, stack(batches))


def _solo(of: Arm) -> Play:
    """Without lifting, which costs a single seed twice its time."""
    play = eager(of.game, of.dynamics, {})

    def alone(
        state: TrainingState, batches: list[tuple[Batch, ...]], index: int
    ) -> tuple[TrainingState, Logs]:
        found: tuple[TrainingState, Logs] = stack([play(member(state, 0), batches[0], index)])
        return found

    return alone


def drawn(of: Arm) -> Draw:
    """The batches that ``GANModule`` draws."""
    return lambda seed, index: draw_batches(
        of.dataset.train, of.latents, of.game, of.batch_size, of.dynamics.num_batches, seed, index, of.order
    )


def samples(of: Arm, players: Players, num: int, purpose: int = -1) -> Tensor:
    """Generated samples of every seed, (seeds, num, *event), from latents of their own."""
    game = of.game
    (batch,) = draw_batches(of.dataset.train, of.latents, game, num, 1, 0, purpose)
    with torch.no_grad():
        return torch.stack([game.generate(member(players, i), batch) for i in range(len(of.seeds))])


def stack(trees: Sequence[Any]) -> Any:
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)


def member(tree: Any, index: int) -> Any:
    return pytree.tree_map(lambda leaf: leaf[index], tree)
