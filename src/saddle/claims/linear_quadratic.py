"""The Jacobian of the linear-quadratic GAN at its equilibrium, through the game that trains."""

import torch

from saddle.claims.games import as_complex, double
from saddle.claims.measured import Asked, Course, Figure, Measured
from saddle.diagnosis.linearize import game_field
from saddle.diagnosis.spectra import eigenvalues
from saddle.game.game import AdversarialLoss, Batch, Game
from saddle.game.losses import NonSaturating, Wasserstein
from saddle.game.network import Network
from saddle.models.toy import Affine, Quadratic

# Gauss-Hermite nodes with weights 2/3 and 1/6, as six equal ones: moments up to the fifth are exact
NODES = (0.0, 0.0, 0.0, 0.0, 3**0.5, -(3**0.5))
CASES: dict[str, tuple[AdversarialLoss, float, float]] = {
    "standard": (NonSaturating(), 0.0, 1.0),
    "wasserstein": (Wasserstein(), 0.0, 1.0),
    "shifted": (NonSaturating(), 0.5, 2.0),
}


@double()
def jacobian(asked: Asked) -> Measured:
    """Eigenvalues of the vector field at a = σ, b = μ, w = 0, for three cases of loss, μ and σ."""
    values, points = {}, []
    for name, (loss, mu, sigma) in CASES.items():
        latent = torch.tensor(NODES)[:, None]
        batch = Batch(mu + sigma * latent, latent, torch.full((len(NODES),), 0.5))
        game = Game(Network(Affine(sigma, mu)), Network(Quadratic([0.0, 0.0])), loss)
        found = as_complex(eigenvalues(game_field(game, game.init(), [batch])))
        values[name] = [found]
        if name != "shifted":  # whose range is another
            points.append(Course(name, [value.real for value in found], [value.imag for value in found]))
    figure = Figure(
        "Eigenvalues at the equilibrium, μ = 0 and σ = 1", "real part", "imaginary part", (), points
    )
    return Measured(values, [figure])
