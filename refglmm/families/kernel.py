r"""The observation kernel: all that the engines know of a family.

Place in the reading order: first of ``families``; links and distributions build on it.

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
by ``order``: 0 l; 1 l, s, h, w; 2 all six; 3 all but l. The compiler drops what an order does not need, and l
is what costs most: its logarithm takes half of the time of a Bernoulli pass. So that it can drop it, nothing
that only l needs may call a function of the C library that sets global state (lgamma), nor loop without a
count.

Sums of l over a million rows steer line searches, so its error must be small against the *deviance* of a row,
not against y log mu, which is 2e10 for a count of 1e9. Counts from ``special.LARGE`` on, and binomial rows of as
many trials, therefore have as base measure the log density of the saturated model, from which the kernel
subtracts half the deviance; the base measure of smaller ones is the textbook's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import register_jitable

from refglmm._jit import kernel

#: Marks point functions and their helpers: plain Python functions that are compiled into their caller. Forced,
#: because the compiler drops what an order does not need only from code that it has before it, and by its own
#: judgement it leaves long functions as calls.
inline = register_jitable(forceinline=True)

#: Rows of the ``out`` array that an observation kernel fills.
L, S, H, W, DH, DW = range(6)
#: Rows of the ``out`` array that a shape kernel fills.
L_PHI, S_PHI, H_PHI, W_PHI = range(4)


def array_kernel(point: Callable[..., Any]) -> Any:
    """Loop a point function over the data.

    Parameters
    ----------
    point : function ``(y, eta, a, base, phi) -> (l, s, h, w, dh, dw)``
        Scalars in, scalars out, except ``phi``, a float array of the shape parameters. Must be marked
        :data:`inline` and importable by name (numba's cache looks it up there).

    Returns
    -------
    kernel ``observe(y, eta, a, base, phi, order, out)``
        ``y, eta, a, base``: float arrays, shape (n,). ``out``: float array, shape (6, n), rows :data:`L` to
        :data:`DW`; filled in place. Returns the sum of l (0 for order 3).
    """

    def observe(y, eta, a, base, phi, order, out):
        total = 0.0
        if order == 0:
            for i in range(eta.size):
                l = point(y[i], eta[i], a[i], base[i], phi)[0]  # noqa: E741  the field's symbol
                out[0, i] = l
                total += l
        elif order == 1:
            for i in range(eta.size):
                l, s, h, w, _, _ = point(y[i], eta[i], a[i], base[i], phi)  # noqa: E741
                out[0, i], out[1, i], out[2, i], out[3, i] = l, s, h, w
                total += l
        elif order == 3:
            for i in range(eta.size):
                _, s, h, w, dh, dw = point(y[i], eta[i], a[i], base[i], phi)
                out[1, i], out[2, i] = s, h
                out[3, i], out[4, i], out[5, i] = w, dh, dw
        else:
            for i in range(eta.size):
                l, s, h, w, dh, dw = point(y[i], eta[i], a[i], base[i], phi)  # noqa: E741
                out[0, i], out[1, i], out[2, i] = l, s, h
                out[3, i], out[4, i], out[5, i] = w, dh, dw
                total += l
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
