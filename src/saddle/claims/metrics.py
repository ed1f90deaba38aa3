"""Metrics on samples whose true values are known: FID, KID, density and coverage, Vendi."""

import torch
from torch import Tensor

from saddle.claims.games import double
from saddle.claims.measured import Asked, Measured
from saddle.data.points import ring
from saddle.game.randomness import generator
from saddle.metrics.frechet import fid, frechet_distance
from saddle.metrics.kernels import kid
from saddle.metrics.neighbours import density_coverage, precision_recall
from saddle.metrics.vendi import vendi


@double()
def known_answers(asked: Asked) -> Measured:
    """Every quantity at each seed; the means over seeds are what is known."""
    rows: dict[str, list[float]] = {}
    for index, seed in enumerate(asked.seeds):
        draw = generator(seed, "claim/samples")
        for name, value in {
            **_exact(),
            **_frechet(draw),
            **_kernel(draw),
            **_neighbours(draw),
            **_vendi(),
        }.items():
            rows.setdefault(name, []).append(value)
        asked.progress((index + 1) / len(asked.seeds))
    return Measured(rows)


def _normal(draw: torch.Generator, num: int, size: int) -> Tensor:
    return torch.randn(num, size, generator=draw, dtype=torch.float64)


def _exact() -> dict[str, float]:
    """Between Gaussians whose moments are given."""
    zero, one, mean = torch.zeros(4), torch.eye(4), torch.tensor([1.0, 2.0, 0.0, -1.0])
    diagonal = [torch.diag(torch.tensor(values)) for values in ([1.0, 4.0, 9.0, 16.0], [4.0, 1.0, 1.0, 9.0])]
    return {
        "fid/shift": frechet_distance(zero, one, mean, one),
        "fid/scale": frechet_distance(zero, one, zero, 9.0 * one),
        "fid/diagonal": frechet_distance(zero, diagonal[0], zero, diagonal[1]),
    }


def _frechet(draw: torch.Generator) -> dict[str, float]:
    """Its bias with equal laws, one side sampled and both."""

    def one_sided(num: int, size: int) -> float:
        samples = _normal(draw, num, size)
        zero, one = torch.zeros(size), torch.eye(size)
        return frechet_distance(samples.mean(0), samples.T.cov(), zero, one)

    return {
        "fid_bias/one_sided_64": one_sided(2000, 64),
        "fid_bias/both_64": fid(_normal(draw, 2000, 64), _normal(draw, 2000, 64)),
        "fid_bias/one_sided_16": one_sided(500, 16),
    }


def _kernel(draw: torch.Generator) -> dict[str, float]:
    """KID of N(0, I) and N(μ, I) in d dimensions, ‖μ‖² = u."""

    def shifted(size: int, u: float, num: int = 1000) -> float:
        return kid(_normal(draw, num, size), _normal(draw, num, size) + (u / size) ** 0.5)

    cases = {"8_1": (8, 1.0), "8_4": (8, 4.0), "32_4": (32, 4.0), "8_0": (8, 0.0)}
    return {f"kid/{name}": shifted(*case) for name, case in cases.items()}


def _neighbours(draw: torch.Generator) -> dict[str, float]:
    found: dict[str, float] = {}
    for k in (3, 5):
        same = density_coverage(_normal(draw, 1000, 16), _normal(draw, 1000, 16), k=k)
        found |= {f"coverage/equal_{k}": same["coverage"], f"density/equal_{k}": same["density"]}
    mixture = ring(8, 1.0, 0.01)
    real, fake = mixture.sample(1000, draw)[0], mixture.sample(4000, draw)
    half = fake[0][fake[1] < 4][:1000]
    held = density_coverage(real, half, k=5) | precision_recall(real, half, k=5)
    return found | {f"half_ring/{name}": value for name, value in held.items()}


def _vendi() -> dict[str, float]:
    alike = torch.eye(5).repeat_interleave(20, 0)  # five equal blocks
    return {"vendi/distinct": vendi(torch.eye(7), torch.eye(7)), "vendi/blocks": vendi(alike, alike)}
