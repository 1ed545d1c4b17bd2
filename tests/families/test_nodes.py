"""The loops over quadrature nodes against the loops over rows, which have tests of their own."""

from __future__ import annotations

import numpy as np
import pytest

from refglmm import families as fam
from refglmm.families.coupled import CoupledFamily
from refglmm.families.kernel import ALL, L_PHI, L, observation_rows, shape_rows
from refglmm.families.ordinal import Ordered

NODES = 13
COUNTS = np.array([0.0, 1.0, 2.0, 7.0, 40.0, 2.5, 0.0, 3e5, 1e9])
SHARES = np.array([0.0, 1.0, 0.25, 0.5, 1.0, 0.0, 0.75, 0.5, 1.0])
MANY = np.array([1.0, 3.0, 8.0, 0.5, 0.0, 0.0, 4.0, 2e7, 1.0])
CASES = {
    "binomial": (fam.Binomial(), SHARES, MANY, []),
    "poisson": (fam.Poisson(), COUNTS, MANY, []),
    "nb tiny size": (fam.NegativeBinomial(), COUNTS, MANY, [1e-3]),
    "nb": (fam.NegativeBinomial(), COUNTS, MANY, [2.3]),
    "nb huge size": (fam.NegativeBinomial(), COUNTS, MANY, [1e9]),
    "nb known size": (fam.NegativeBinomial(size=0.7), COUNTS, MANY, []),
    "ordinal": (Ordered(levels=("a", "b", "c")), np.arange(9.0) % 3.0, MANY, [-0.4, 0.9]),
    "zero-inflated": (CoupledFamily(fam.Poisson(), zi=True, dispersion=False), COUNTS[:7], MANY[:7], []),
}


@pytest.mark.parametrize("name", CASES)
def test_nodes_are_rows(name):
    """l, s and dl/dphi at every node are those of a row of its own, up to the rounding of the larger terms in them."""
    family, y, a, free = CASES[name]
    phi, K, n = family.complete(np.array(free)), family.n_parts, y.size
    shape = (n, NODES) if K == 1 else (K, n, NODES)
    eta = np.random.default_rng(3).normal(0.0, 2.0, shape)
    if family.is_count:
        eta[..., :, :] += np.log(y + 1.0)[:, None]
    base = family.base_measure(y, a)
    l, s, slope = np.full((n, NODES), np.nan), np.full(shape, np.nan), np.full((n, NODES), np.nan)  # noqa: E741
    family.observe_nodes(y, eta, a, base, phi, l, s)

    rows, flat = observation_rows(K), eta.reshape(n * NODES) if K == 1 else eta.reshape(K, n * NODES)
    y_rows, a_rows, base_rows = (np.repeat(x, NODES) for x in (y, a, base))
    out = np.empty((rows.size, n * NODES))
    family.observe(y_rows, flat, a_rows, base_rows, phi, ALL, out)
    unit = np.repeat(1.0 + a * (1.0 + y * np.log1p(y)), NODES)
    np.testing.assert_allclose(l.ravel() / unit, out[L] / unit, rtol=1e-12, atol=1e-13)
    unit = np.repeat(1.0 + a * (1.0 + y), NODES)
    np.testing.assert_allclose(s.reshape(out[rows.s].shape) / unit, out[rows.s] / unit, rtol=1e-11, atol=1e-13)
    for j in range(family.n_shape):
        family.observe_shape_nodes(y, eta, a, phi, j, slope)
        wanted = np.empty((shape_rows(K).size, n * NODES))
        family.observe_shape(y_rows, flat, a_rows, phi, j, wanted)
        np.testing.assert_allclose(slope.ravel() * phi[j] / unit, wanted[L_PHI] * phi[j] / unit, rtol=1e-9, atol=1e-13)
