"""Small models solved densely, without the library's engines: fakes to build on and oracles to compare with.

Nothing here uses a sparse factor, PIRLS or a kernel; only the covariance structures are the library's own.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.linalg import solve_triangular

from refglmm.covariance import make_structure
from refglmm.fitted import FittedModel
from refglmm.likelihood.state import Mode
from refglmm.optimize.records import Certificate, Evaluation, Optimum, StageReport

N = 60


class DenseFactor:
    """The interface of a sparse Cholesky factor, on a dense matrix with a permutation that is not trivial."""

    def __init__(self, H):
        self.H = H
        q = len(H)
        self.perm = np.roll(np.arange(q), 1)
        self._L = np.linalg.cholesky(H[np.ix_(self.perm, self.perm)])
        self.indptr = np.concatenate([[0], np.cumsum(np.arange(q, 0, -1))])

    def L(self):
        return sparse.csc_matrix(self._L)

    def solve(self, b):
        return np.linalg.solve(self.H, b)

    def solve_L(self, b):
        return solve_triangular(self._L, b[self.perm], lower=True)

    def solve_Lt(self, b):
        out = np.empty_like(b)
        out[self.perm] = solve_triangular(self._L, b, lower=True, trans="T")
        return out

    def selected_inverse(self):
        inverse = np.linalg.inv(self.H)
        return np.concatenate([inverse[j:, j] for j in range(len(inverse))])


def make_term(label, group, columns, codes, values, structure="us", hom=False, expression="1"):
    n_levels = int(codes.max()) + 1
    levels = pd.Index([f"{group[0]}{i + 1}" for i in range(n_levels)])
    return SimpleNamespace(
        label=label,
        group=group,
        levels=levels,
        codes=codes.astype(np.int32),
        columns=columns,
        Z=values,
        structure=structure,
        hom=hom,
        n_levels=n_levels,
        k=len(columns),
        term=SimpleNamespace(expression=expression, group=group),
    )


def dense_Z(terms, n):
    """Z with the columns of a level side by side, level after level, term after term."""
    blocks = []
    for term in terms:
        block = np.zeros((n, len(term.levels), len(term.columns)))
        block[np.arange(n), term.codes] = term.Z
        blocks.append(block.reshape(n, -1))
    return np.hstack(blocks)


def dense_Lambda(terms, structures, par):
    blocks, start = [], 0
    for term, structure in zip(terms, structures, strict=True):
        T = structure.factor(par[start : start + structure.n_par])
        blocks += [T] * len(term.levels)
        start += structure.n_par
    size = sum(len(T) for T in blocks)
    Lambda, position = np.zeros((size, size)), 0
    for T in blocks:
        Lambda[position : position + len(T), position : position + len(T)] = T
        position += len(T)
    return Lambda


def make_frame(y, weights, na_action="omit"):
    """A frame of which rows 3 and 7 of the data were dropped for missing values."""
    full = pd.Index([f"row{i}" for i in range(len(y) + 2)])
    kept = np.ones(len(full), dtype=bool)
    kept[[3, 7]] = False
    return SimpleNamespace(
        y=y,
        weights=weights,
        offset=np.zeros(len(y)),
        n=len(y),
        index=full[kept],
        full_index=full,
        kept=kept,
        notes=(),
        na_action=na_action,
        data=pd.DataFrame({"y": y}, index=full[kept]),
    )


def certificate(**changes):
    fields = {
        "converged": True,
        "singular": False,
        "messages": (),
        "gradient_norm": 1e-7,
        "newton_decrement": 1e-12,
        "eigenvalues": np.array([0.5, 1.5]),
        "boundary": (),
        "pirls_residual": 1e-13,
    }
    return Certificate(**(fields | changes))


def stand_in_family(name, has_scale=False, **functions):
    family = SimpleNamespace(name=name, r_name=name, has_scale=has_scale, is_ordinal=False, shape_names=(), **functions)
    family.at = lambda phi: family
    return family


def poisson_unit_deviance(y, mu, a):
    return 2 * a * (np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / mu), 0.0) - (y - mu))


GAUSSIAN = stand_in_family("gaussian", has_scale=True, link=SimpleNamespace(name="identity"))
POISSON = stand_in_family(
    "poisson",
    link=SimpleNamespace(name="log", mu_eta=np.exp, inverse=np.exp),
    fitted_slope=np.exp,
    variance=lambda mu: mu,
    unit_deviance=poisson_unit_deviance,
)


def linear_case(reml, na_action="omit", seed=3):
    """Random intercept and slope of one factor, a crossed second factor, prior weights; par is no optimum."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=N)
    subject, item = np.arange(N) % 6, np.arange(N) // 15
    ones = np.ones(N)
    terms = (
        make_term("subject", "subject", ("(Intercept)", "x"), subject, np.column_stack([ones, x]), expression="x"),
        make_term("item", "item", ("(Intercept)",), item, ones[:, None]),
    )
    structures = (make_structure("us", 2, False), make_structure("us", 1, False))
    par = np.array([0.9, 0.4, 0.6, 0.7])
    X = np.column_stack([ones, x])
    weights = rng.uniform(0.5, 2.0, N)
    y = 2.0 + 0.5 * x + rng.normal(size=6)[subject] + rng.normal(size=N) / np.sqrt(weights)
    Z, Lambda = dense_Z(terms, N), dense_Lambda(terms, structures, par)
    V = Z @ Lambda @ Lambda.T @ Z.T + np.diag(1 / weights)  # of y, relative to sigma^2
    Vinv = np.linalg.inv(V)
    precision = X.T @ Vinv @ X
    beta = np.linalg.solve(precision, X.T @ Vinv @ y)
    r = y - X @ beta
    nu = N - 2 if reml else N
    sigma2 = float(r @ Vinv @ r) / nu
    value = np.linalg.slogdet(V)[1] + nu * (1 + np.log(2 * np.pi * sigma2))
    value += np.linalg.slogdet(precision)[1] if reml else 0.0
    u = Lambda.T @ Z.T @ Vinv @ r
    H = Lambda.T @ Z.T @ (weights[:, None] * Z) @ Lambda + np.eye(len(u))
    mode = dense_mode(X, Z, Lambda, u, X @ beta, weights, H, lambda eta: eta)
    optimum = Optimum(
        names=tuple(f"par{i}" for i in range(4)),
        par=par,
        beta=beta,
        phi=np.empty(0),
        value=float(value),
        hessian=None,
        gradient=None,
        certificate=certificate(),
        stages=(StageReport("joint", "bobyqa", 2, 0, float(value), "ok", True, 0.1),),
        trace=(
            Evaluation("joint", 1, par * 0.5, 190.0, 0, 0),
            Evaluation("joint", 2, par.copy(), float(value), 0, 0),
        ),
    )
    design = make_design(X, ("(Intercept)", "x"), terms, Z, dropped="x2")
    fit = make_fit(design, make_frame(y, weights, na_action), GAUSSIAN, structures, optimum, mode, reml=reml)
    return SimpleNamespace(**locals())


