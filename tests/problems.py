"""Small problems built by hand from arrays: families x links, designs x structures.

Nothing here goes through formulas. Responses are drawn with numpy's generators, not with the families' own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import oracles

from refglmm.covariance import make_structure
from refglmm.families.negative_binomial import NegativeBinomial
from refglmm.families.registry import get_family
from refglmm.likelihood.agq import AdaptiveQuadratureObjective
from refglmm.likelihood.laplace import LaplaceObjective, ProfiledObjective
from refglmm.likelihood.layout import build_layout
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.problem import Problem


@dataclass(frozen=True)
class Case:
    """A family with its link, and where to put eta so that every row stays well inside the domain."""

    family: str
    link: str
    intercept: float
    slope: float
    sd: float
    phi: float | None = None

    def __str__(self):
        return f"{self.family}-{self.link}".replace("/", "_")

    @property
    def object(self):
        return get_family(self.family, self.link)

    @property
    def is_count(self):
        return self.family in ("poisson", "negative_binomial")

    def draw(self, eta, a, rng):
        """Response on the scale of y."""
        mu = oracles.INVERSE_LINK[self.link](eta)
        if self.family == "binomial":
            return rng.binomial(a.astype(int), mu) / a
        if self.family == "poisson":
            return rng.poisson(mu).astype(float)
        if self.family == "negative_binomial":
            return rng.poisson(mu * rng.gamma(self.phi, 1.0 / self.phi, mu.size)).astype(float)
        if self.family == "gamma":
            return rng.gamma(a / self.phi, mu * self.phi / a)
        if self.family == "inverse_gaussian":
            return rng.wald(mu, a / self.phi)
        return rng.normal(mu, np.sqrt(self.phi / a))


CASES = [
    Case("binomial", "logit", -0.3, 0.6, 0.7),
    Case("binomial", "probit", -0.2, 0.4, 0.5),
    Case("binomial", "cloglog", -0.5, 0.4, 0.5),
    Case("binomial", "cauchit", -0.3, 0.5, 0.5),
    Case("binomial", "log", -1.2, 0.15, 0.12),
    Case("poisson", "log", 0.7, 0.4, 0.6),
    Case("poisson", "sqrt", 2.5, 0.3, 0.3),
    Case("poisson", "identity", 6.0, 1.0, 0.8),
    Case("gamma", "inverse", 1.5, 0.2, 0.15, 0.15),
    Case("gamma", "log", 0.5, 0.3, 0.4, 0.15),
    Case("gamma", "identity", 5.0, 0.8, 0.6, 0.15),
    Case("inverse_gaussian", "1/mu^2", 1.0, 0.15, 0.10, 0.1),
    Case("inverse_gaussian", "inverse", 1.2, 0.15, 0.12, 0.1),
    Case("inverse_gaussian", "log", 0.3, 0.3, 0.3, 0.1),
    Case("inverse_gaussian", "identity", 2.0, 0.3, 0.2, 0.1),
    Case("gaussian", "identity", 1.0, 0.5, 0.6, 0.3),
    Case("gaussian", "log", 1.0, 0.2, 0.3, 0.3),
    Case("gaussian", "inverse", 0.8, 0.1, 0.08, 0.03),
    Case("gaussian", "logit", 0.3, 0.5, 0.5, 0.02),
    Case("negative_binomial", "log", 1.0, 0.4, 0.5, 2.5),
    Case("negative_binomial", "sqrt", 2.5, 0.3, 0.3, 2.5),
    Case("negative_binomial", "identity", 6.0, 1.0, 0.8, 2.5),
]
BY_NAME = {str(case): case for case in CASES}


@dataclass(frozen=True)
class Design:
    """Fixed-effects matrix, random-effects terms (codes, columns, levels) and one structure a term."""

    name: str
    X: np.ndarray
    terms: tuple
    structures: tuple

    def __str__(self):
        return self.name

    @property
    def n(self):
        return self.X.shape[0]

    def par(self, sd):
        """Parameters with standard deviations about ``sd`` and moderate correlations."""
        pieces = []
        for t, structure in enumerate(self.structures):
            ranged = np.isfinite(structure.upper) & np.isfinite(structure.lower)
            free = ~np.isfinite(structure.lower)
            piece = sd * (0.8 + 0.15 * np.arange(structure.n_par) - 0.2 * t)
            piece[free] = 0.3 * sd
            piece[ranged] = 0.3
            pieces.append(piece)
        return np.concatenate(pieces)


def _designs():
    rng = np.random.default_rng(20)
    n = 48
    g8 = np.repeat(np.arange(8), 6)
    x = np.tile(np.linspace(-1.0, 1.0, 6), 8)
    z = rng.uniform(-1, 1, n)
    X = np.column_stack([np.ones(n), x])
    one = np.ones((n, 1))
    slopes = np.column_stack([np.ones(n), x])
    three = np.column_stack([np.ones(n), x, z])
    # unbalanced: level sizes differ, not every pair occurs
    a7 = rng.permutation(np.repeat(np.arange(7), [2, 3, 5, 6, 8, 10, 14]))
    b5 = rng.choice(5, n, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    b5[:5] = np.arange(5)
    inner = np.repeat(np.arange(12), 4)
    outer = inner // 3

    def make(name, terms, structures):
        return Design(name, X, tuple(terms), tuple(make_structure(*s) for s in structures))

    designs = [
        make("balanced-us2", [(g8, slopes, 8)], [("us", 2, False)]),
        make("crossed-us2+us1", [(a7, slopes, 7), (b5, one, 5)], [("us", 2, False), ("us", 1, False)]),
        make("nested", [(inner, one, 12), (outer, one, 4)], [("us", 1, False), ("us", 1, False)]),
        make("same-factor-twice", [(g8, one, 8), (g8, x[:, None], 8)], [("us", 1, False), ("us", 1, False)]),
        make("diag3+us2", [(g8, three, 8), (b5, slopes, 5)], [("diag", 3, False), ("us", 2, False)]),
        make("cs3", [(a7, three, 7)], [("cs", 3, False)]),
    ]
    for name in ("diag", "cs", "ar1"):
        designs.append(make(f"hom-{name}3", [(g8, three, 8)], [(name, 3, True)]))
    designs.append(make("ar1-3-het", [(g8, three, 8)], [("ar1", 3, False)]))
    return designs


DESIGNS = _designs()
DESIGN = {design.name: design for design in DESIGNS}


def build(family, X, terms, structures, y, a, offset=None):
    """Problem from arrays."""
    n = len(y)
    par_names = []
    for t, structure in enumerate(structures):
        par_names += structure.par_names(f"g{t}", [f"c{j}" for j in range(structure.k)])
    return Problem(
        y=np.ascontiguousarray(y, dtype=float),
        weights=np.ascontiguousarray(a, dtype=float),
        offset=np.zeros(n) if offset is None else np.asarray(offset, dtype=float),
        base=np.ascontiguousarray(family.base_measure(np.asarray(y, float), np.asarray(a, float)), dtype=float),
        X=np.ascontiguousarray(X, dtype=float),
        layout=build_layout([t[0] for t in terms], [t[1] for t in terms], [t[2] for t in terms], n),
        structures=tuple(structures),
        family=family,
        beta_names=tuple(f"x{j}" for j in range(X.shape[1])),
        par_names=tuple(par_names),
        phi_names=tuple(family.shape_names),
    )


def draw_weights(case, n, rng):
    """Numbers of trials for a binomial, unequal real weights otherwise."""
    return rng.integers(1, 7, n).astype(float) if case.family == "binomial" else rng.uniform(0.5, 2.0, n)


def simulated(case, design, seed=1):
    """(problem, psi): data drawn from the case on the design, and the parameters behind them."""
    rng = np.random.default_rng(seed)
    par = design.par(case.sd)
    factors = split_factors(design.structures, par)
    levels = [term[2] for term in design.terms]
    Lambda = oracles.dense_Lambda(factors, levels)
    u = np.clip(rng.standard_normal(Lambda.shape[0]), -1.5, 1.5)
    a = draw_weights(case, design.n, rng)
    offset = 0.05 * abs(case.intercept) * rng.uniform(-1, 1, design.n)
    beta = np.array([case.intercept, case.slope])
    eta = offset + design.X @ beta + oracles.dense_Z(design.terms) @ Lambda @ u
    problem = build(case.object, design.X, design.terms, design.structures, case.draw(eta, a, rng), a, offset)
    phi = [] if case.phi is None else [np.log(case.phi)]
    return problem, np.concatenate([par, beta, phi])


def split_factors(structures, par):
    """T of each term."""
    factors, first = [], 0
    for structure in structures:
        factors.append(structure.factor(par[first : first + structure.n_par]))
        first += structure.n_par
    return factors


def dense_M(problem, par, terms):
    """Z Lambda(par), dense."""
    factors = split_factors(problem.structures, par)
    return oracles.dense_Z(terms) @ oracles.dense_Lambda(factors, [term[2] for term in terms])


def intercepts(case, levels=8, rows=5, seed=3, sd=None):
    """(problem, psi, terms) with one random intercept; random group sizes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 2 * rows - 1, levels)
    codes = np.repeat(np.arange(levels), sizes)
    n = codes.size
    x = rng.uniform(-1, 1, n)
    X = np.column_stack([np.ones(n), x])
    terms = [(codes, np.ones((n, 1)), levels)]
    sd = case.sd if sd is None else sd
    a = draw_weights(case, n, rng)
    beta = np.array([case.intercept, case.slope])
    u = np.clip(rng.standard_normal(levels), -1.5, 1.5)
    y = case.draw(X @ beta + sd * u[codes], a, rng)
    problem = build(case.object, X, terms, [make_structure("us", 1)], y, a)
    phi = [] if case.phi is None else [np.log(case.phi)]
    return problem, np.concatenate([[sd], beta, phi]), terms


def known_size(link, size):
    """Negative binomial whose size is not estimated."""
    return NegativeBinomial(link, size)


def laplace(problem, curvature="observed", engine="auto"):
    """Laplace objective with an engine of its own."""
    return LaplaceObjective(Pirls(problem, engine), curvature)


def profiled(problem, start_beta, curvature="observed"):
    """n_agq = 0 objective with an engine of its own."""
    return ProfiledObjective(Pirls(problem), np.array(start_beta, dtype=float), curvature)


def quadrature(problem, n_agq, curvature="observed"):
    """Quadrature objective with an engine of its own."""
    return AdaptiveQuadratureObjective(Pirls(problem), n_agq, curvature)


def assert_gradient(objective, psi, rel=1e-7):
    """Exact gradient against 5-point differences, each coordinate in units of its own size."""
    size = np.maximum(np.abs(psi), 0.05)
    _, gradient = objective.value_and_gradient(psi)
    expected = size * oracles.gradient_5_point(objective.value, psi, 1e-3 * size)
    np.testing.assert_allclose(gradient * size, expected, rtol=rel, atol=rel * np.max(np.abs(expected)))
