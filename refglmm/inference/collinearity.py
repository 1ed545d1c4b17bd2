r"""Variance inflation factors of the fixed effects.

Place in the reading order: in ``inference``. With R the correlation matrix of the coefficients (the intercept left
out), split into a term's own coefficients (1) and the others (2),

.. math:: GVIF = \frac{|R_{11}|\,|R_{22}|}{|R|},

the factor by which the other terms increase the squared volume of the confidence ellipsoid of this one. For a term of
one coefficient in a linear model it is the usual 1 / (1 - R_j^2). :math:`GVIF^{1/(2 df)}` is comparable between terms:
the factor on the standard errors. Source: Fox and Monette (1992), "Generalized collinearity diagnostics".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import NotAvailableError

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

#: Columns of the table.
COLUMNS = ("GVIF", "Df", "GVIF^(1/(2*Df))")


def correlation_of_slopes(fit: FittedModel) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Correlation matrix of the coefficients other than the intercept, and the term of each."""
    term = np.array(fit.design.assign, dtype=np.int64)
    slopes = term > 0
    covariance = np.asarray(fit.covariance.matrix)[np.ix_(slopes, slopes)]
    sd = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sd, sd), term[slopes]


def vif(fit: FittedModel) -> pd.DataFrame:
    """Generalised variance inflation factors, a row for each term.

    Raises
    ------
    NotAvailableError
        With fewer than two terms besides the intercept.
    """
    R, term = correlation_of_slopes(fit)
    present = np.unique(term)
    if present.size < 2:
        raise NotAvailableError("variance inflation needs two or more terms besides the intercept")
    whole = np.linalg.slogdet(R)[1]
    rows = []
    for number in present:
        own = term == number
        parts = [np.linalg.slogdet(R[np.ix_(side, side)])[1] for side in (own, ~own)]
        inflation, df = float(np.exp(sum(parts) - whole)), int(own.sum())
        rows.append((inflation, df, inflation ** (0.5 / df)))
    names = [fit.design.term_labels[number - 1] for number in present]
    return pd.DataFrame(rows, index=pd.Index(names, name="term"), columns=list(COLUMNS))
