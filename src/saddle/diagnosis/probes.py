"""Probes: what goes on in a game under training, as numbers beside its losses (``diagnostics=[...]``).

A probe is a function (game, players, draws) -> name -> number, called at every evaluation on the *iterate*
of both players, not on an average. It trains nothing and draws nothing itself: its batches are a pure
function of the run's seed and the generator step, so a run with probes trains as one without, and goes on
exactly.

What cannot be computed is nan: a probe never ends a run. D is seen as in training, dropout and transforms
included, and lazy penalties count with their own weight.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from saddle.data.dataset import Dataset
from saddle.data.sampling import LatentLaw, draw_batches
from saddle.data.sources import Source
from saddle.diagnosis.duality import Unbounded
from saddle.diagnosis.duality import duality_gap as of_best_responses
from saddle.diagnosis.linearize import game_gradient
from saddle.diagnosis.spectra import NotConverged, eigenvalues, largest_stable_step, leading_eigenvalues
from saddle.diagnosis.vanishing import vanishing
from saddle.dynamics.optimizers import UpdateRule
from saddle.game.game import Batch, Game, Players
from saddle.game.randomness import seed_of
from saddle.game.refusals import Refused

Draw = Callable[[int, int], Batch]  # (N, i) -> the i-th batch of N samples, or of as many as fill packs


class Draws(NamedTuple):
    """Batches for probes; no two of one split and step are alike."""

    train: Draw
    held_out: Draw


Probe = Callable[[Game, Players, Draws], Mapping[str, float]]


def draws_of(game: Game, dataset: Dataset, latents: LatentLaw, seed: int, step: int) -> Draws:
    """The batches of one evaluation: a pure function of (seed, step). Samples are drawn with replacement."""

    def of(split: str, source: Source) -> Draw:
        own = seed_of(seed, f"probe {split}", step)
        return lambda num, index: draw_batches(source, latents, game, num + -num % game.pack, 1, own, index)[
            0
        ]

    return Draws(of("train", dataset.train), of("held out", dataset.held_out))


def slopes(game: Game, players: Players, draws: Draws, *, num_samples: int) -> dict[str, float]:
    """D's squared slope where the two kinds of samples lie: E‖∇ₓD(x)‖² and E‖∇ₓD(G(z))‖².

    R1 bounds the first, R2 the second; a ratio of generated to real ones far above 1 says that R1 alone
    leaves D steep where the generator is. Source: Huang et al. 2024, arXiv:2501.05441, sec. 2.4.

    Returns:
        "real_slope", "fake_slope" (in logits² over squared data units) and "slope_ratio", fake over real.
    """
    batch = draws.train(num_samples, 0)
    discriminator = game.functional().bind_discriminator(players, batch)
    samples = game.packed(batch.real), game.packed(game.generate(players, batch))
    real, fake = (
        discriminator.slope(given.detach()).detach().flatten(1).square().sum(1).mean() for given in samples
    )
    return {"real_slope": float(real), "fake_slope": float(fake), "slope_ratio": float(fake / real)}


@torch.no_grad()
def discriminator_gap(game: Game, players: Players, draws: Draws, *, num_samples: int) -> dict[str, float]:
    """How much better D knows the samples it was trained on: E D(x_train) − E D(x_held out).

    0 for a D that has learned the law of the data, and grows as it learns the samples by heart; the generator
    is then pulled to those samples. Logits have no scale of their own, so the shares that D takes for real
    (D > 0) stand beside them. Source: Karras et al. 2020, arXiv:2006.06676, sec. 2 and figure 1.

    Returns:
        "discriminator_gap" in logits, "train_accepted" and "held_out_accepted" in [0, 1].
    """
    batches = draws.train(num_samples, 0), draws.held_out(num_samples, 0)
    train, held_out = (game.bind_discriminator(players, batch)(game.packed(batch.real)) for batch in batches)
    return {
        "discriminator_gap": float(train.mean() - held_out.mean()),
        "train_accepted": float((train > 0).double().mean()),
        "held_out_accepted": float((held_out > 0).double().mean()),
    }


def generator_gradients(game: Game, players: Players, draws: Draws, *, num_samples: int) -> dict[str, float]:
    """Norms of the generator's gradient under both classic losses, against D as it stands.

    ‖∇_θ E log(1 − σ(D(G(z))))‖ vanishes as D(G(z)) → −∞, ‖∇_θ E[−log σ(D(G(z)))]‖ does not.
    Source: Arjovsky and Bottou 2017, arXiv:1701.04862, sec. 2.

    Returns:
        "saturating_gradient" and "non_saturating_gradient".
    """
    batch = draws.train(num_samples, 0)
    found = vanishing(game, players, lambda _: batch, batch, _Still(), [0])
    return {
        "saturating_gradient": float(found.saturating),
        "non_saturating_gradient": float(found.non_saturating),
    }


class _Still:
    """An update rule for a player that makes no step."""

    def init(self, params: torch.Tensor) -> None:
        return None

    def step(self, gradient: torch.Tensor, params: torch.Tensor, state: None) -> tuple[torch.Tensor, None]:
        return params, None


def duality_gap(
    game: Game,
    players: Players,
    draws: Draws,
    *,
    generator: UpdateRule,
    discriminator: UpdateRule,
    num_steps: int,
    evaluate_every: int,
    num_samples: int,
) -> dict[str, float]:
    """How much each player could gain alone: max_D' M(G, D') − min_G' M(G', D), M = −L_D.

    0 at an equilibrium of the zero-sum game and nowhere else. Responses learn on training samples, looks are
    on held-out ones; so few steps give a lower bound. At the equilibrium of the classic game M = −log 4.
    See ``saddle.diagnosis.duality``. Source: Grnarova et al. 2019, arXiv:1811.05512.

    Returns:
        "duality_gap", "duality_upper", "duality_lower" and "game_value", M(G, D).
    """
    try:
        found = of_best_responses(
            game,
            players,
            lambda step: draws.train(num_samples, step),
            [draws.held_out(num_samples, 0)],
            generator,
            discriminator,
            num_steps,
            evaluate_every,
        )
    except Unbounded:
        return dict.fromkeys(("duality_gap", "duality_upper", "duality_lower", "game_value"), torch.nan)
    return {
        "duality_gap": found.gap,
        "duality_upper": found.upper,
        "duality_lower": found.lower,
        "game_value": found.value,
    }


def spectrum(
    game: Game, players: Players, draws: Draws, *, num_eigenvalues: int, num_samples: int, max_dense: int
) -> dict[str, float]:
    """Leading eigenvalues λ of the Jacobian of the game's gradient, on one batch, in float64.

    Descent contracts along Re λ > 0 and turns by Im λ. Up to ``max_dense`` numbers of both players all
    eigenvalues are found, beyond that those of largest modulus (Arnoldi).
    Source: Mescheder et al. 2017, arXiv:1705.10461, sec. 3.

    Returns:
        "spectral_radius", max |λ|; "rotation", max |Im λ|/|λ|: 0 for pure descent, 1 for pure rotation;
        "smallest_real_part"; "stable_step", the largest of simultaneous descent (an upper bound if not all
        eigenvalues are known). An eigenvalue below 1e-9 of the largest counts as 0.

    Raises:
        ValueError: ``num_eigenvalues`` is below 1.
    """
    if num_eigenvalues < 1:
        raise Refused(f"num_eigenvalues must be at least 1; got {num_eigenvalues}. Give it a whole number.")
    names = ("spectral_radius", "rotation", "smallest_real_part", "stable_step")
    try:
        at = game_gradient(game, players, [draws.train(num_samples, 0)], torch.float64)
        if len(at.point) <= max(max_dense, num_eigenvalues + 2):
            values = eigenvalues(at)
        else:
            values = leading_eigenvalues(at, num_eigenvalues, tolerance=1e-3).values
    except (ValueError, NotConverged):  # a kink or 0/0 at the players, or eigenvalues that crowd
        return dict.fromkeys(names, torch.nan)
    values = values[values.abs() > 1e-9 * values.abs().max()]
    if not len(values):
        return dict(zip(names, (0.0, 0.0, 0.0, torch.inf), strict=True))
    found = (
        float(values.abs().max()),
        float((values.imag.abs() / values.abs()).max()),
        float(values.real.min()),
        float(largest_stable_step(values)),
    )
    return dict(zip(names, found, strict=True))
