"""What every family written in jets is held to: its derivatives, its law, its draws."""

from __future__ import annotations

import numpy as np
import pytest

from refglmm.families.kernel import (
    ALL,
    DH,
    DW,
    H_PHI,
    L_PHI,
    S_PHI,
    SLOPES,
    VALUE,
    W_PHI,
    H,
    L,
    S,
    W,
)

#: Weights of the central difference of order eight.
STENCIL = np.array([3, -32, 168, -672, 0, 672, -168, 32, -3]) / 840.0


def observe(family, y, eta, a, phi, order=ALL):
    """The six rows of the kernel; phi: all shape parameters."""
    y, eta, a = (np.array(v, dtype=float, ndmin=1) for v in np.broadcast_arrays(y, eta, a))  # a view warns
    out = np.full((6, y.size), np.nan)
    family.observe(y, eta, a, family.base_measure(y, a), np.asarray(phi, dtype=float), order, out)
    return out


def difference(function, x, step):
    """Derivative of an array-valued function of a number."""
    return sum(w * function(x + k * step) for w, k in zip(STENCIL, range(-4, 5), strict=True) if w) / step


def check_derivatives(family, y, etas, a, phi, rtol=1e-7, step=2e-2):
    """Every derivative against eighth-order differences of the quantity below it."""
    phi = np.asarray(phi, dtype=float)
    for eta in etas:
        given = observe(family, y, eta, a, phi)
        slope = difference(lambda x: observe(family, y, x, a, phi), eta, step)
        scale = 1.0 + np.abs(given[L])
        assert np.all(np.isfinite(given)), eta
        for row, below, sign in ((S, L, 1.0), (H, S, -1.0), (DH, H, 1.0)):
            wanted = sign * slope[below]
            assert np.max(np.abs(given[row] - wanted) / (scale + np.abs(wanted))) < rtol, (eta, row)
        assert np.array_equal(given[W], np.abs(given[H]))
        assert np.array_equal(given[DW], np.where(given[H] >= 0, given[DH], -given[DH]))
        for j in range(family.n_shape):
            n = np.broadcast(y, eta, a).size
            of_shape = np.empty((4, n))
            full = [np.ascontiguousarray(v, dtype=float) for v in np.broadcast_arrays(np.atleast_1d(y), eta, a)]
            family.observe_shape(*full, phi, j, of_shape)

            def moved(value, j=j, eta=eta):
                return observe(family, y, eta, a, np.where(np.arange(phi.size) == j, value, phi))

            wanted = difference(moved, phi[j], step * max(abs(phi[j]), 0.1))
            for row, below in ((L_PHI, L), (S_PHI, S), (H_PHI, H)):
                error = np.abs(of_shape[row] - wanted[below]) / (scale + np.abs(wanted[below]))
                assert np.max(error) < rtol, (eta, family.shape_names[j], row)
            signs = np.where(given[H] >= 0, 1.0, -1.0)
            assert np.array_equal(of_shape[W_PHI], signs * of_shape[H_PHI])


def check_orders(family, y, eta, a, phi):
    """Each order fills its own rows with the same numbers; a row of weight zero contributes nothing."""
    full = observe(family, y, eta, a, phi)
    value, slopes = (observe(family, y, eta, a, phi, order) for order in (VALUE, SLOPES))
    assert np.array_equal(value[L], full[L])
    assert np.array_equal(slopes[S:], full[S:])
    assert np.all(observe(family, y, eta, 0.0, phi) == 0.0)


def check_moments(family, support, weights, eta, phi, rtol=1e-6):
    """The law sums (or integrates, with quadrature ``weights``) to one; its mean and variance are the family's."""
    known, mu = family.at(np.asarray(phi)), family.link.inverse(np.array([eta]))
    law = weights * np.exp(observe(family, support, eta, 1.0, phi)[L])
    assert law.sum() == pytest.approx(1.0, rel=1e-9)
    mean = law @ support
    assert mean == pytest.approx(float(known.mean(mu)[0]), rel=rtol)
    assert law @ (support - mean) ** 2 == pytest.approx(float(known.variance(mu)[0]), rel=rtol)


def check_draws(family, eta, phi, seed=1, n=200_000):
    """Mean and variance of draws within five Monte-Carlo errors; every draw is in the support."""
    known, mu = family.at(np.asarray(phi)), family.link.inverse(np.full(n, eta))
    y = family.simulate(mu, np.ones(n), np.asarray(phi, dtype=float)[: family.n_shape], np.random.default_rng(seed))
    family.check_response(y, np.ones(n))
    mean, variance = float(known.mean(mu[:1])[0]), float(known.variance(mu[:1])[0])
    assert abs(y.mean() - mean) < 5.0 * np.sqrt(variance / n)
    square = (y - mean) ** 2
    assert abs(square.mean() - variance) < 5.0 * square.std() / np.sqrt(n)


def line_rule(low, high, n=400):
    """Gauss-Legendre nodes and weights on [low, high]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return low + 0.5 * (high - low) * (x + 1.0), 0.5 * (high - low) * w


def positive_rule(low, high, n=400):
    """The same on [e^low, e^high], dense near zero."""
    x, w = line_rule(low, high, n)
    return np.exp(x), w * np.exp(x)


def certified(fit):
    """The fit, if it is certified without a remark."""
    assert fit.optimum.certificate.converged
    assert not fit.optimum.certificate.messages
    return fit
