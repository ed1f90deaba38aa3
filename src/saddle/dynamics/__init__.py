"""Dynamics: who moves when, and from which gradient. The update rule is somebody else's business.

``init(players) -> state`` and ``step(game, players, state, batches) -> (players, state, logs)``
play one round. A dynamics never names a loss, and says

- ``num_batches``: how many batches a round takes;
- ``num_generator_steps``: how many generator steps it makes (the run's clock counts these);
- ``num_discriminator_steps``: how many batches of real samples the discriminator learns from;
- ``num_gradients``: what it costs, in gradients of one player's loss; a product with the game's
  Jacobian or its transpose counts as one gradient of each player;
- ``takes_lazy_penalties = True``, if it asks no more of a gradient than its mean over rounds;
- ``looks_ahead = True``, if it acts on the gradient of a point ahead.

What it refuses and advises besides, it says as every part does: see ``saddle.game.composition``.

Below, ω = (θ, ψ) are the players, ξ(ω) = (∇_θL_G, ∇_ψL_D) is the game's gradient, J = ∂ξ/∂ω its
Jacobian, and η both learning rates. "On the bilinear game" means min_x max_y σxy with SGD, s = ησ.
"""

from saddle.dynamics.descent import Alternating, Simultaneous

__all__ = ["Alternating", "Simultaneous"]
