"""What the tests of the structures share: differences of high order, and structures of every kind with data."""

from __future__ import annotations

import numpy as np

from refglmm.covariance import TermData, make_structure

#: Sixth-order central differences: weights of f(x + h), f(x + 2h), f(x + 3h).
WEIGHTS = {1: 45.0, 2: -9.0, 3: 1.0}


def rows(values):
    """A matrix as the tuples that TermData holds."""
    return tuple(tuple(float(v) for v in row) for row in values)


def positions(k, dimensions, seed=0):
    """Random places of k columns."""
    return TermData(positions=rows(np.random.default_rng(seed).uniform(0.0, 4.0, (k, dimensions))))


def known(k, seed=0):
    """A covariance matrix with variances that differ."""
    A = np.random.default_rng(seed).normal(size=(k, k + 2))
    return TermData(matrix=rows(A @ A.T / k))


def every_structure():
    """Structures with data, and the Toeplitz ones."""
    return [
        *(make_structure("toep", k, hom) for hom in (False, True) for k in (1, 2, 3, 6)),
        *(make_structure("ou", k, True, positions(k, 1)) for k in (1, 2, 6)),
        *(make_structure(name, k, True, positions(k, 2)) for name in ("exp", "gau", "mat") for k in (1, 2, 6)),
        *(make_structure("rr", k, False, TermData(rank=d)) for k, d in ((1, 1), (4, 1), (4, 2), (5, 3), (3, 3))),
        *(make_structure(name, k, True, known(k)) for name in ("propto", "equalto") for k in (1, 4)),
    ]


def random_par(structure, seed):
    """A generic point: standard deviations between 0.3 and 2, correlations inside, logarithms around the start."""
    rng = np.random.default_rng(seed)
    par = structure.start
    free = np.isinf(structure.lower) & ~structure.logarithms
    par[structure.lower == 0.0] = rng.uniform(0.3, 2.0, int(np.sum(structure.lower == 0.0)))
    par[free] = rng.normal(size=int(free.sum()))
    par[structure.logarithms] += rng.normal(0.0, 0.4, int(structure.logarithms.sum()))
    bounded = np.isfinite(structure.upper)
    par[bounded] = rng.uniform(-0.9, 0.9, int(bounded.sum()))
    return par


def slope(function, x, j, h=2e-3):
    """Derivative of a function of a vector in its j-th argument, error of order h^6."""
    step = h * np.eye(x.size)[j]
    return sum(w * (function(x + m * step) - function(x - m * step)) for m, w in WEIGHTS.items()) / (60.0 * h)
