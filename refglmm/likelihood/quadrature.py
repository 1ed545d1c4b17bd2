r"""Gauss-Hermite rules for the standard normal density.

Place in the reading order: before ``agq`` and ``posterior``.

.. math:: \int f(z)\,\phi(z)\,dz \approx \sum_k \omega_k f(z_k), \qquad \sum_k \omega_k = 1

Source: Golub and Welsch (1969) by way of :func:`scipy.special.roots_hermitenorm`; the rule is then symmetrised.
"""

from __future__ import annotations

from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refglmm.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

#: Orders offered: weights of higher orders underflow towards zero without changing any result.
MAX_ORDER = 100


class HermiteRule(NamedTuple):
    """Nodes, weights and log standard normal density at the nodes, each of shape (k,)."""

    z: NDArray[np.float64]
    w: NDArray[np.float64]
    log_density: NDArray[np.float64]

    def to_frame(self) -> pd.DataFrame:
        """The rule as a table with columns z, w, ldnorm."""
        import pandas as pd

        return pd.DataFrame({"z": self.z, "w": self.w, "ldnorm": self.log_density})


def gh_rule(order: int) -> HermiteRule:
    """Gauss-Hermite rule of the given order for the standard normal density.

    Parameters
    ----------
    order : int
        Number of nodes, 1 to 100.

    Returns
    -------
    HermiteRule
        ``z`` ascending and symmetric about 0, ``w`` positive with sum 1, ``log_density`` = log phi(z).

    Raises
    ------
    ArgumentError
        If ``order`` is not a whole number from 1 to 100.
    """
    whole = isinstance(order, Real) and not isinstance(order, bool) and 1 <= order <= MAX_ORDER
    if not whole or order != int(order):
        raise ArgumentError(f"the order of the rule must be a whole number from 1 to {MAX_ORDER}, not {order!r}")
    return _rule(int(order))


@cache
def _rule(order: int) -> HermiteRule:
    """The rule, once for each order in a process; its arrays cannot be written to."""
    # Here, not above: loading scipy.special takes longer than a small fit, and Laplace fits need no rule.
    from scipy.special import roots_hermitenorm

    z, w = roots_hermitenorm(order)
    z = 0.5 * (z - z[::-1])
    w = 0.5 * (w + w[::-1])
    rule = HermiteRule(z, w / w.sum(), -0.5 * z**2 - 0.5 * np.log(2.0 * np.pi))
    for x in rule:
        x.flags.writeable = False
    return rule


class ProductRule(NamedTuple):
    """Nodes z, shape (order^q, q), and log(omega exp(|z|^2/2)), shape (order^q,)."""

    z: NDArray[np.float64]
    log_weight: NDArray[np.float64]


def product_rule(order: int, q: int) -> ProductRule:
    r"""Tensor product of the rule of ``order`` nodes in q dimensions, its last coordinate moving fastest.

    .. math:: \int F(u)\,du \approx (2\pi)^{q/2} \sum_k \omega_k \exp\{\tfrac12 |z_k|^2\} F(z_k)
    """
    rule = gh_rule(order)
    which = np.arange(order**q)[:, None] // order ** np.arange(q)[::-1] % order  # the digits of a node's number
    return ProductRule(rule.z[which], (np.log(rule.w) + 0.5 * rule.z**2)[which].sum(axis=1))
