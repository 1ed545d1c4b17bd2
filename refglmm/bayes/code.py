"""What stands behind ``model.code()`` and ``model.print_code()``.

Place in the reading order: after ``code_math``, ``code_numpy`` and ``code_stan``, which write.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from refglmm.bayes.code_math import math_code
from refglmm.bayes.code_numpy import numpy_code
from refglmm.bayes.code_outline import Outline
from refglmm.bayes.code_stan import stan_code, stan_numbers
from refglmm.errors import ArgumentError

if TYPE_CHECKING:
    from refglmm.bayes.posterior import Posterior
    from refglmm.model import GLMM

WRITERS = {"math": math_code, "numpy": numpy_code, "stan": stan_code}


class Code(str):
    """A text that shows itself as it is, in a console and in a notebook."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self)}</pre>"


def model_code(model: GLMM, kind: str = "math", posterior: Posterior | None = None) -> Code:
    """Write a model down.

    Parameters
    ----------
    model : GLMM
    kind : {"math", "numpy", "stan"}
        Readable mathematics; a NumPy script that defines ``log_posterior(position, data)``; a Stan program whose
        unconstrained parameters are the same position.
    posterior : Posterior, optional
        The model's own unless given, e.g. one with fixed parameters.

    Returns
    -------
    Code
        A string.

    Raises
    ------
    ArgumentError
        Another kind.
    NotAvailableError
        A family whose density cannot be written in that language.
    """
    if kind not in WRITERS:
        raise ArgumentError(f"kind must be one of {', '.join(map(repr, WRITERS))}, not {kind!r}", kind=kind)
    return Code(WRITERS[kind](Outline(model, posterior or model.posterior)))


def code_data(model: GLMM) -> dict[str, Any]:
    """Return what the NumPy script takes as ``data``, see :meth:`.Outline.data`."""
    return Outline(model, model.posterior).data()


def stan_data(model: GLMM) -> dict[str, Any]:
    """Return what the Stan program takes as data, in lists: ready for json.

    Raises
    ------
    NotAvailableError
        Counts that are not whole, or a family that cannot be written in Stan.
    """
    return stan_numbers(Outline(model, model.posterior))
