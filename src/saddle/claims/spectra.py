"""What eigenvalues and paths say about trained games: Berard's two modes and Mescheder's ring."""

import math

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from saddle.claims.measured import Asked, Course, Figure, Measured, mean_course
from saddle.claims.training import Arm, arm, drawn, member, samples, train
from saddle.data.points import ring
from saddle.diagnosis.linearize import Map, game_field, jacobian
from saddle.diagnosis.path import path_angle
from saddle.diagnosis.spectra import leading_eigenvalues
from saddle.dynamics.second_order import Consensus
from saddle.game.calculus import Logs
from saddle.game.game import Batch, Players
from saddle.game.randomness import generator
from saddle.metrics.modes import mixture_modes

LOOSE = 1e-4  # residual of eigenvalues that are only looked at


def path_angles(asked: Asked, num_rounds: int | None = None) -> Measured:
    """Of each seed: the jump of the path angle across its end, its largest and least value near it, the
    largest |Im|/|λ| of the game's Jacobian there, and how many of G's own curvatures are negative.

    All 10,000 samples and as many latents, drawn once, are every batch. The path leads from the start to the
    last players; the angle is of the gradient, so −1 before and 1 behind an attracting point.
    """
    (words,) = asked.arms.values()
    of = arm(words, asked.seeds)
    total = num_rounds or of.num_rounds

    fixed = {seed: (_whole(of, seed),) * of.dynamics.num_batches for seed in asked.seeds}

    def every(index: int, logs: Logs) -> None:
        if index % 20 == 0:
            asked.progress(0.8 * index / total)

    (last,) = train(of, [total], lambda seed, _: fixed[seed], every)
    values: dict[str, list[float]] = {}
    rows, alphas, points = [], torch.linspace(0.6, 1.4, 81), []
    for index, seed in enumerate(asked.seeds):
        batch = fixed[seed][0]
        first, end = member(of.start.players, index), member(last.players, index)
        angles = path_angle(of.game, first, end, [batch], alphas).angles.double()
        rows.append(angles.tolist())
        small = batch._replace(real=batch.real[:2000], latent=batch.latent[:2000], mix=batch.mix[:2000])
        at = game_field(of.game, end, [small], torch.float64)
        found = leading_eigenvalues(at, 20, tolerance=LOOSE).values
        curvature = _curvature(of, end, small)
        points.append((found, seed))
        for name, value in {
            "jump": float(angles[alphas > 1.02].mean() - angles[alphas < 0.98].mean()),
            "behind": float(angles[alphas > 1.02].max()),
            "before": float(angles[alphas < 0.98].min()),
            "rotation": float((found.imag.abs() / found.abs().clamp(min=1e-12))[found.abs() > 1e-3].max()),
            "negative": float((curvature < -1e-4 * curvature.abs().max()).sum()),
            "gradient": float(torch.cat(of.game.gradients(end, batch)[0]).norm()),
        }.items():
            values.setdefault(name, []).append(value)
        asked.progress(0.8 + 0.2 * (index + 1) / len(asked.seeds))
    found, seed = points[0]
    cloud = Course(f"seed {seed}", found.real.tolist(), found.imag.tolist())
    course = mean_course("all seeds", alphas.tolist(), rows)
    angle = Figure("Path angle of the gradient; band: the seeds' range", "α", "cosine", [course])
    spectrum = Figure("Eigenvalues of the field at the end", "real part", "imaginary part", (), [cloud])
    return Measured(values, [angle, spectrum])


def _whole(of: Arm, seed: int) -> Batch:
    real = of.dataset.train.first(len(of.dataset.train))
    random = generator(seed, "claim/batch", 0, real.device)
    return Batch(real, of.latents(len(real), random), real.new_zeros(len(real)))


