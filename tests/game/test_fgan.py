"""f-GAN: the divergences of two Gaussians in closed form, conjugates from their definition, and extremes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap
from torch.testing import assert_close

from oracles import dirac_batch, dirac_gan, field_jacobian, sorted_eigenvalues
from saddle.game.losses import (
    FGAN,
    JENSEN_SHANNON,
    KULLBACK_LEIBLER,
    PEARSON,
    REVERSE_KULLBACK_LEIBLER,
    SQUARED_HELLINGER,
    Divergence,
    Minimax,
)
from saddle.theory import held_modes


class Known(NamedTuple):
    """What the papers say of a divergence: f, f*, the best logit at a ratio u = p/q, and f''(1)."""

    divergence: Divergence
    f: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]
    best: Callable[[Tensor], Tensor]
    curvature: float


KNOWN = {
    "kl": Known(KULLBACK_LEIBLER, lambda u: u * u.log(), lambda t: (t - 1).exp(), lambda u: 1 + u.log(), 1.0),
    "reverse_kl": Known(
        REVERSE_KULLBACK_LEIBLER, lambda u: -u.log(), lambda t: -1 - (-t).log(), lambda u: u.log(), 1.0
    ),
    "pearson": Known(PEARSON, lambda u: (u - 1) ** 2, lambda t: t**2 / 4 + t, lambda u: 2 * (u - 1), 2.0),
    "hellinger": Known(
        SQUARED_HELLINGER, lambda u: (u.sqrt() - 1) ** 2, lambda t: t / (1 - t), lambda u: u.log() / 2, 0.5
    ),
    "js": Known(
        JENSEN_SHANNON,
        lambda u: -(u + 1) * ((1 + u) / 2).log() + u * u.log(),
        lambda t: -(2 - t.exp()).log(),
        lambda u: u.log(),
        0.5,
    ),
}
every_divergence = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
few = settings(max_examples=25, deadline=None)  # no deadline: the first call warms torch up


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0]


# ---- at the best discriminator: p = N(0, 1), q = N(m, s²)

PAIRS = [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 1.5), (-0.7, 0.8)]


def log_ratio(x: Tensor, m: float, s: float) -> Tensor:
    return math.log(s) + (x - m) ** 2 / (2 * s**2) - x**2 / 2


def value(loss: FGAN | Minimax, critic: Callable[[Tensor], Tensor], m: float, s: float) -> float:
    """L_D by quadrature: the loss of each pair of nodes, a batch of one, weighed as a Gaussian's."""
    nodes = torch.linspace(-24, 24, 6001)  # the trapezoidal rule on analytic functions: error e^(−c/step)
    weights = torch.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi) * (nodes[1] - nodes[0])
    per_node = vmap(lambda real, fake: loss.discriminator(real[None], fake[None]))
    return (weights * per_node(critic(nodes), critic(m + s * nodes))).sum().item()


def divergence_of_gaussians(name: str, m: float, s: float) -> float:
    if name == "kl":
        return math.log(s) + (1 + m**2) / (2 * s**2) - 0.5
    if name == "reverse_kl":
        return -math.log(s) + (s**2 + m**2) / 2 - 0.5
    if name == "pearson":  # ∫p²/q − 1, finite for 2s² > 1
        a = 1 - 1 / (2 * s**2)
        return s / math.sqrt(2 * a) * math.exp(m**2 / (2 * s**2) + m**2 / (4 * a * s**4)) - 1
    assert name == "hellinger"  # 2 − 2∫√(pq)
    return 2 - 2 * math.sqrt(2 * s / (1 + s**2)) * math.exp(-(m**2) / (4 * (1 + s**2)))


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "pearson", "hellinger"])
@pytest.mark.parametrize(("m", "s"), PAIRS)
def test_the_best_discriminators_loss_is_minus_the_divergence_of_gaussians(name, m, s):
    known = KNOWN[name]
    found = value(FGAN(known.divergence), lambda x: known.best(log_ratio(x, m, s).exp()), m, s)
    # the quadrature and its sums are exact to round-off of terms that reach 1e2 for Pearson
    assert_close(found, -divergence_of_gaussians(name, m, s), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("m", "jsd"),
    [(0.0, 0.0), (0.5, 0.030311), (1.0, 0.111421), (2.0, 0.336831), (4.0, 0.632720), (8.0, 0.693054)],
)
def test_jensen_shannon_is_twice_the_published_divergence_of_gaussians(m, jsd):
    found = value(FGAN(JENSEN_SHANNON), lambda x: log_ratio(x, m, 1.0), m, 1.0)
    assert_close(found, -2 * jsd, atol=1e-6, rtol=0)  # twice half a unit of the sixth digit
    gan = value(Minimax(), lambda x: log_ratio(x, m, 1.0), m, 1.0)
    assert_close(found, gan - 2 * math.log(2), atol=1e-12, rtol=0)  # the same game up to a constant


