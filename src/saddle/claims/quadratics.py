"""Zero-sum games of two numbers: Follow-the-Ridge on quadratics, and the noisy saddle of TTUR."""

import torch
from torch import Tensor

from saddle.claims.games import double, of_zero_sum, path, spread, zero_sum
from saddle.claims.measured import Asked, Course, Figure, Measured
from saddle.dynamics import Simultaneous
from saddle.dynamics.optimizers import SGD
from saddle.dynamics.second_order import FollowTheRidge
from saddle.game.randomness import generator
from saddle.rounds.execution import Dynamics

# f = ax² + by² + cxy, and where it starts
QUADRATICS = {"f1": (-3.0, -1.0, 4.0, 5.0, 7.0), "f2": (3.0, 1.0, 4.0, 6.0, 5.0)}


@double()
def ridge(asked: Asked, num_rounds: int, lr: float = 0.05) -> Measured:
    """``<f>/<method>/end``: log₁₀ of the distance at the end; ``<f>/<method>/factor``: its change a round.

    The double eigenvalue μ of a round has det = μ² of the round as a matrix, to all digits.
    """
    values, figures = {}, []
    quiet = of_zero_sum(torch.zeros(1, 2))
    for name, (a, b, c, x, y) in QUADRATICS.items():

        def f(x: Tensor, y: Tensor, a: float = a, b: float = b, c: float = c) -> Tensor:
            return a * x * x + b * y * y + c * x * y

        rule, courses = SGD(lr), []
        methods: dict[str, Dynamics] = {
            "descent": Simultaneous(rule, rule),
            "ridge": FollowTheRidge(rule, rule, num_iterations=1),  # one number a player: exact
        }
        for method, dynamics in methods.items():
            starts = [torch.tensor(at) for at in ((x, y), (1.0, 0.0), (0.0, 1.0))]
            points, *columns = (
                path(zero_sum(f, at[:1], at[1:]), dynamics, quiet, num)
                for at, num in zip(starts, (num_rounds, 1, 1), strict=True)
            )
            sizes = points.norm(dim=1).log10().tolist()
            matrix = torch.stack([column[1] for column in columns])
            values[f"{name}/{method}/end"] = [sizes[-1]]
            values[f"{name}/{method}/factor"] = [float(matrix.det().abs().sqrt())]
            kept = spread(sizes, 80)
            courses.append(Course(method, kept, [sizes[i] for i in kept]))
        figures.append(Figure(f"{name}, lr {lr:g}", "round", "log₁₀ of the distance to 0", courses))
        asked.progress(len(figures) / len(QUADRATICS))
    return Measured(values, figures)


@double()
def two_time_scales(
    asked: Asked, pairs: dict[str, tuple[float, float]], num_rounds: int, num_skipped: int
) -> Measured:
    """Heusel's noisy saddle f = (1 + x²)(100 − y²): ``<pair>/x`` and ``<pair>/y``, their stationary spread.

    All seeds run side by side, as one game whose players have a number for each.

    Args:
        pairs: name -> learning rates of x and of y.
        num_skipped: rounds until the start is forgotten.
    """
    values: dict[str, list[float]] = {}
    courses, num = [], len(asked.seeds)
    for done, (name, (lr_x, lr_y)) in enumerate(pairs.items()):
        game = zero_sum(
            lambda x, y: (1 + x * x) * (100 - y * y), torch.full((num,), 0.5), torch.full((num,), -0.4)
        )
        dynamics = Simultaneous(SGD(lr_x), SGD(lr_y))
        noise = torch.stack([
            torch.randn(num_rounds, 2, generator=generator(seed, "claim/noise"), dtype=torch.float64)
            for seed in asked.seeds
        ], 2)  # (rounds, 2, seeds)  # fmt: skip
        players = game.init()
        memory, batch = dynamics.init(players), of_zero_sum(torch.zeros(1, 2 * num))
        points = [torch.cat(players)]
        for step, drawn in enumerate(noise):
            now = batch._replace(latent=drawn.reshape(1, -1))
            players, memory, _ = dynamics.step(game, players, memory, (now,))
            points.append(torch.cat(players))
            if step % 1000 == 0:
                asked.progress((done + step / num_rounds) / len(pairs))
        trail = torch.stack(points).detach().view(-1, 2, num)
        spreads = trail[num_skipped:].square().mean(0).sqrt()  # around 0, the saddle
        values |= {f"{name}/x": spreads[0].tolist(), f"{name}/y": spreads[1].tolist()}
        kept = spread(points, 200)
        courses.append(Course(f"y, lr {lr_y:g}", kept, trail[kept, 1, 0].tolist()))
        courses.append(Course(f"x, lr {lr_x:g}", kept, trail[kept, 0, 0].tolist()))
    return Measured(values, [Figure("Paths of the first seed", "step", "x or y", courses)])
