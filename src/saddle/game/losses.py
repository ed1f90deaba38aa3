"""Adversarial losses: logits in, one scalar per player out.

Logits have shape (N,), are unbounded, and are high where the discriminator says "real". Each
player *minimises* its own loss, a mean over the batch. A loss that compares real with fake in the
generator's step says so by ``paired = True``; for every other loss that step never evaluates D on
real samples. One that a common shift of all logits does not change says ``shift_invariant = True``.
σ is the logistic function and softplus(t) = log(1 + eᵗ) = −log σ(−t).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from saddle.game.composition import Composition
from saddle.game.ranges import FINITE, POSITIVE_FRACTION_OR_ONE, require
from saddle.game.refusals import Refused


def softplus(logits: Tensor) -> Tensor:
    """log(1 + eᵗ), exact in float32 and float64.

    torch switches to the identity above 20, off by 2e-9; at 80 the two agree to the last bit and
    eᵗ does not yet overflow float32.
    """
    return F.softplus(logits, threshold=80.0)


def _must_be_a_target(real_target: float) -> None:
    require("real_target", real_target, POSITIVE_FRACTION_OR_ONE, "1 is no smoothing, 0.9 is usual.")


def _logistic_discriminator(real_logits: Tensor, fake_logits: Tensor, real_target: float) -> Tensor:
    # −a log σ(t) − (1 − a) log(1 − σ(t)) = softplus(−t) + (1 − a)t: nothing cancels at a = 1
    real = softplus(-real_logits) + (1.0 - real_target) * real_logits
    return real.mean() + softplus(fake_logits).mean()


@dataclass(frozen=True)
class Minimax:
    """The saturating game: zero-sum, and G's gradient vanishes where D rejects with confidence.

    L_D = −E[log σ(D(x))] − E[log(1 − σ(D(G(z))))],  L_G = E[log(1 − σ(D(G(z))))].

    At the optimal D, L_D = 2 log 2 − 2 JSD. ``real_target`` a < 1 is one-sided label smoothing: the first
    term becomes −E[a log σ(D(x)) + (1 − a) log(1 − σ(D(x)))], and σ(D) = ap/(p + q) is optimal.
    Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1; smoothing: Salimans et al. 2016,
    arXiv:1606.03498, sec. 3.4.
    """

    real_target: float = 1.0
    paired: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _must_be_a_target(self.real_target)

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return _logistic_discriminator(real_logits, fake_logits, self.real_target)

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -softplus(fake_logits).mean()


@dataclass(frozen=True)
class NonSaturating:
    """The minimax discriminator; the generator maximises the log-odds of passing. Not zero-sum.

    L_D as in ``Minimax``,  L_G = −E[log σ(D(G(z)))].

    ∂L_G/∂D(G(z)) tends to −1/N, not to 0, where D rejects with confidence. ``real_target`` as in
    ``Minimax``. Source: Goodfellow et al. 2014, arXiv:1406.2661, sec. 3.
    """

    real_target: float = 1.0
    paired: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _must_be_a_target(self.real_target)

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return _logistic_discriminator(real_logits, fake_logits, self.real_target)

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return softplus(-fake_logits).mean()


@dataclass(frozen=True)
class LeastSquares:
    """Regress logits onto targets; the generator aims at the real target. Not zero-sum.

    L_D = ½E[(D(x) − a)²] + ½E[(D(G(z)) − b)²],  L_G = ½E[(D(G(z)) − a)²],  a, b the targets.

    Source: Mao et al. 2017, arXiv:1611.04076, eq. 2, where a and b are the other way round and G's own
    target c is that of real samples.
    """

    real_target: float = 1.0
    fake_target: float = 0.0
    paired: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require("real_target", self.real_target, FINITE, "1 is usual.")
        require("fake_target", self.fake_target, FINITE, "0 is usual.")
        targets = self.real_target, self.fake_target
        if not any(isinstance(target, Tensor) for target in targets) and targets[0] == targets[1]:
            raise Refused(
                f"real_target and fake_target must differ, or there is no game; got {self.real_target} for "
                "both. 1 and 0 are usual."
            )

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
    shift_invariant: ClassVar[bool] = True

    def advice(self, composition: Composition) -> Iterator[str]:
        if not composition.bounds:
            yield (
                "the Wasserstein loss has no minimum over unbounded critics. Add regularizer=[wgan_gp], "
                "update.discriminator.max_weight=0.01, or spectral normalization."
            )

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return fake_logits.mean() - real_logits.mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


@dataclass(frozen=True)
class Hinge:
    """D stops caring beyond the margin 1; G sees the raw logit.

    L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))],  L_G = −E[D(G(z))].

    At the optimal D, L_D = 2 − 2 TV. Source: Lim and Ye 2017, arXiv:1705.02894.
    """

    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -fake_logits.mean()


def logistic(margin: Tensor) -> Tensor:
    """softplus(−t): how much a margin t falls short, by the logistic loss."""
    return softplus(-margin)


def squared(margin: Tensor) -> Tensor:
    """(t − 1)², no factor ½."""
    return (margin - 1.0).square()


def hinged(margin: Tensor) -> Tensor:
    """max(0, 1 − t)."""
    return F.relu(1.0 - margin)


Form = Callable[[Tensor], Tensor]


def _real_logits(real_logits: Tensor | None) -> Tensor:
    if real_logits is None:
        raise Refused(
            "a relativistic generator loss must be given real_logits; got None. "
            "Pass D's logits on real samples."
        )
    return real_logits


@dataclass(frozen=True)
class Relativistic:
    """Relativistic pairing (RpGAN): D ranks the i-th real sample above the i-th fake one.

    L_D = E[φ(D(x) − D(G(z)))],  L_G = E[φ(D(G(z)) − D(x))], φ one of ``logistic``, ``squared``, ``hinged``.

    Blind to a common shift of the logits. Logistic: log 2 for a constant D, and r log 2 for the optimal
    D if G holds a share r of equal modes. Source: Jolicoeur-Martineau 2018, arXiv:1807.00734.
    """

    form: Form = logistic
    paired: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return self.form(real_logits - fake_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return self.form(fake_logits - _real_logits(real_logits)).mean()


@dataclass(frozen=True)
class RelativisticAverage:
    """Relativistic average (RaGAN): D ranks each sample against the mean of the other kind.

    L_D = E[φ(D(x) − E D(G(z)))] + E[φ(E D(x) − D(G(z)))], L_G the same with real and fake exchanged,
    φ one of ``logistic`` (RaSGAN), ``squared`` (RaLSGAN), ``hinged`` (RaHingeGAN). No factor ½.

    Blind to a common shift of the logits. The means are over the batch, so the value depends on the
    batch size. Source: Jolicoeur-Martineau 2018, arXiv:1807.00734.
    """

    form: Form = logistic
    paired: ClassVar[bool] = True
    shift_invariant: ClassVar[bool] = True

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return (
            self.form(real_logits - fake_logits.mean()).mean()
            + self.form(real_logits.mean() - fake_logits).mean()
        )

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return self.discriminator(fake_logits, _real_logits(real_logits))


class Divergence(NamedTuple):
    """An f-divergence D_f(p‖q) = E_q[f(p/q)] as f-GAN trains it.

    D's logit v becomes the dual variable t = activation(v), and ``conjugate(v)`` is f*(activation(v)),
    simplified so that nothing cancels. The best v is where activation(v) = f'(p/q).
    """

    activation: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]


def _identity(logits: Tensor) -> Tensor:
    return logits


KULLBACK_LEIBLER = Divergence(_identity, lambda logits: (logits - 1.0).exp())
"""f(u) = u log u, f*(t) = e^{t−1}. Best v: 1 + log p/q. e^v overflows float32 above v = 89."""

REVERSE_KULLBACK_LEIBLER = Divergence(lambda logits: -(-logits).exp(), lambda logits: logits - 1.0)
"""f(u) = −log u, t = −e^{−v}, f*(t) = −1 − log(−t). Best v: log p/q."""

PEARSON = Divergence(_identity, lambda logits: 0.25 * logits.square() + logits)
"""f(u) = (u − 1)², f*(t) = t²/4 + t. Best v: 2(p/q − 1). Below v = −2 the conjugate falls as v rises, so G
is pushed the wrong way there."""

# 1 − e^{−v}, not −expm1(−v): the derivative of expm1 is computed from its rounded value
SQUARED_HELLINGER = Divergence(lambda logits: 1.0 - (-logits).exp(), lambda logits: logits.exp() - 1.0)
"""f(u) = (√u − 1)², t = 1 − e^{−v}, f*(t) = t/(1 − t). Best v: ½ log p/q."""

JENSEN_SHANNON = Divergence(
    lambda logits: math.log(2.0) - softplus(-logits), lambda logits: softplus(logits) - math.log(2.0)
)
"""f(u) = −(u + 1) log((1 + u)/2) + u log u, t = log 2 − softplus(−v), f*(t) = −log(2 − eᵗ).
Best v: log p/q. The value is 2 JSD in nats, twice the usual Jensen-Shannon divergence."""


@dataclass(frozen=True)
class FGAN:
    """The variational game of an f-divergence: zero-sum, −L_D is a lower bound on D_f(p‖q).

    L_D = −E[g(D(x))] + E[f*(g(D(G(z))))],  L_G = −E[f*(g(D(G(z))))], g the output activation.

    At the optimal D, L_D = −D_f. Source: Nowozin et al. 2016, arXiv:1606.00709, sec. 2.4.
    """

    divergence: Divergence
    paired: ClassVar[bool] = False

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return self.divergence.conjugate(fake_logits).mean() - self.divergence.activation(real_logits).mean()

    def generator(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        return -self.divergence.conjugate(fake_logits).mean()
