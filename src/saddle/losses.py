"""Adversarial losses: logits in, one scalar per player out.

Logits have shape (N,), are unbounded, and are high where the discriminator says "real". Each
player *minimises* its own loss, a mean over the batch. A loss that compares real with fake in the
generator's step says so by ``paired = True``; for every other loss that step never evaluates D on
real samples. σ is the logistic function and softplus(t) = log(1 + eᵗ) = −log σ(−t).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor


def softplus(logits: Tensor) -> Tensor:
    """log(1 + eᵗ), exact in float32 and float64.

    torch switches to the identity above 20, off by 2e-9; at 80 the two agree to the last bit and
    eᵗ does not yet overflow float32.
    """
    return F.softplus(logits, threshold=80.0)


@dataclass(frozen=True)
class Minimax:
    """The saturating game: zero-sum, and G's gradient vanishes where D rejects with confidence.

    L_D = −E[log σ(D(x))] − E[log(1 − σ(D(G(z))))],  L_G = E[log(1 − σ(D(G(z))))].

    At the optimal D, L_D = 2 log 2 − 2 JSD. Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1.
    """

    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -softplus(fake_logits).mean()


@dataclass(frozen=True)
class NonSaturating:
    """The minimax discriminator; the generator maximises the log-odds of passing. Not zero-sum.

    L_D as in ``Minimax``,  L_G = −E[log σ(D(G(z)))].

    ∂L_G/∂D(G(z)) tends to −1/N, not to 0, where D rejects with confidence.
    Source: Goodfellow et al. 2014, arXiv:1406.2661, sec. 3.
    """

    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return softplus(-fake_logits).mean()


@dataclass(frozen=True)
class LeastSquares:
    """Regress logits onto targets; the generator aims at the real target. Not zero-sum.

    L_D = ½E[(D(x) − a)²] + ½E[(D(G(z)) − b)²],  L_G = ½E[(D(G(z)) − a)²],  a, b the targets.

    Source: Mao et al. 2017, arXiv:1611.04076, eq. 2.
    """

    real_target: float = 1.0
    fake_target: float = 0.0
    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real, fake = real_logits - self.real_target, fake_logits - self.fake_target
        return 0.5 * (real.square().mean() + fake.square().mean())

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return 0.5 * (fake_logits - self.real_target).square().mean()


@dataclass(frozen=True)
class Wasserstein:
    """The critic's mean difference: zero-sum, blind to a common shift of the logits.

    L_D = E[D(G(z))] − E[D(x)],  L_G = −E[D(G(z))].

    A distance only if D is held 1-Lipschitz, by a penalty or otherwise.
    Source: Arjovsky et al. 2017, arXiv:1701.07875, eq. 3.
    """

    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


@dataclass(frozen=True)
class Hinge:
    """D stops caring beyond the margin 1; G sees the raw logit.

    L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))],  L_G = −E[D(G(z))].

    At the optimal D, L_D = 2 − 2 TV. Source: Lim and Ye 2017, arXiv:1705.02894, eqs. 8-9.
    """

    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


@dataclass(frozen=True)
class Relativistic:
    """Relativistic pairing (RpGAN): D ranks the i-th real sample above the i-th fake one.

    L_D = E[softplus(−(D(x) − D(G(z))))],  L_G = E[softplus(−(D(G(z)) − D(x)))].

    Blind to a common shift of the logits; log 2 for a constant D. With r of the modes held by G,
    the optimal L_D is r log 2. Source: Jolicoeur-Martineau 2018, arXiv:1807.00734, eqs. 8-9.
    """

    paired: ClassVar[bool] = True

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return softplus(fake_logits - real_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        if real_logits is None:
            raise ValueError(
                "the relativistic generator loss must be given real_logits; got None. "
                "Pass D's logits on real samples."
            )
        return softplus(real_logits - fake_logits).mean()
