"""Bilinear games min_x max_y xᵀMy under every dynamics: growth or decay a round, read off trained paths."""

import math

import torch
from torch import Tensor

from saddle.claims.games import at_origin, bilinear, double, path, rate, spread
from saddle.claims.measured import Asked, Course, Figure, Measured
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.extrapolation import ExtraGradient, Optimistic, PastExtraGradient
from saddle.dynamics.lookahead import Lookahead
from saddle.dynamics.optimizers import SGD
from saddle.dynamics.runge_kutta import RungeKutta2, RungeKutta4
from saddle.dynamics.second_order import CompetitiveGradientDescent, Consensus, SymplecticGradientAdjustment
from saddle.dynamics.unrolled import Unrolled
from saddle.game.randomness import generator
from saddle.rounds.execution import Dynamics


def _methods(eta: float) -> dict[str, tuple[Dynamics, int, int]]:
    """Name -> (dynamics, eigenvalues a round with its memory, rounds between two pulls)."""
    rule, damped = SGD(eta), SGD(eta, -0.5)
    return {
        "simultaneous": (Simultaneous(rule, rule), 2, 1),
        "alternating": (Alternating(rule, rule), 2, 1),
        "extragradient": (ExtraGradient(rule, rule), 2, 1),
        "optimistic": (Optimistic(rule, rule), 4, 1),
        "past_extragradient": (PastExtraGradient(rule, rule), 4, 1),
        "cgd": (CompetitiveGradientDescent(rule, rule, 2), 2, 1),
        "consensus": (Consensus(rule, rule, 1.0), 2, 1),
        "sga": (SymplecticGradientAdjustment(rule, rule, 1.0, align=0.0), 2, 1),
        "runge_kutta2": (RungeKutta2(rule, rule), 2, 1),
        "runge_kutta4": (RungeKutta4(rule, rule), 2, 1),
        "unrolled5": (Unrolled(rule, rule, 5), 2, 1),
        "negative_momentum": (Alternating(damped, damped), 4, 1),
        "lookahead": (Lookahead(Simultaneous(rule, rule), 5, 0.5), 2, 5),
        "lookahead_alternating": (Lookahead(Alternating(rule, rule), 5, 0.5), 2, 5),
    }


def _rate(points: Tensor, order: int, period: int) -> float:
    return rate(points[::period], order) ** (1 / period)


@double()
def zoo(asked: Asked, strides: dict[str, float], num_rounds: int = 60) -> Measured:
    """``<method>/<stride>``: factor a round on f = xy, for each stride ησ, from (1, ½)."""
    values, courses = {}, []
    for done, (name, stride) in enumerate(strides.items()):
        for method, (dynamics, order, period) in _methods(stride).items():
            game = bilinear(torch.tensor([1.0]), torch.tensor([0.5]), torch.eye(1))
            points = path(game, dynamics, at_origin(), num_rounds)
            values[f"{method}/{name}"] = [_rate(points, order, period)]
            if done == len(strides) - 1:
                courses.append(Course(method, [*range(num_rounds + 1)], points.norm(dim=1).tolist()))
        asked.progress((done + 1) / len(strides))
    figure = Figure(f"f = xy, stride {max(strides.values()):g}, from (1, ½)", "round", "distance", courses)
    return Measured(values, [figure])


@double()
def lookahead(asked: Asked, size: int = 100, lr: float = 0.3, k: int = 6, num_rounds: int = 240) -> Measured:
    """Chavdarova's full-batch bilinear game, M = I in ``size`` dimensions: factor a step of each method."""
    rule = SGD(lr)
    plain, extra = Simultaneous(rule, rule), ExtraGradient(rule, rule)
    methods: dict[str, tuple[Dynamics, int]] = {
        "gda": (plain, 1),
        "eg": (extra, 1),
        **{f"la_gda_{alpha:g}": (Lookahead(plain, k, alpha), k) for alpha in (0.4, 0.5, 0.8)},
        "la_eg_0.5": (Lookahead(extra, k, 0.5), k),
    }
    rows: dict[str, list[float]] = {name: [] for name in methods}
    courses = []
    for index, seed in enumerate(asked.seeds):
        draw = generator(seed, "claim/start")
        theta, psi = (torch.randn(size, generator=draw, dtype=torch.float64) for _ in range(2))
        for name, (dynamics, period) in methods.items():
            game = bilinear(theta, psi, torch.eye(size))
            points = path(game, dynamics, at_origin(size), num_rounds)
            rows[name].append(_rate(points, 2, period))
            if index == 0:
                kept = spread(points.tolist(), 80)
                courses.append(Course(name, kept, points[kept].norm(dim=1).tolist()))
        asked.progress((index + 1) / len(asked.seeds))
    return Measured(rows, [Figure("Bilinear game in 100 dimensions, lr 0.3", "step", "distance", courses)])


@double()
def competitive(asked: Asked, eta: float = 0.2, num_rounds: int = 50) -> Measured:
    """Schaefer's f = αxy from (½, ½): ``<method>/<α>`` factor a round, ``<method>/<α>/end`` distance left."""
    values, figures = {}, []
    for done, alpha in enumerate((1, 3, 6)):
        rule, courses = SGD(eta), []
        methods: dict[str, tuple[Dynamics, int]] = {
            "gda": (Simultaneous(rule, rule), 2),
            "optimistic": (Optimistic(rule, rule), 4),
            "consensus": (Consensus(rule, rule, 1.0), 2),
            "sga": (SymplecticGradientAdjustment(rule, rule, 1.0, align=0.0), 2),
            "cgd": (CompetitiveGradientDescent(rule, rule, 2), 2),
        }
        for name, (dynamics, order) in methods.items():
            half = torch.tensor([0.5])
            game = bilinear(half, half, alpha * torch.eye(1))
            points = path(game, dynamics, at_origin(), num_rounds)
            sizes = points.norm(dim=1)
            values[f"{name}/{alpha}"] = [rate(points, order)]
            values[f"{name}/{alpha}/end"] = [float(sizes[-1] / math.sqrt(0.5))]
            courses.append(Course(name, [*range(num_rounds + 1)], sizes.tolist()))
        figures.append(Figure(f"f = αxy, α = {alpha}", "round", "distance", courses))
        asked.progress((done + 1) / 3)
    return Measured(values, figures)
