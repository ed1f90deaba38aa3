"""The Dirac-GAN under ten methods, and the limit cycle of its non-saturating form."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from saddle.claims.games import as_complex, at_origin, dirac, double, path, spread
from saddle.claims.measured import Asked, Course, Figure, Measured
from saddle.diagnosis.linearize import game_field, training_rounds
from saddle.diagnosis.spectra import eigenvalues
from saddle.dynamics import Alternating, Simultaneous
from saddle.dynamics.optimizers import SGD, Bounded
from saddle.dynamics.second_order import Consensus
from saddle.game.game import Batch, Game
from saddle.game.losses import Minimax, NonSaturating, Relativistic, Wasserstein
from saddle.game.penalties.discriminator import r1, r2, wgan_gp
from saddle.game.transforms import InstanceNoise
from saddle.theory.dirac import limit_cycle_radius

H, NUM_STEPS = 0.2, 500
NUM_NODES = 1024  # of the quadrature over instance noise
NOISE = 0.7


class Method(NamedTuple):
    game: Callable[[tuple[float, float]], Game]  # start -> game
    batch: Callable[[], Batch] = at_origin
    smooth: bool = True  # at the equilibrium


def _noise() -> Batch:
    """Midpoint quantiles of N(0, 1), scaled to variance one exactly: a mean over them is a quadrature."""
    quantiles = torch.from_numpy(ndtri((torch.arange(NUM_NODES) + 0.5).numpy() / NUM_NODES))
    nodes = quantiles / quantiles.square().mean().sqrt()
    uniform = torch.from_numpy(ndtr(nodes.numpy()))[:, None]
    return at_origin(num=NUM_NODES)._replace(draws={"transform.noise": uniform})


METHODS = {
    "gan": Method(lambda start: dirac(Minimax(), start=start)),
    "ns": Method(lambda start: dirac(NonSaturating(), start=start)),
    "wgan": Method(lambda start: dirac(Wasserstein(), start=start)),
    "wgan_gp": Method(  # the authors' λ = 0.7 has a factor ½, and is 0.35 here
        lambda start: dirac(Wasserstein(), {"gp": partial(wgan_gp, weight=0.35)}, start=start), smooth=False
    ),
    "noise": Method(
        lambda start: dirac(Minimax(), transforms={"noise": InstanceNoise(NOISE)}, start=start), _noise
    ),
    "r1": Method(lambda start: dirac(Minimax(), {"r1": partial(r1, gamma=0.3)}, start=start)),
    "r2": Method(lambda start: dirac(Minimax(), {"r2": partial(r2, gamma=0.3)}, start=start)),
    "r1_critical": Method(lambda start: dirac(Minimax(), {"r1": partial(r1, gamma=1.0)}, start=start)),
    "consensus": Method(lambda start: dirac(Minimax(), start=start)),
    "ns_r1": Method(lambda start: dirac(NonSaturating(), {"r1": partial(r1, gamma=0.3)}, start=start)),
    "relativistic": Method(lambda start: dirac(Relativistic(), start=start)),
}


@double()
def table(asked: Asked) -> Measured:
    """Eigenvalues of every method's field at the equilibrium, and where 500 steps from (1, 1) end.

    ``<method>/eigenvalues``, ``<method>/simultaneous`` and ``<method>/alternating`` (radius after
    500 steps of 0.2), ``<method>/least`` and ``<method>/greatest`` (radius over the last 400
    of them, simultaneous).
    Alternating steps of the table move the generator first: ours are read half a round later.
    """
    values: dict[str, float | tuple[complex, ...]] = {}
    courses, trails = [], []
    for done, (name, method) in enumerate(METHODS.items()):
        values |= _spectrum(name, method)
        rule: SGD | Bounded = SGD(H)
        if name == "wgan":
            rule = Bounded(rule, max_weight=1.0)
        simultaneous = Consensus(rule, rule, 1.0) if name == "consensus" else Simultaneous(rule, rule)
        points = _path(method, simultaneous)
        radius = points.norm(dim=1)
        values |= {
            f"{name}/simultaneous": float(radius[-1]),
            f"{name}/least": float(radius[100:].min()),
            f"{name}/greatest": float(radius[100:].max()),
        }
        if name != "consensus":  # which has no alternating form here
            values[f"{name}/alternating"] = _generator_first(method, rule)
        kept = spread(radius.tolist(), 120)
        courses.append(Course(name, kept, [max(float(radius[i]), 1e-12) for i in kept]))
        if name in ("gan", "ns", "r1", "consensus"):
            trails.append(Course(name, points[:120, 0].tolist(), (-points[:120, 1]).tolist()))
        asked.progress((done + 1) / len(METHODS))
    figures = [
        Figure("Distance to the equilibrium, simultaneous descent with h = 0.2", "step", "radius", courses),
        Figure("The first 120 steps from (1, 1), ψ in the paper's sign", "θ", "ψ", trails),
    ]
    return Measured({key: [value] for key, value in values.items()}, figures)


def _spectrum(name: str, method: Method) -> dict[str, float | tuple[complex, ...]]:
    if not method.smooth:
        return {}
    game, batch = method.game((0.0, 0.0)), method.batch()
    game = game.remember(game.init_memory(game.init()))
    at = game_field(game, game.init(), [batch])
    if name == "consensus":
        # of w = v − γ∇½‖v‖², from a round of training with h = 1: w's eigenvalues plus one
        rule = SGD(1.0)
        dynamics = Consensus(rule, rule, 1.0)
        players = game.init()
        at = training_rounds(game, dynamics, players, dynamics.init(players), [(batch,)])
        values = [value - 1 for value in as_complex(eigenvalues(at)) if abs(value) > 1e-9]  # not velocities'
        return {f"{name}/eigenvalues": tuple(values)}
    return {f"{name}/eigenvalues": as_complex(eigenvalues(at))}


def _path(method: Method, dynamics: Simultaneous | Alternating | Consensus) -> Tensor:
    game = method.game((1.0, -1.0))
    return path(game.remember(game.init_memory(game.init())), dynamics, method.batch(), NUM_STEPS)


def _generator_first(method: Method, rule: SGD | Bounded) -> float:
    """Radius after 500 rounds of G, then D: our rounds of D, then G, from one generator step ahead."""
    game, batch = method.game((1.0, -1.0)), method.batch()
    game = game.remember(game.init_memory(game.init()))
    (slope,), _ = game.generator_gradient(game.init(), batch)
    ahead = method.game((1.0 - H * float(slope), -1.0))
    ahead = ahead.remember(ahead.init_memory(ahead.init()))
    points = path(ahead, Alternating(rule, rule), batch, NUM_STEPS)
    return math.hypot(float(points[-2, 0]), float(points[-1, 1]))


STEPS = {"h005": 0.05, "h01": 0.1, "h02": 0.2, "h04": 0.4}


@double()
def limit_cycle(asked: Asked, num_turns: int = 8) -> Measured:
    """Mean radius over the last turns of simultaneous descent on the non-saturating game, for four steps h.

    It starts 5 % outside of the cycle and nears it as e^{−ht/4}; a turn takes 4π/h steps.
    """
    values, courses = {}, []
    for done, (name, h) in enumerate(STEPS.items()):
        turn = 4 * math.pi / h
        settling = round(24 / h**2)  # e^{−6} of the 5 % is left
        game = dirac(NonSaturating(), start=(1.05 * limit_cycle_radius(h), 0.0))
        points = path(game, Simultaneous(SGD(h), SGD(h)), at_origin(), settling + round(num_turns * turn))
        radius = points.norm(dim=1)
        values[name] = [float(radius[settling:].mean())]
        kept = spread(radius.tolist(), 150)
        courses.append(Course(f"h = {h:g}", [h * i for i in kept], [float(radius[i]) for i in kept]))
        asked.progress((done + 1) / len(STEPS))
    return Measured(
        values, [Figure("Simultaneous descent on the non-saturating game", "time h·t", "radius", courses)]
    )
