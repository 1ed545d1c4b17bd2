r"""The observation kernel: all that the engines know of a family.

Place in the reading order: after ``special`` and ``jet``; links and distributions build on it.

For observation i with response y, linear predictor eta, prior weight a, base measure c(y, a) and shape
parameters phi, the kernel returns

======  ===================================================  ==========================================
symbol  meaning                                              used by
======  ===================================================  ==========================================
l       log density with all constants, weighted             every likelihood
s       score dl/deta                                        PIRLS, gradients
h       observed information -d2l/deta2                      exact Laplace, implicit derivatives
w       expected information E[h] (GLM working weight)       PIRLS steps; Laplace as lme4 defines it
dh      dh/deta                                              gradient of log det, observed curvature
dw      dw/deta                                              gradient of log det, expected curvature
======  ===================================================  ==========================================

and, for each shape parameter phi_j, the derivatives of l, s, h, w with respect to phi_j.

A family writes this once for a *single* observation (a ``point`` function, readable next to a textbook), and
:func:`array_kernel` turns it into the loop that runs over the data. Which rows of ``out`` are filled is said
by ``order``: :data:`VALUE` l; :data:`SLOPES` all but l; :data:`ALL` all six. The compiler drops what an order does
not need, and l is what costs most. So that it can drop it, nothing that only l needs may call a function of the C
library that sets global state (lgamma), nor loop without a count.

Where a point function is plain arithmetic without calls (the logit and the log link, with the functions of
``elementary``) the compiler works on several rows at once, three times as fast. Rows that need more than that, the
large counts, are left to a second point function and a second loop.

Sums of l over a million rows steer line searches, so its error must be small against the *deviance* of a row,
not against y log mu, which is 2e10 for a count of 1e9. Counts from ``special.LARGE`` on, and binomial rows of as
many trials, therefore have as base measure the log density of the saturated model, from which the kernel
subtracts half the deviance; the base measure of smaller ones is the textbook's.

At the nodes of a quadrature only l, s and dl/dphi are wanted, of the same row many times. The node kernels are those
loops: what they read stands still for a whole row, and what a row needs but once, a log Gamma function say, can be
found before its nodes are visited (:func:`prepared_node_kernel`).

A family may instead write its log density once as a function of jets (see ``jet``): :func:`density_kernel` and
:func:`density_shape_kernel` then take every derivative from there; :func:`threshold_kernel` and
:func:`threshold_shape_kernel` do so for the ordinal families, whose shape parameters are thresholds, one less than
there are categories. Where the expected information has no closed form, w is the size of the observed one,
:math:`|h|`: as good a weight where H is not positive definite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from refglmm._jit import fused_kernel, inline, kernel
from refglmm.families.jet import F1, F2, F11, F12, F111, F112, F, constant, first_variable, second_variable

#: What an observation kernel is asked for.
VALUE, SLOPES, ALL = 0, 1, 2
#: Rows of the ``out`` array that an observation kernel fills.
L, S, H, W, DH, DW = range(6)
#: Rows of the ``out`` array that a shape kernel fills.
L_PHI, S_PHI, H_PHI, W_PHI = range(4)


class ObservationRows(NamedTuple):
    """Where in ``out``, which has ``size`` rows, an observation kernel puts s, h, w, dh and dw."""

    size: int
    s: int | slice
    h: int | slice
    w: int | slice
    dh: int | slice
    dw: int | slice


class ShapeRows(NamedTuple):
    """Where in ``out`` a shape kernel puts the derivatives of s, h and w."""

    size: int
    s: int | slice
    h: int | slice
    w: int | slice


@cache
def observation_rows(parts: int) -> ObservationRows:
    """Rows of an observation kernel for so many linear predictors: numbers for one, slices for several.

    Several predictors: l; s (K); h (pairs); w (pairs); dh (triples). Pairs and triples are those of a lower triangle,
    k >= l >= m, in the order (0, 0), (1, 0), (1, 1), (2, 0), ... There is no expected information, hence no dw.
    """
    if parts == 1:
        return ObservationRows(6, S, H, W, DH, DW)
    pairs, triples = parts * (parts + 1) // 2, parts * (parts + 1) * (parts + 2) // 6
    s, h, w, dh = (slice(a, b) for a, b in pairwise(accumulate((1, parts, pairs, pairs, triples))))
    return ObservationRows(dh.stop, s, h, w, dh, slice(0, 0))


@cache
def shape_rows(parts: int) -> ShapeRows:
    """Rows of a shape kernel for so many linear predictors: numbers for one, slices for several (l; s; h)."""
    if parts == 1:
        return ShapeRows(4, S_PHI, H_PHI, W_PHI)
    pairs = parts * (parts + 1) // 2
    return ShapeRows(1 + parts + pairs, slice(1, 1 + parts), slice(1 + parts, 1 + parts + pairs), slice(0, 0))


@inline
def never(y, a):
    """No row is rare."""
    return False


@inline
def nothing(y, eta, a, base, phi):
    """Stand-in for the point function of rows that do not occur."""
    return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0


def array_kernel(
    point: Callable[..., Any], is_rare: Callable[..., Any] = never, rare_point: Callable[..., Any] = nothing
) -> Any:
    """Loop a point function over the data.

    Parameters
    ----------
    point : function ``(y, eta, a, base, phi) -> (l, s, h, w, dh, dw)``
        Scalars in, scalars out, except ``phi``, a float array of the shape parameters. Must be marked
        :data:`inline` and importable by name (numba's cache looks it up there).
    is_rare, rare_point : function ``(y, a) -> bool`` and a point function
        Rows that ``point`` is not made for, and what to do with them.

    Returns
    -------
    kernel ``observe(y, eta, a, base, phi, order, out)``
        ``y, eta, a, base``: float arrays, shape (n,). ``out``: float array, shape (6, n), rows :data:`L` to
        :data:`DW`; filled in place. Returns the sum of l (0 for :data:`SLOPES`).
    """

    def observe(y, eta, a, base, phi, order, out):
        n = eta.size
        if order == VALUE:
            for i in range(n):
                out[0, i] = point(y[i], eta[i], a[i], base[i], phi)[0]
        elif order == SLOPES:
            for i in range(n):
                _, s, h, w, dh, dw = point(y[i], eta[i], a[i], base[i], phi)
                out[1, i], out[2, i], out[3, i], out[4, i], out[5, i] = s, h, w, dh, dw
        else:
            for i in range(n):
                l, s, h, w, dh, dw = point(y[i], eta[i], a[i], base[i], phi)  # noqa: E741  the field's symbol
                out[0, i], out[1, i], out[2, i], out[3, i], out[4, i], out[5, i] = l, s, h, w, dh, dw
        for i in range(n):
            if is_rare(y[i], a[i]):
                l, s, h, w, dh, dw = rare_point(y[i], eta[i], a[i], base[i], phi)  # noqa: E741
                if order != SLOPES:
                    out[0, i] = l
                if order != VALUE:
                    out[1, i], out[2, i], out[3, i], out[4, i], out[5, i] = s, h, w, dh, dw
        total = 0.0
        if order != SLOPES:  # a loop of its own: a sum in the loops above would keep them scalar
            for i in range(n):
                total += out[0, i]
        return total

    return kernel(observe)


def shape_kernel(point: Callable[..., Any]) -> Any:
    """Loop a shape-parameter function ``(y, eta, a, phi, j) -> (dl, ds, dh, dw)/dphi_j`` over the data.

    Returns
    -------
    kernel ``observe_shape(y, eta, a, phi, j, out)``
        ``out``: float array, shape (4, n), rows :data:`L_PHI` to :data:`W_PHI`; filled in place.
    """

    def observe_shape(y, eta, a, phi, j, out):
        for i in range(eta.size):
            out[0, i], out[1, i], out[2, i], out[3, i] = point(y[i], eta[i], a[i], phi, j)

    return kernel(observe_shape)


def node_kernel(
    point: Callable[..., Any], is_rare: Callable[..., Any] = never, rare_point: Callable[..., Any] = nothing
) -> Any:
    """Loop the point function of :func:`array_kernel` over the nodes of each row.

    Returns
    -------
    kernel ``observe_nodes(y, eta, a, base, phi, l, s)``
        ``y, a, base``: float arrays, shape (n,). ``eta, l, s``: shape (n, nodes); l and s are filled in place.
    """

    def observe_nodes(y, eta, a, base, phi, l, s):  # noqa: E741  the field's symbol
        for i in range(y.size):
            if is_rare(y[i], a[i]):
                for k in range(eta.shape[1]):
                    l[i, k], s[i, k], _, _, _, _ = rare_point(y[i], eta[i, k], a[i], base[i], phi)
                continue
            of_row, weight, constant = y[i], a[i], base[i]
            for k in range(eta.shape[1]):
                l[i, k], s[i, k], _, _, _, _ = point(of_row, eta[i, k], weight, constant, phi)

    return fused_kernel(observe_nodes)


def prepared_node_kernel(
    prepare: Callable[..., Any], point: Callable[..., Any], is_rare: Callable[..., Any], rare_point: Callable[..., Any]
) -> Any:
    """The loop of :func:`node_kernel` for a family with something to find once for all nodes of a row.

    Parameters
    ----------
    prepare : function ``(y, phi) -> tuple``
    point : function ``(y, eta, a, base, phi, prepared) -> (l, s)``
    is_rare, rare_point
        As in :func:`array_kernel`.
    """

    def observe_nodes(y, eta, a, base, phi, l, s):  # noqa: E741  the field's symbol
        for i in range(y.size):
            if is_rare(y[i], a[i]):
                for k in range(eta.shape[1]):
                    l[i, k], s[i, k], _, _, _, _ = rare_point(y[i], eta[i, k], a[i], base[i], phi)
                continue
            of_row, weight, constant, prepared = y[i], a[i], base[i], prepare(y[i], phi)
            for k in range(eta.shape[1]):
                l[i, k], s[i, k] = point(of_row, eta[i, k], weight, constant, phi, prepared)

    return fused_kernel(observe_nodes)


def shape_node_kernel(point: Callable[..., Any]) -> Any:
    """Loop the point function of :func:`shape_kernel` over the nodes of each row.

    Returns
    -------
    kernel ``observe_shape_nodes(y, eta, a, phi, j, out)``
        ``eta, out``: float arrays, shape (n, nodes); filled in place with dl/dphi_j.
    """

    def observe_shape_nodes(y, eta, a, phi, j, out):
        for i in range(y.size):
            of_row, weight = y[i], a[i]
            for k in range(eta.shape[1]):
                out[i, k] = point(of_row, eta[i, k], weight, phi, j)[0]

    return fused_kernel(observe_shape_nodes)


def prepared_shape_node_kernel(prepare: Callable[..., Any], point: Callable[..., Any]) -> Any:
    """The loop of :func:`shape_node_kernel` with ``prepare(y, phi)``; ``point(y, eta, a, phi, j, prepared) -> dl``."""

    def observe_shape_nodes(y, eta, a, phi, j, out):
        for i in range(y.size):
            of_row, weight, prepared = y[i], a[i], prepare(y[i], phi)
            for k in range(eta.shape[1]):
                out[i, k] = point(of_row, eta[i, k], weight, phi, j, prepared)

    return fused_kernel(observe_shape_nodes)


@inline
def shape_jet(phi, j, active):
    """Jet of shape parameter j: the second variable if it is the active one; zero where the family has fewer."""
    value = phi[j] if j < phi.size else 0.0
    return second_variable(value) if j == active else constant(value)


@inline
def shape_jets(phi, active):
    """Jets of the first three shape parameters, of which one (or none, -1) is the second variable."""
    return shape_jet(phi, 0, active), shape_jet(phi, 1, active), shape_jet(phi, 2, active)


def density_kernel(density: Callable[..., Any]) -> Any:
    """The loop of :func:`array_kernel` for a family that is written as a function of jets.

    Parameters
    ----------
    density : function ``(y, a, eta, first, second, third) -> jet``
        Log density of one observation of weight a, without its base measure. ``eta`` and the shape parameters, at
        most three, on their natural scale, are jets. Not finite outside the domain. Must be marked :data:`inline`
        and importable by name.
    """

    def observe(y, eta, a, base, phi, order, out):
        first, second, third = shape_jets(phi, -1)
        total = 0.0
        for i in range(eta.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            x = first_variable(eta[i])
            if order == VALUE:
                out[0, i] = base[i] + density(y[i], a[i], x, first, second, third)[F]
            elif order == SLOPES:
                l = density(y[i], a[i], x, first, second, third)  # noqa: E741  the field's symbol
                h, dh = -l[F11], -l[F111]
                out[1, i], out[2, i], out[3, i], out[4, i] = l[F1], h, abs(h), dh
                out[5, i] = dh if h >= 0.0 else -dh
            else:
                l = density(y[i], a[i], x, first, second, third)  # noqa: E741
                h, dh = -l[F11], -l[F111]
                out[0, i], out[1, i], out[2, i], out[3, i], out[4, i] = base[i] + l[F], l[F1], h, abs(h), dh
                out[5, i] = dh if h >= 0.0 else -dh
            total += out[0, i]
        return total if order != SLOPES else 0.0

    return kernel(observe)


def density_shape_kernel(density: Callable[..., Any]) -> Any:
    """The loop of :func:`shape_kernel` for a family that is written as a function of jets."""

    def observe_shape(y, eta, a, phi, j, out):
        first, second, third = shape_jets(phi, j)
        for i in range(eta.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            l = density(y[i], a[i], first_variable(eta[i]), first, second, third)  # noqa: E741  the field's symbol
            dh = -l[F112]
            out[0, i], out[1, i], out[2, i], out[3, i] = l[F2], l[F12], dh, (dh if -l[F11] >= 0.0 else -dh)

    return kernel(observe_shape)


def density_node_kernel(density: Callable[..., Any]) -> Any:
    """The loop of :func:`node_kernel` for a family that is written as a function of jets."""

    def observe_nodes(y, eta, a, base, phi, l, s):  # noqa: E741  the field's symbol
        first, second, third = shape_jets(phi, -1)
        for i in range(y.size):
            for k in range(eta.shape[1]):
                l[i, k], s[i, k] = 0.0, 0.0
                if a[i] != 0.0:
                    value = density(y[i], a[i], first_variable(eta[i, k]), first, second, third)
                    l[i, k], s[i, k] = base[i] + value[F], value[F1]

    return fused_kernel(observe_nodes)


def density_shape_node_kernel(density: Callable[..., Any]) -> Any:
    """The loop of :func:`shape_node_kernel` for a family that is written as a function of jets."""

    def observe_shape_nodes(y, eta, a, phi, j, out):
        first, second, third = shape_jets(phi, j)
        for i in range(y.size):
            for k in range(eta.shape[1]):
                out[i, k] = 0.0
                if a[i] != 0.0:
                    out[i, k] = density(y[i], a[i], first_variable(eta[i, k]), first, second, third)[F2]

    return fused_kernel(observe_shape_nodes)


def threshold_kernel(density: Callable[..., Any], admits: Callable[..., Any]) -> Any:
    """The loop of :func:`array_kernel` for a density in jets with any number of thresholds.

    Parameters
    ----------
    density : function ``(y, eta, phi, active) -> jet``
        Log density of one observation. ``eta`` is a jet, ``phi`` the array of thresholds, of which ``active`` (or none,
        -1) is the second variable. Must be marked :data:`inline` and importable by name.
    admits : function ``phi -> bool``
        Whether these thresholds define a distribution; where they do not, nothing is finite.
    """

    def observe(y, eta, a, base, phi, order, out):
        if not admits(phi):
            out[:] = np.nan
            return -np.inf
        total = 0.0
        for i in range(eta.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            l = density(y[i], first_variable(eta[i]), phi, -1)  # noqa: E741  the field's symbol
            if order != SLOPES:
                out[0, i] = base[i] + a[i] * l[F]
                total += out[0, i]
            if order != VALUE:
                h, dh = -a[i] * l[F11], -a[i] * l[F111]
                out[1, i], out[2, i], out[3, i], out[4, i] = a[i] * l[F1], h, abs(h), dh
                out[5, i] = dh if h >= 0.0 else -dh
        return total

    return kernel(observe)


def threshold_shape_kernel(density: Callable[..., Any]) -> Any:
    """The loop of :func:`shape_kernel` for a density in jets with any number of thresholds."""

    def observe_shape(y, eta, a, phi, j, out):
        for i in range(eta.size):
            if a[i] == 0.0:
                out[:, i] = 0.0
                continue
            l = density(y[i], first_variable(eta[i]), phi, j)  # noqa: E741  the field's symbol
            dh = -a[i] * l[F112]
            out[0, i], out[1, i], out[2, i] = a[i] * l[F2], a[i] * l[F12], dh
            out[3, i] = dh if -l[F11] >= 0.0 else -dh

    return kernel(observe_shape)


def threshold_node_kernel(density: Callable[..., Any], admits: Callable[..., Any]) -> Any:
    """The loop of :func:`node_kernel` for a density in jets with any number of thresholds."""

    def observe_nodes(y, eta, a, base, phi, l, s):  # noqa: E741  the field's symbol
        if not admits(phi):
            l[:], s[:] = np.nan, np.nan
            return
        for i in range(y.size):
            for k in range(eta.shape[1]):
                l[i, k], s[i, k] = 0.0, 0.0
                if a[i] != 0.0:
                    value = density(y[i], first_variable(eta[i, k]), phi, -1)
                    l[i, k], s[i, k] = base[i] + a[i] * value[F], a[i] * value[F1]

    return fused_kernel(observe_nodes)


def threshold_shape_node_kernel(density: Callable[..., Any]) -> Any:
    """The loop of :func:`shape_node_kernel` for a density in jets with any number of thresholds."""

    def observe_shape_nodes(y, eta, a, phi, j, out):
        for i in range(y.size):
            for k in range(eta.shape[1]):
                out[i, k] = a[i] * density(y[i], first_variable(eta[i, k]), phi, j)[F2] if a[i] != 0.0 else 0.0

    return fused_kernel(observe_shape_nodes)
