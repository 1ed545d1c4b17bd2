"""A test density with several linear predictors, and crossed or common grouping factors to go with it.

It is a sum of exponentials of linear forms in the predictors, whose derivatives of any order are products of its
coefficients, so that the rows of its kernel are written down at sight; it couples every pair.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from types import SimpleNamespace

import numpy as np

from refglmm.covariance import make_structure
from refglmm.families.kernel import SLOPES, observation_rows, shape_rows
from refglmm.families.shape_scales import LogScale
from refglmm.likelihood.coupled import CoupledLayout
from refglmm.likelihood.layout import build_layout
from refglmm.likelihood.problem import CoupledProblem

#: Linear forms of the exponentials, a row each; the shape parameter multiplies the first.
FORMS = {
    2: np.array([[1.0, 0.3], [-0.4, 1.0], [0.2, -0.8]]),
    3: np.array([[1, 0.3, -0.2], [-0.4, 1, 0.3], [0.3, -0.5, -0.9]]),
}
SLOPE = np.array([0.0, 0.2, -0.1])


class Exponentials:
    """l = a {y eta_0 + sum_k slope_k eta_k - sum_m c_m exp(form_m' eta)}, c = (phi, 1, 1)."""

    is_canonical, log_concave, has_scale, is_binomial = False, True, False, False
    name, fixed_shape = "exponentials", np.empty(0)

    def __init__(self, parts, n_shape=1):
        self.n_parts, self.forms = parts, FORMS[parts]
        self.shape_names, self.shape_scales = ("phi",)[:n_shape], (LogScale(),)[:n_shape]
        self.links = (SimpleNamespace(name="log"),) * parts
        self.link = self.links[0]

    def complete(self, phi):
        return phi

    def coefficients(self, phi):
        return np.array([phi[0] if self.shape_names else 1.0, 1.0, 1.0])

    def density(self, y, eta, a, phi):
        linear = y * eta[0] + SLOPE[: self.n_parts] @ eta
        return a * (linear - self.coefficients(phi) @ np.exp(self.forms @ eta))

    def moments(self, eta, order):
        """Each exponential times the products of its coefficients, for each tuple of predictors."""
        e = np.exp(self.forms @ eta)
        tuples = [t[::-1] for t in combinations_with_replacement(range(self.n_parts), order)]
        tuples.sort()
        return [np.prod(self.forms[:, list(t)], axis=1)[:, None] * e for t in tuples]

    def observe(self, y, eta, a, base, phi, order, out):
        at, c = observation_rows(self.n_parts), self.coefficients(phi)
        out[0] = self.density(y, eta, a, phi)
        linear = SLOPE[: self.n_parts, None] + np.eye(self.n_parts)[:, :1] * y
        out[at.s] = a * (linear - np.array([c @ x for x in self.moments(eta, 1)]))
        out[at.h] = out[at.w] = a * np.array([c @ x for x in self.moments(eta, 2)])
        out[at.dh] = a * np.array([c @ x for x in self.moments(eta, 3)])
        return np.nan if order == SLOPES else float(out[0].sum())

    def observe_shape(self, y, eta, a, phi, j, out):
        at = shape_rows(self.n_parts)
        out[0] = -a * np.exp(self.forms @ eta)[0]
        out[at.s] = -a * np.array([x[0] for x in self.moments(eta, 1)])
        out[at.h] = a * np.array([x[0] for x in self.moments(eta, 2)])


def layout_of(terms, n, parts, x_part):
    """``terms``: (codes, Z, levels, the part of each column)."""
    made = build_layout([t[0] for t in terms], [t[1] for t in terms], [t[2] for t in terms], n)
    part = np.array([k for t in terms for k in t[3]], dtype=np.int64)
    return CoupledLayout(**vars(made), part=part, x_part=np.array(x_part, dtype=np.int64))


def build(parts, structure="us", seed=3, n=40):
    """Crossed factors: a term across the predictors and one in the last alone; two columns of X in each part."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 6, n), rng.integers(0, 5, n)
    x = rng.normal(size=n)
    tied = np.column_stack([np.ones(n), rng.normal(size=n), np.ones(n)])
    terms = [(g, tied, 6, (0, 0, 1)), (h, np.ones((n, 1)), 5, (parts - 1,))]
    structures = (make_structure(structure, 3), make_structure("us", 1))
    X = np.hstack([np.column_stack([np.ones(n), x * (k + 1)]) for k in range(parts)])
    x_part = np.repeat(np.arange(parts), 2)
    problem = CoupledProblem(
        y=rng.poisson(1.5, n).astype(float),
        weights=rng.uniform(0.5, 2.0, n),
        offset=0.1 * rng.normal(size=(parts, n)),
        base=np.zeros(n),
        X=X,
        layout=layout_of(terms, n, parts, x_part),
        structures=structures,
        family=Exponentials(parts),
        beta_names=tuple(f"b{j}" for j in range(X.shape[1])),
        par_names=tuple(f"t{j}" for j in range(sum(s.n_par for s in structures))),
        phi_names=("phi",),
        beta_parts=tuple(slice(2 * k, 2 * k + 2) for k in range(parts)),
    )
    par = np.where(problem.par_lower == 0.0, 0.6, 0.2)
    psi = problem.join(par, 0.1 * rng.normal(size=problem.p), np.array([1.3]))
    return problem, psi, terms
