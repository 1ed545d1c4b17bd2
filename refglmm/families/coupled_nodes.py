r"""Families with several linear predictors at the nodes of a quadrature, where only l, s and dl/dphi are wanted.

Place in the reading order: before ``coupled``, whose formulas these are. A zero part needs no more of the law than the
law's own node kernels find; with a dispersion, its logarithm is one of the variables of the density in jets.

Arrays over nodes are (n, nodes), or (K, n, nodes) for what there is one of for each predictor. With f the law's log
density, p the logistic function of :math:`f(0) - \zeta`, and logit pi = zeta:

.. math::
    y > 0:&\quad l = f + \log(1 - \pi),\quad s = (f', -\pi) \\
    y = 0:&\quad l = \log\pi + \log(1 + e^{f(0) - \zeta}),\quad s = (p f', 1 - \pi - p),\quad
           dl/d\phi = p\,df(0)/d\phi

and f(0) gone, so p = 0, where the law has no zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refglmm._jit import fused_kernel, inline
from refglmm.families.elementary import exponential, log1p_unit
from refglmm.families.jet import F1, F2, F, constant, exp_of, first_variable, second_variable
from refglmm.families.kernel import shape_jets


@inline
def softplus_and_slope(x):
    """log(1 + e^x) and 1/(1 + e^-x), as plain arithmetic."""
    e = exponential(-abs(x))
    r = 1.0 / (1.0 + e)
    return log1p_unit(e) + (x if x > 0.0 else 0.0), (1.0 if x > 0.0 else e) * r


@fused_kernel
def add_zero_part(y, weight, inflated, zeta, l, s):  # noqa: E741  the field's symbol
    """From l and s of the law to those of rows with a zero part, times their weight; s[1] is new. Filled in place."""
    nodes = zeta.shape[1]
    p = np.empty(nodes)
    for i in range(y.size):
        a = weight[i]
        if a == 0.0:
            l[i], p[:], s[1, i] = 0.0, 0.0, 0.0
        elif y[i] != 0.0:
            for k in range(nodes):
                softplus, share = softplus_and_slope(zeta[i, k])
                l[i, k], p[k], s[1, i, k] = a * (l[i, k] - softplus), 1.0, -a * share
        elif inflated:
            for k in range(nodes):
                minus_log_share, rest = softplus_and_slope(-zeta[i, k])
                softplus, p[k] = softplus_and_slope(l[i, k] - zeta[i, k])
                l[i, k], s[1, i, k] = a * (softplus - minus_log_share), a * (rest - p[k])
        else:
            for k in range(nodes):
                minus_log_share, rest = softplus_and_slope(-zeta[i, k])
                l[i, k], p[k], s[1, i, k] = -a * minus_log_share, 0.0, a * rest
        for part in range(s.shape[0]):
            if part != 1:
                for k in range(nodes):
                    s[part, i, k] = a * p[k] * s[part, i, k] if p[k] > 0.0 else 0.0


@fused_kernel
def add_zero_part_to_shape(rows, f, zeta, out):
    """Multiply dl/dphi of the law by p in the zeros ``rows``, in place; ``f``: the law's log density there."""
    for r in range(rows.size):
        i = rows[r]
        for k in range(zeta.shape[1]):
            _, p = softplus_and_slope(f[r, k] - zeta[i, k])
            out[i, k] = p * out[i, k] if p > 0.0 else 0.0


def law_nodes(density: Callable[..., Any]) -> Any:
    """Kernel ``observe(y, eta, a, base, phi, at, l, s)`` of a law whose dispersion is predictor ``at``.

    It fills l, s[0] and s[at]; rows of weight zero with zeros.
    """

    def observe_nodes(y, eta, a, base, phi, at, l, s):  # noqa: E741
        second, third, _ = shape_jets(phi, -1)
        for i in range(y.size):
            for k in range(eta.shape[2]):
                l[i, k], s[0, i, k], s[at, i, k] = 0.0, 0.0, 0.0
                if a[i] != 0.0:
                    delta = exp_of(second_variable(eta[at, i, k]))
                    f = density(y[i], a[i], first_variable(eta[0, i, k]), delta, second, third)
                    l[i, k], s[0, i, k], s[at, i, k] = base[i] + f[F], f[F1], f[F2]

    return fused_kernel(observe_nodes)


def law_shape_nodes(density: Callable[..., Any]) -> Any:
    """Kernel ``observe_shape(y, eta, a, phi, j, out)`` of such a law, in one of its other shape parameters."""

    def observe_shape_nodes(y, eta, a, phi, j, out):
        second, third, _ = shape_jets(phi, j)
        for i in range(y.size):
            for k in range(eta.shape[2]):
                out[i, k] = 0.0
                if a[i] != 0.0:
                    x, delta = first_variable(eta[0, i, k]), constant(np.exp(eta[1, i, k]))
                    out[i, k] = density(y[i], a[i], x, delta, second, third)[F2]

    return fused_kernel(observe_shape_nodes)