def dense_mode(X, Z, Lambda, u, fixed, w, H, inverse_link):
    factor = DenseFactor(H)
    rzx = factor.solve_L(Lambda.T @ Z.T @ (w[:, None] * X))
    eta = fixed + Z @ Lambda @ u
    mu = inverse_link(eta)
    return Mode(
        u=u,
        b=Lambda @ u,
        eta=eta,
        mu=mu,
        s=np.zeros(len(eta)),
        w=w.copy(),
        h=w.copy(),
        factor=factor,
        logdet_L2=float(np.linalg.slogdet(H)[1]),
        rx=np.linalg.cholesky(X.T @ (w[:, None] * X) - rzx.T @ rzx).T,
        rzx=rzx,
        log_density=0.0,
        penalty=float(u @ u),
        deviance=0.0,
        curvature="expected",
        iterations=5,
        halvings=0,
        residual=0.0,
    )


def make_design(X, names, terms, Z, dropped=None):
    return SimpleNamespace(
        X=X,
        names=names,
        all_names=(*names, dropped) if dropped else names,
        dropped=(dropped,) if dropped else (),
        terms=terms,
        Zt=lambda: sparse.csc_array(Z.T),
    )


def make_fit(design, frame, family, structures, optimum, mode, **changes):
    fields = {
        "formula": SimpleNamespace(expanded="y ~ x + (x | subject) + (1 | item)"),
        "frame": frame,
        "design": design,
        "family": family,
        "structures": structures,
        "mode_name": "exact",
        "is_lmm": family is GAUSSIAN,
        "reml": False,
        "n_agq": 1,
        "optimum": optimum,
        "conditional": mode,
        "sigma": 1.0,
        "data_name": "made_up",
        "call": {},
        "se_type": "hessian",
        "model": SimpleNamespace(problem=None),
        "settings": {},
    }
    if family is GAUSSIAN:
        n, p = design.X.shape
        pwrss = np.sum(frame.weights * (frame.y - mode.mu) ** 2) + mode.penalty
        fields["sigma"] = float(np.sqrt(pwrss / (n - p if changes.get("reml") else n)))
    return FittedModel(**(fields | changes))


def poisson_case(seed=5, certificate_changes=None, hessian="good", **changes):
    """Poisson counts, one random intercept; u solves the mode equation by dense Newton steps."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=N)
    group = np.arange(N) % 5
    terms = (make_term("g", "g", ("(Intercept)",), group, np.ones((N, 1))),)
    structures = (make_structure("us", 1, False),)
    par, beta = np.array([0.8]), np.array([0.3, 0.2])
    X = np.column_stack([np.ones(N), x])
    y = rng.poisson(np.exp(X @ beta + rng.normal(size=5)[group])).astype(float)
    Z, Lambda = dense_Z(terms, N), dense_Lambda(terms, structures, par)
    M, u = Z @ Lambda, np.zeros(5)
    for _ in range(50):
        mu = np.exp(X @ beta + M @ u)
        H = M.T @ (mu[:, None] * M) + np.eye(5)
        u = u + np.linalg.solve(H, M.T @ (y - mu) - u)
    mode = dense_mode(X, Z, Lambda, u, X @ beta, mu, H, np.exp)
    root = rng.normal(size=(3, 3))
    matrix = {"good": root @ root.T + 3 * np.eye(3), "bad": np.diag([1.0, -1.0, 2.0]), "none": None}[hessian]
    optimum = Optimum(
        names=("g.(Intercept)", "(Intercept)", "x"),
        par=par,
        beta=beta,
        phi=np.empty(0),
        value=200.0,
        hessian=matrix,
        gradient=None,
        certificate=certificate(**(certificate_changes or {})),
        stages=(StageReport("joint", "bobyqa", 30, 0, 200.0, "ok", True, 0.1),),
        trace=tuple(Evaluation("theta", i, par + i, 200.0 + i, 4, 0) for i in range(30)),
        pirls_trace=({"iteration": 1, "objective": -3.5, "decrement": 0.1, "halvings": 0, "curvature": "observed"},),
    )
    design = make_design(X, ("(Intercept)", "x"), terms, Z)
    weights = np.ones(N)
    fit = make_fit(design, make_frame(y, weights), POISSON, structures, optimum, mode, **changes)
    return SimpleNamespace(**locals())


@pytest.fixture
def linear():
    return linear_case


@pytest.fixture
def poisson():
    return poisson_case