def _curvature(of: Arm, players: Players, batch: Batch) -> Tensor:
    """The ten eigenvalues of ∇²_θ L_G of largest modulus."""
    field = game_field(of.game, players, [batch], torch.float64)
    num = len(players.generator)
    rest = field.point[num:]
    of_generator = Map(lambda theta: -field.function(torch.cat([theta, rest]))[:num], field.point[:num])
    return leading_eigenvalues(of_generator, 10, tolerance=LOOSE).values.real


def numerics_ring(
    asked: Asked, num_rounds: int | None = None, num_batches: int = 4, num_looks: int = 5
) -> Measured:
    """Of each arm at its end max |Im|/|Re| over eigenvalues above 1 % of the largest, ``/ratio``, and the
    largest real part over the largest modulus, ``/right``; and ``/modes``, ``/high_quality``.

    They are of v', and where consensus optimization trained also of w' (keys ``/w/``), w = v − γ∇½‖v‖²
    being what it follows: w' = v' − γv'ᵀv' where v is 0 (Mescheder et al. 2017, sec. 4). ``ratio`` is by how
    many orders of magnitude that of v' exceeds that of w'.
    Jacobians are of the field averaged over ``num_batches`` batches, in float64.
    """
    mixture = ring(8, 1.0, 0.01)
    values: dict[str, list[float]] = {}
    clouds, courses = [], []
    for position, (name, words) in enumerate(asked.arms.items()):
        of = arm(words, asked.seeds)
        total = num_rounds or of.num_rounds
        looks = [round(total * (index + 1) / num_looks) for index in range(num_looks)]

        def every(index: int, logs: Logs, position: int = position, total: int = total) -> None:
            if index % 50 == 0:
                asked.progress((position + 0.9 * index / total) / len(asked.arms))

        modes = []
        for seen in train(of, looks, every=every):
            last, points = seen, samples(of, seen.players, 2500).cpu()
            modes.append([mixture_modes(one, one, mixture=mixture) for one in points])
        for index, seed in enumerate(asked.seeds):
            drawn_batches = [drawn(of)(seed, total + step)[0] for step in range(num_batches)]
            batch = pytree.tree_map(lambda *parts: torch.cat(parts), *drawn_batches)  # J of it is their mean
            field = game_field(of.game, member(last.players, index), [batch], torch.float64)
            matrices = {name: jacobian(field)}
            if isinstance(of.dynamics, Consensus):
                matrices[f"{name}/w"] = (
                    matrices[name] - of.dynamics.gamma * matrices[name].mT @ matrices[name]
                )
            for key, matrix in matrices.items():
                found = torch.linalg.eigvals(matrix.cpu())
                large = found[found.abs() > 0.01 * found.abs().max()]
                ratio = float((large.imag.abs() / large.real.abs().clamp(min=1e-12)).max())
                values.setdefault(f"{key}/ratio", []).append(ratio)
                values.setdefault(f"{key}/right", []).append(float(large.real.max() / large.abs().max()))
                if index == 0:
                    cloud = large / large.abs().max()
                    clouds.append(Course(f"{key}, seed {seed}", cloud.real.tolist(), cloud.imag.tolist()))
            values.setdefault(f"{name}/modes", []).append(modes[-1][index]["modes"])
            values.setdefault(f"{name}/high_quality", []).append(modes[-1][index]["high_quality"] / 100)
        rows = [[row[index]["modes"] for row in modes] for index in range(len(asked.seeds))]
        courses.append(mean_course(name, looks, rows))
    (second,) = [name for name in asked.arms if f"{name}/w/ratio" in values]
    values["ratio"] = [
        math.log10(max(of_v, 1e-12) / max(of_w, 1e-12))
        for of_v, of_w in zip(values[f"{second}/ratio"], values[f"{second}/w/ratio"], strict=True)
    ]
    name = "Eigenvalues at the end over the largest, those above 1 % of it"
    spectrum = Figure(name, "real part", "imaginary part", (), clouds)
    modes_found = Figure("Modes; band: the seeds' range", "generator step", "modes", courses)
    return Measured(values, [spectrum, modes_found])
