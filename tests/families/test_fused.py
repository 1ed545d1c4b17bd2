"""The pass over all rows that samplers take, against the kernels of single rows, which have tests of their own."""

from __future__ import annotations

import numpy as np
import pytest

from refglmm import families as fam
from refglmm.families.fused import plain_rows
from refglmm.families.kernel import ALL, L_PHI, L, S
from refglmm.families.ordinal import Adjacent, Ordered, Sequential
from refglmm.families.registry import FAMILIES

RNG = np.random.default_rng(5)
N = 24
ETA = RNG.normal(0.0, 0.7, N)
WEIGHTS = np.where(np.arange(N) % 5 == 3, 0.0, RNG.uniform(0.5, 3.0, N))
COUNTS = RNG.poisson(3.0, N).astype(float)
SHARES = np.r_[0.0, 1.0, RNG.uniform(0.05, 0.95, N - 2)]
REALS = RNG.normal(0.5, 1.0, N)
TRIALS = np.where(np.arange(N) == 4, 3e7, np.where(np.arange(N) == 9, 0.0, RNG.integers(1, 9, N)))

#: Family name to (y, weights, estimated shape parameters).
DATA = {
    "binomial": (np.round(TRIALS * SHARES) / np.maximum(TRIALS, 1.0), TRIALS, ()),
    "bernoulli": ((REALS > 0.5).astype(float), np.where(WEIGHTS > 0, 1.0, 0.0), ()),
    "poisson": (np.where(np.arange(N) == 6, 1e9, COUNTS), WEIGHTS, ()),
    "gamma": (np.exp(REALS), WEIGHTS, (0.4,)),
    "inverse_gaussian": (np.exp(REALS), WEIGHTS, (0.4,)),
    "gaussian": (REALS, WEIGHTS, (0.7,)),
    "negative_binomial": (np.where(np.arange(N) == 6, 1e9, COUNTS), WEIGHTS, (1.7,)),
    "nbinom1": (COUNTS, WEIGHTS, (1.7,)),
    "beta": (np.clip(SHARES, 0.01, 0.99), WEIGHTS, (3.0,)),
    "ordbeta": (SHARES, WEIGHTS, (3.0, -0.8, 2.1)),
    "unit_lindley": (np.clip(SHARES, 0.01, 0.99), WEIGHTS, ()),
    "student_t": (REALS, WEIGHTS, (0.8, 4.2)),
    "lognormal": (np.exp(REALS), WEIGHTS, (0.6,)),
    "lognormal_log": (np.exp(REALS), WEIGHTS, (0.6,)),
    "tweedie": (np.where(REALS < 0.2, 0.0, np.exp(REALS)), WEIGHTS, (0.8, 1.4)),
    "censored_normal": (REALS, WEIGHTS, (0.8,)),
    "genpois": (COUNTS, WEIGHTS, (1.3,)),
    "compois": (COUNTS, WEIGHTS, (1.3,)),
    "bell": (COUNTS, WEIGHTS, ()),
    "truncated_poisson": (COUNTS + 1.0, WEIGHTS, ()),
    "truncated_nbinom1": (COUNTS + 1.0, WEIGHTS, (1.7,)),
    "truncated_nbinom2": (COUNTS + 1.0, WEIGHTS, (1.7,)),
    "truncated_genpois": (COUNTS + 1.0, WEIGHTS, (1.3,)),
    "truncated_compois": (COUNTS + 1.0, WEIGHTS, (1.3,)),
    "betabinomial": (np.round(8 * SHARES) / 8, np.where(WEIGHTS > 0, 8.0, 0.0), (2.5,)),
    "ordered": (np.arange(N) % 3.0, WEIGHTS, (-0.4, 0.9)),
    "sequential": (np.arange(N) % 3.0, WEIGHTS, (0.9, -0.4)),
    "adjacent": (np.arange(N) % 3.0, WEIGHTS, (0.9, -0.4)),
}
ORDINAL = {"ordered": Ordered, "sequential": Sequential, "adjacent": Adjacent}
#: Links whose linear predictor has a sign of its own.
SIGNS = {"sqrt": 1.0, "identity": 1.0, "inverse": 1.0, "1/mu^2": 1.0}
FAST = (
    "binomial-logit",
    "poisson-log",
    "negative_binomial-log",
    "gaussian-identity",
    "student_t-identity",
    "ordered-logit",
)


def links_of(cls):
    """Every link that a family has."""
    return list(cls.points or cls.densities)


def make(name, link):
    """The family with that link, ordinal ones with three categories."""
    return ORDINAL[name](link, levels=("a", "b", "c")) if name in ORDINAL else FAMILIES[name](link)


