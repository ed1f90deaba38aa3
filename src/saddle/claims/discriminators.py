"""Discriminators trained against a frozen generator: vanishing gradients, and losses that count modes."""

import torch
from torch import Tensor, nn

from saddle.claims.measured import Asked, Figure, Measured, mean_course
from saddle.data.points import ring
from saddle.data.sampling import normal_latents
from saddle.diagnosis.vanishing import Vanishing, vanishing
from saddle.dynamics.optimizers import Adam
from saddle.game.game import AdversarialLoss, Batch, Game, Players
from saddle.game.losses import Hinge, LeastSquares, NonSaturating, Relativistic
from saddle.game.network import Network
from saddle.game.randomness import generator, seed_of
from saddle.models.mlp import Discriminator, Generator


def _seeded(seed: int, *makes: tuple[type[nn.Module], dict]) -> list[Network]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "initial weights"))
        return [Network(make(**arguments)) for make, arguments in makes]


def vanishing_gradients(asked: Asked, steps: list[int], num_samples: int = 4096) -> Measured:
    """Orders of magnitude that ‖∇log(1 − D)‖ falls and ‖∇ −log D‖ rises by, from D's first to its last step.

    Ring of radius 2 and std 0.02; a fresh frozen G of 2-128-128-2, D of 2-128-128-1, ReLU, Adam 1e-3
    (.5, .999), batches of 256.
    """
    mixture, rule = ring(8, 2.0, 0.02), Adam(1e-3, 0.5, 0.999)
    found: list[Vanishing] = []
    for index, seed in enumerate(asked.seeds):
        of_generator, of_discriminator = _seeded(
            seed,
            (Generator, {"num_latents": 2, "event": [2], "hidden": [128, 128], "negative_slope": 0.0}),
            (Discriminator, {"event": [2], "hidden": [128, 128], "negative_slope": 0.0}),
        )
        game = Game(of_generator, of_discriminator, NonSaturating())

        def batch(step: int, num: int = 256, seed: int = seed, index: int = index) -> Batch:
            draw = generator(seed, "claim/batch", step)
            if step >= 0 and step % 100 == 0:
                asked.progress((index + step / steps[-1]) / len(asked.seeds))
            return Batch(mixture.sample(num, draw)[0], normal_latents(num, draw, size=2), torch.zeros(num))

        found.append(vanishing(game, game.init(), batch, batch(-1, num_samples), rule, steps))
    saturating = torch.stack([one.saturating for one in found]).double()  # (seeds, steps)
    non_saturating = torch.stack([one.non_saturating for one in found]).double()
    values = {
        "falls": (saturating[:, 0] / saturating[:, -1]).log10().tolist(),
        "rises": (non_saturating[:, -1] / non_saturating[:, 0]).log10().tolist(),
        **{f"log(1-D)/{step}": saturating[:, i].log10().tolist() for i, step in enumerate(steps)},
        **{f"-logD/{step}": non_saturating[:, i].log10().tolist() for i, step in enumerate(steps)},
    }
    courses = [
        mean_course("log(1 − D)", steps, saturating.tolist()),
        mean_course("−log D", steps, non_saturating.tolist()),
    ]
    figure = Figure("Norm of the generator's gradient; band: the seeds' range", "steps of D", "norm", courses)
    return Measured(values, [figure])


class Held(nn.Module):
    """A frozen generator that holds the first modes of a mixture: latents (N, 3), (mode, noise) -> points."""

    centers: Tensor

    def __init__(self, centers: Tensor, std: float) -> None:
        super().__init__()
        self.register_buffer("centers", centers, persistent=False)
        self.std = std

    def forward(self, latents: Tensor) -> Tensor:
        return self.centers[latents[:, 0].long()] + self.std * latents[:, 1:]


LOSSES: dict[str, AdversarialLoss] = {
    "logistic": NonSaturating(),
    "relativistic": Relativistic(),
    "hinge": Hinge(),
    "least_squares": LeastSquares(),
}


def held_modes(
    asked: Asked, num_steps: int, num_modes: int = 8, num_held: tuple[int, ...] = (8, 6, 4, 2)
) -> Measured:
    """``<loss>/<m>``: the loss of a D trained until it stands still, against a G that holds m of 8 modes.

    Ring of radius 2 and std 0.02, each mode equally often in a batch; D of 2-64-64-1, Adam 1e-2 whose rate
    falls to 1e-4. The loss is taken on 4,000 fresh samples.
    """
    mixture = ring(num_modes, 2.0, 0.02)
    centers = mixture.centers.float()
    values: dict[str, list[float]] = {f"{loss}/{held}": [] for loss in LOSSES for held in num_held}
    total, done = len(asked.seeds) * len(values), 0
    for seed in asked.seeds:
        for held in num_held:
            for name, loss in LOSSES.items():
                (network,) = _seeded(
                    seed, (Discriminator, {"event": [2], "hidden": [64, 64], "negative_slope": 0.2})
                )
                game = Game(Network(Held(centers, mixture.std)), network, loss)
                values[f"{name}/{held}"].append(_converged(game, held, num_modes, seed, num_steps))
                done += 1
                asked.progress(done / total)
    shares = [held / num_modes for held in num_held]
    courses = [
        mean_course(name, shares, list(zip(*(values[f"{name}/{held}"] for held in num_held), strict=True)))
        for name in LOSSES
    ]
    return Measured(
        values, [Figure("Loss of the trained discriminator", "share of modes held", "loss", courses)]
    )


def _converged(game: Game, num_held: int, num_modes: int, seed: int, num_steps: int) -> float:
    players = game.init()
    memory = Adam(1e-2).init(players.discriminator)
    for step in range(num_steps):
        batch = _balanced(num_held, num_modes, 120, seed, step, game)
        gradient, _ = game.discriminator_gradient(players, batch)
        rule = Adam(1e-2 * 10 ** (-2 * step / num_steps), 0.5, 0.99)
        moved, memory = rule.step(gradient, players.discriminator, memory)
        players = Players(players.generator, moved)
    with torch.no_grad():
        return float(
            game.discriminator_loss(players, _balanced(num_held, num_modes, 4008, seed, -1, game))[0]
        )


def _balanced(num_held: int, num_modes: int, num: int, seed: int, step: int, game: Game) -> Batch:
    """Real samples of all modes and latents of those held, equally often, paired at random."""
    draw = generator(seed, "claim/batch", step)
    generated = torch.randperm(num, generator=draw) % num_held
    noise = torch.randn(2, num, 2, generator=draw)
    held = game.generator.module
    assert isinstance(held, Held)
    real = held.centers[torch.arange(num) % num_modes] + held.std * noise[0]
    return Batch(real, torch.cat([generated[:, None].float(), noise[1]], 1), torch.zeros(num))
