"""Several predictors at the nodes of a quadrature: the same numbers as the kernels that give every derivative."""

from __future__ import annotations

import numpy as np
import pytest

from refglmm.families.coupled import CoupledFamily
from refglmm.families.kernel import ALL, L_PHI, L, observation_rows, shape_rows
from refglmm.families.registry import get_family

Y = np.array([0.0, 1.0, 2.0, 5.0, 0.0, 30.0, 3.0, 0.0, 2e5])
A = np.array([1.0, 0.5, 2.0, 1.0, 3.0, 1.0, 0.0, 0.0, 1.5])
TRIALS = np.array([4.0, 3.0, 8.0, 5.0, 10.0, 40.0, 0.0, 2.0, 3e5])
#: family, link, zero part, dispersion
KINDS = [
    ("poisson", "log", True, False),
    ("negative_binomial", "log", True, False),
    ("binomial", "logit", True, False),
    ("truncated_poisson", "log", True, False),
    ("gamma", "log", True, False),
    ("negative_binomial", "log", True, True),
    ("student_t", "identity", False, True),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
def test_nodes_have_the_numbers_of_rows(kind):
    """Weights that repeat a row or belong to the law, zeros of both kinds, counts and trials beyond LARGE."""
    name, link, zi, dispersion = kind
    family, nodes = CoupledFamily(get_family(name, link), zi, dispersion), 3
    y, a = (np.round(Y / TRIALS.max() * 5) / 5 * (TRIALS > 0), TRIALS) if family.is_binomial else (Y, A)
    rng = np.random.default_rng(4)
    eta = rng.normal(0.0, 0.8, (family.n_parts, y.size, nodes))
    eta[0, -1] += 0.0 if family.is_binomial else np.log(Y[-1])
    phi = family.base.complete(np.full(family.base.n_shape, 1.3))[1 if dispersion else 0 :]
    base = family.base_measure(y, a)
    flat = [np.repeat(x, nodes) for x in (y, a, base)]
    at, wide = observation_rows(family.n_parts), eta.reshape(family.n_parts, -1)
    out = np.zeros((at.size, y.size * nodes))
    family.observe(flat[0], wide, flat[1], flat[2], phi, ALL, out)
    l, s = np.full((y.size, nodes), np.nan), np.full(eta.shape, np.nan)  # noqa: E741
    family.observe_nodes(y, eta, a, base, phi, l, s)
    np.testing.assert_allclose(l, out[L].reshape(l.shape), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(s, out[at.s].reshape(s.shape), rtol=1e-10, atol=1e-10)
    for j in range(family.n_shape):
        slopes, found = np.zeros((shape_rows(family.n_parts).size, y.size * nodes)), np.full(l.shape, np.nan)
        family.observe_shape(flat[0], wide, flat[1], phi, j, slopes)
        family.observe_shape_nodes(y, eta, a, phi, j, found)
        np.testing.assert_allclose(found, slopes[L_PHI].reshape(l.shape), rtol=1e-9, atol=1e-10)