def linear_predictor(family):
    """Values inside the link's domain, near where the response is."""
    positive = SIGNS.get(family.link.name) is not None and not family.is_ordinal
    eta = np.exp(0.4 * ETA) if positive else ETA
    is_share = family.is_binomial or family.name == "beta"
    return np.log(0.2 + 0.5 / (1.0 + np.exp(-ETA))) if is_share and family.link.name == "log" else eta


def fused(family, y, eta, weights, phi):
    """(sum of l, s, dl/dphi summed over the rows)."""
    rows = plain_rows(y, weights, family.base_measure(y, weights))
    s, d_phi = np.full(y.size, np.nan), np.full(family.n_shape, np.nan)
    value = family.log_likelihood(rows, eta, family.complete(np.array(phi)), s, d_phi)
    return value, s, d_phi


def by_observation(family, y, eta, weights, phi):
    """The same from the kernels of the engines, row by row."""
    phi, out, shape = family.complete(np.array(phi)), np.empty((6, y.size)), np.empty((4, y.size))
    family.observe(y, eta, weights, family.base_measure(y, weights), phi, ALL, out)
    slopes = []
    for j in range(family.n_shape):
        family.observe_shape(y, eta, weights, phi, j, shape)
        slopes.append(shape[L_PHI].copy())
    return out[L], out[S], np.array(slopes).reshape(family.n_shape, y.size)


def check(family, y, weights, phi):
    eta = linear_predictor(family)
    value, s, d_phi = fused(family, y, eta, weights, phi)
    rows, s_rows, slopes = by_observation(family, y, eta, weights, phi)
    assert np.all(np.isfinite(rows))
    assert value == pytest.approx(rows.sum(), rel=1e-12, abs=1e-12 * np.abs(rows).sum())
    np.testing.assert_allclose(s, s_rows, rtol=1e-10, atol=1e-13 * np.abs(s_rows).max())
    assert np.all(s[weights == 0.0] == 0.0)
    size = np.abs(slopes).sum(axis=1)
    np.testing.assert_allclose(d_phi / size, slopes.sum(axis=1) / size, rtol=0, atol=1e-12)


def test_every_family_is_there():
    assert set(DATA) == set(FAMILIES)
    assert all((weights == 0.0).any() for _, weights, _ in DATA.values())


@pytest.mark.parametrize("name", FAST)
def test_sums_are_those_of_the_rows(name):
    family = name.rsplit("-", 1)
    check(make(*family), *DATA[family[0]])


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{name}-{link}" for name, cls in FAMILIES.items() for link in links_of(cls)])
def test_sums_are_those_of_the_rows_for_every_link(name):
    if name not in FAST:
        family = name.split("-", 1)
        check(make(*family), *DATA[family[0]])


def test_rare_rows_are_taken_by_the_function_made_for_them():
    """A binomial row of thirty million trials: its deviance keeps its digits."""
    y, weights = np.array([0.5, 1e7 / 3e7]), np.array([2.0, 3e7])
    eta = np.array([0.0, np.log(0.5) + 1e-6])
    value, s, _ = fused(fam.Binomial(), y, eta, weights, ())
    mu = 1.0 / (1.0 + np.exp(-eta[1]))
    assert s[1] == pytest.approx(3e7 * (y[1] - mu), rel=1e-6)
    saturated = fused(fam.Binomial(), y, np.array([0.0, np.log(0.5)]), weights, ())[0]
    assert value - saturated == pytest.approx(-0.5 * 3e7 * (2 / 9) * 1e-12, rel=1e-3)


def test_thresholds_out_of_order_have_no_density():
    y, weights, _ = DATA["ordered"]
    value, s, d_phi = fused(make("ordered", "logit"), y, ETA, weights, (0.9, -0.4))
    assert value == -np.inf
    assert not s.any()
    assert not d_phi.any()


def test_known_shape_parameters_have_no_slope():
    y, weights, _ = DATA["negative_binomial"]
    known, free = fam.NegativeBinomial(size=1.7), fam.NegativeBinomial()
    value, s, d_phi = fused(known, y, ETA, weights, ())
    wanted = fused(free, y, ETA, weights, (1.7,))
    assert d_phi.size == 0
    assert value == pytest.approx(wanted[0], rel=1e-14)
    np.testing.assert_allclose(s, wanted[1], rtol=1e-13)


def test_rows_are_copies():
    y = np.zeros(3)
    rows = plain_rows(y, np.ones(3)[::1], np.zeros(3))
    y[0] = 5.0
    assert rows.y[0] == 0.0
    assert all(v.flags.c_contiguous for v in rows[:3])