@pytest.mark.parametrize("num_held", [8, 6, 4, 2, 1])
def test_held_modes_can_be_read_off_the_jensen_shannon_loss(num_held):
    r, certain = num_held / 8, 800.0  # e^−800 is 0
    held = torch.arange(8) < num_held
    best = torch.where(held, math.log(r), certain)
    assert_close(
        FGAN(JENSEN_SHANNON).discriminator(best, best[held]).item(), -2 * held_modes.jensen_shannon(r)
    )
    # reverse KL is −log r; t = −e^−v is 0 where G has no sample
    best = torch.where(held, math.log(r), certain)
    found = FGAN(REVERSE_KULLBACK_LEIBLER).discriminator(best, best[held]).item()
    assert_close(found, math.log(r), atol=1e-15, rtol=1e-12)


@every_divergence
def test_any_other_discriminator_bounds_the_divergence_from_below(known):
    m, s = 1.0, 1.2

    def loss_of(off: float) -> float:
        return value(
            FGAN(known.divergence),
            lambda x: known.best(log_ratio(x, m, s).exp()) + off * torch.sin(3 * x),
            m,
            s,
        )

    best, *others = (loss_of(off) for off in (0.0, -0.3, -0.01, 0.01, 0.3))
    assert min(others) > best


@every_divergence
@few
@given(counts=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=5))
def test_the_best_logit_is_stationary_and_worth_the_divergence_on_discrete_distributions(known, counts):
    p, q = torch.tensor(counts).T
    real, fake = torch.arange(len(p)).repeat_interleave(p), torch.arange(len(q)).repeat_interleave(q)
    p, q = p / p.sum(), q / q.sum()
    best, loss = known.best(p / q), FGAN(known.divergence)
    found = slope(lambda table: loss.discriminator(table[real], table[fake]), best)
    assert_close(found, torch.zeros_like(found), atol=1e-13, rtol=0)  # round-off of terms below 20
    expected = -(q * known.f(p / q)).sum()
    assert_close(loss.discriminator(best[real], best[fake]), expected, atol=1e-13, rtol=0)  # likewise


# ---- conjugates and activations


def moderate() -> Tensor:
    return torch.linspace(-5, 5, 41)


@every_divergence
def test_the_simplified_conjugate_is_the_conjugate_of_the_activation(known):
    found = known.divergence.conjugate(moderate())
    # the naive side cancels: 1 − (1 − e^−v) and 2 − e^t keep 13 of 16 digits at |v| = 5
    assert_close(found, known.conjugate(known.divergence.activation(moderate())), atol=1e-12, rtol=1e-12)


@every_divergence
def test_the_conjugate_is_the_supremum_that_defines_it(known):
    """f*(t) = sup_u ut − f(u), over a grid of log u; all maximisers for |v| ≤ 3 lie inside it."""
    u = torch.cat([torch.zeros(1) + 1e-300, torch.logspace(-8, 8, 160_001, base=math.e)])
    v = torch.linspace(-3, 3, 13)
    if known.divergence is PEARSON:
        v = v[v > -2]  # below, the supremum over u ≥ 0 is at u = 0, and the quadratic is its extension
    t = known.divergence.activation(v)
    supremum = (t[:, None] * u - known.f(u)).max(1).values
    # half a step of 1e-4 in log u off the maximum: ½u²f''(u)·(5e-5)² below 1e-7
    assert_close(known.divergence.conjugate(v), supremum, atol=1e-7, rtol=0)


@every_divergence
def test_the_best_logit_activates_to_the_slope_of_f(known):
    u = torch.logspace(-2, 2, 21)
    # f' by autograd: cancels to 1e-13 relative to terms of size u
    assert_close(known.divergence.activation(known.best(u)), slope(known.f, u), atol=1e-11, rtol=1e-11)


@every_divergence
def test_f_vanishes_at_1_so_a_blind_discriminator_is_worth_nothing(known):
    one = torch.ones(4)
    assert_close(known.f(one), torch.zeros(4))
    assert_close(FGAN(known.divergence).discriminator(known.best(one), known.best(one)).item(), 0.0)


@every_divergence
def test_activations_rise_into_the_domain_of_the_conjugate(known):
    t = known.divergence.activation(moderate())
    assert (t.diff() > 0).all()
    supremum = {
        id(REVERSE_KULLBACK_LEIBLER): 0.0, id(SQUARED_HELLINGER): 1.0, id(JENSEN_SHANNON): math.log(2),
    }.get(id(known.divergence), math.inf)  # fmt: skip
    assert (t < supremum).all()


# ---- in the game


