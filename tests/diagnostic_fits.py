"""Fits that the tests of the diagnostics share, each made once, and their dense matrices."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

import refglmm as rg

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@cache
def sleepstudy(formula="Reaction ~ Days + (1 | Subject)", reml=True):
    return rg.lmer(formula, rg.datasets.load("sleepstudy"), reml=reml)


@cache
def cbpp(mode="exact"):
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", mode=mode)


@cache
def grouseticks(formula="TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD) + (1 | LOCATION)"):
    return rg.glmer(formula, rg.datasets.load("grouseticks"), "poisson", mode="lme4")


def crossed_data(seed=11, n=90):
    """Two crossed factors, a slope, weights of which one is zero; counts, proportions and positive responses."""
    rng = np.random.default_rng(seed)
    g, h = np.arange(n) % 9, np.arange(n) // 10 % 6
    x = rng.normal(size=n)
    mean = np.exp(0.5 + 0.4 * x + 0.6 * rng.normal(size=9)[g] + 0.4 * rng.normal(size=6)[h])
    w = rng.uniform(0.5, 2.0, n)
    w[7] = 0.0
    size = rng.integers(3, 12, n)
    return pd.DataFrame(
        {
            "y": mean + 1.2 * x * rng.normal(size=9)[g] + 1.0 * rng.normal(size=6)[h] + rng.normal(size=n),
            "count": rng.poisson(mean),
            "over": rng.negative_binomial(2.0, 2.0 / (2.0 + mean)),
            "positive": rng.gamma(4.0, mean / 4.0),
            "hits": rng.binomial(size, mean / (1.0 + mean)),
            "size": size,
            "x": x,
            "w": w,
            "g": [f"g{j}" for j in g],
            "h": [f"h{j}" for j in h],
        }
    )


@cache
def crossed(kind):
    data = crossed_data()
    if kind == "linear":
        return rg.lmer("y ~ x + (1 + x | g) + (1 | h)", data, weights="w", reml=True)
    if kind == "ml":
        return rg.lmer("y ~ x + (1 | g) + (1 | h)", data, weights="w")
    if kind == "probit":
        return rg.glmer("cbind(hits, size - hits) ~ x + (1 | g) + (1 | h)", data, "binomial", link="probit")
    if kind == "gamma":
        return rg.glmer("positive ~ x + (1 | g)", data, "gamma", link="log")
    if kind == "negative binomial":
        return rg.glmer_nb("over ~ x + (1 | g)", data)
    return rg.glmer("count ~ x + (1 | g) + (1 | h)", data, "poisson")


def dense_system(fit):
    """M, X and the expected working weights, all dense."""
    M = (fit.get_me("Lambdat") @ fit.design.Zt()).toarray().T
    return M, np.array(fit.problem.X), fit.weights("working").to_numpy()


def dense_hat(fit):
    """The whole hat matrix."""
    M, X, w = dense_system(fit)
    C = np.sqrt(w)[:, None] * np.hstack([M, X])
    A = C.T @ C
    A[: M.shape[1], : M.shape[1]] += np.eye(M.shape[1])
    return C @ np.linalg.solve(A, C.T)


def linear_data(seed=3, n=40):
    """A regression whose group factor explains nothing: the mixed model is the linear model."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, n))
    group = np.arange(n) % 4
    y = 1.0 + x - 0.5 * z + rng.normal(size=n)
    # Group means of the residuals are taken out, so the variance of the groups is estimated at zero.
    X = np.column_stack([np.ones(n), x, z, x * 0.5 + rng.normal(size=n)])
    Q = np.linalg.qr(np.column_stack([X, np.eye(4)[group]]))[0]
    y = X @ np.linalg.lstsq(X, y, rcond=None)[0] + (y - Q @ (Q.T @ y))
    return pd.DataFrame({"y": y, "x": x, "z": z, "v": X[:, 3], "g": [f"g{j}" for j in group]})