@every_divergence
def test_the_game_is_zero_sum_in_the_fake_logits(known):
    real, fake = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    loss = FGAN(known.divergence)
    of_discriminator = slope(lambda at: loss.discriminator(real, at), fake)
    assert torch.equal(slope(loss.generator, fake), -of_discriminator)
    assert torch.equal(loss.generator(fake), loss.generator(fake, real))  # unpaired


@every_divergence
def test_real_logits_are_wanted_up_by_d_and_fake_ones_down_by_d_and_up_by_g(known):
    """Where the best logit can be: Pearson's is 2(p/q − 1) ≥ −2, and below its conjugate turns round."""
    real, fake = torch.randn(2, 16, generator=torch.Generator().manual_seed(1)).clamp(min=-1.9)
    loss = FGAN(known.divergence)
    assert (slope(lambda at: loss.discriminator(at, fake), real) < 0).all()
    assert (slope(lambda at: loss.discriminator(real, at), fake) > 0).all()
    assert (slope(loss.generator, fake) < 0).all()


@pytest.mark.parametrize(
    ("name", "turn"), [("reverse_kl", 1.0), ("pearson", 1.0), ("hellinger", 1.0), ("js", 0.5)]
)
def test_the_dirac_gan_turns_at_the_slope_of_the_conjugate(name, turn):
    """±i(f* ∘ g)'(0), the rate at which G feels D; KL rests elsewhere, at the logit 1."""
    game = dirac_gan(FGAN(KNOWN[name].divergence), start=(0.0, 0.0))
    found = sorted_eigenvalues(field_jacobian(game, dirac_batch(2)))
    assert_close(found, torch.tensor([-1j, 1j]) * turn, atol=1e-12, rtol=0)  # simple roots


# ---- extremes

E100 = math.exp(100)
TINY = math.exp(-100)
EXTREMES = {  # at +100 and −100: activation, its slope, conjugate, its slope
    "kl": ((100.0, 1.0, math.exp(99), math.exp(99)), (-100.0, 1.0, math.exp(-101), math.exp(-101))),
    "reverse_kl": ((-TINY, TINY, 99.0, 1.0), (-E100, E100, -101.0, 1.0)),
    "pearson": ((100.0, 1.0, 2600.0, 51.0), (-100.0, 1.0, 2400.0, -49.0)),
    "hellinger": ((1.0, TINY, E100, E100), (-E100, E100, -1.0, TINY)),
    "js": ((math.log(2), TINY, 100 - math.log(2), 1.0), (math.log(2) - 100, 1.0, -math.log(2), TINY)),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num", [1, 16])  # one by one, and in vector registers
def test_values_and_gradients_hold_at_logits_of_100(name, dtype, num):
    divergence, limit = KNOWN[name].divergence, torch.finfo(dtype)
    for logit, expected in zip((100.0, -100.0), EXTREMES[name], strict=True):
        at = torch.full((num,), logit, dtype=dtype)
        found = (
            divergence.activation(at), slope(divergence.activation, at),
            divergence.conjugate(at), slope(divergence.conjugate, at),
        )  # fmt: skip
        for one, number in zip(found, expected, strict=True):
            if abs(number) > limit.max:  # e^100 overflows float32, with the right sign
                assert torch.equal(one, torch.full_like(one, math.copysign(math.inf, number)))
                continue
            # a few units of the last place, and of that of subnormal numbers: e^−100 is one in float32
            tolerance = {"rtol": 8 * limit.eps, "atol": 3e-45 if dtype == torch.float32 else 0.0}
            assert_close(one, torch.full_like(one, number), **tolerance)


def test_a_generator_that_is_rejected_with_certainty_still_learns_from_reverse_kl_alone():
    rejected = torch.tensor([-100.0])
    found = {name: slope(FGAN(known.divergence).generator, rejected).item() for name, known in KNOWN.items()}
    assert_close(found.pop("reverse_kl"), -1.0)
    assert found.pop("pearson") == 49.0  # the wrong way: below v = −2 its quadratic is no longer a conjugate
    assert all(-1e-43 < value <= 0 for value in found.values())


@every_divergence
def test_losses_are_scalars_of_the_dtype_of_their_logits(known):
    for dtype in (torch.float32, torch.bfloat16):
        real, fake = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
        loss = FGAN(known.divergence)
        for found in (loss.discriminator(real, fake), loss.generator(fake)):
            assert (found.shape, found.dtype) == ((), dtype)


@every_divergence
def test_nearby_every_divergence_is_half_its_curvature_times_chi_squared(known):
    q, h, eps = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([1.0, -1.5, 0.5]), 1e-3  # p = q(1 + εh)
    u = 1 + eps * h
    best = known.best(u)
    found = (q * u * known.divergence.activation(best) - q * known.divergence.conjugate(best)).sum()
    expected = 0.5 * known.curvature * eps**2 * (q * h**2).sum()
    assert_close(found, expected, rtol=3 * eps, atol=0)  # the cubic term is ε smaller
