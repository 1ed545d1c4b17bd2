"""Estimates of one model by PQL, Laplace, quadrature with more and more points, and Monte Carlo EM, side by side.

Place in the reading order: last of ``teaching``. The reference is quadrature with the most points: the error left in it
is far below anything that is shown. Differences from it are in its standard errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from refglmm.errors import ArgumentError, ConvergenceWarning, SingularFitWarning
from refglmm.fit.html import html_block, html_table
from refglmm.model import GLMM
from refglmm.plots.style import (
    BLUE,
    GREY,
    PALETTE,
    SMALL,
    VERMILION,
    label_axes,
    legend_below,
    panel_grid,
    tidy,
    title_figure,
)
from refglmm.teaching.mcem import mcem as run_mcem
from refglmm.teaching.pql import pql as run_pql
from refglmm.teaching.result import random_parameters

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

#: Points of the quadrature shown by default; the last is the reference.
ORDERS = (1, 3, 5, 7, 9, 11, 15, 25, 100)


@dataclass(frozen=True, eq=False, repr=False)
class BiasStudy:
    """Estimates of one model by several methods, and how far each is from the reference.

    Attributes
    ----------
    formula, family : str
    reference : int
        Points of the quadrature that the others are compared with.
    """

    formula: str
    family: str
    reference: int
    _table: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """One row for each method and parameter.

        Columns: method ("AGQ", "PQL", "MCEM"), n_agq (AGQ only; 1 is Laplace), parameter, estimate, mc_error (MCEM
        only), and difference from the reference in its standard errors.
        """
        return self._table.copy()

    def wide(self) -> pd.DataFrame:
        """Estimates, a row for each parameter and a column for each method."""
        labels = [_label(m, k) for m, k in zip(self._table["method"], self._table["n_agq"], strict=True)]
        wide = self._table.assign(label=labels).pivot(index="parameter", columns="label", values="estimate")
        return wide.loc[list(dict.fromkeys(self._table["parameter"])), list(dict.fromkeys(labels))]

    def __str__(self) -> str:
        return f"{self.formula}, {self.family}\n{self.wide().to_string(float_format='{:.4f}'.format)}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        wide = self.wide()
        cells = [[name, *(f"{x:.4f}" for x in row)] for name, row in zip(wide.index, wide.to_numpy(), strict=True)]
        return html_block([html_table(["", *wide.columns], cells, f"{self.formula}, {self.family}")])

    def plot(self, *, ax: Any = None) -> np.ndarray:
        """A panel for each parameter: difference from the reference against the number of points.

        Parameters
        ----------
        ax : array of Axes, optional
            As many as there are parameters.

        Returns
        -------
        array of Axes
        """
        names = list(dict.fromkeys(self._table["parameter"]))
        panels, figure = panel_grid(len(names), ax, width=3.4, height=2.4)
        for panel, name in zip(panels, names, strict=True):
            self._draw(panel, self._table[self._table["parameter"] == name])
            panel.set_title(name, fontsize=SMALL + 1, loc="left")
        label_axes(panels, figure, "points (n_agq)", "standard errors")
        if figure is not None:
            text = f"Difference from quadrature with {self.reference} points, in its standard errors"
            title_figure(figure, text)
            handles, labels = panels[0].get_legend_handles_labels()
            legend_below(figure, handles, labels, len(labels))
        return panels

    def _draw(self, panel: Any, rows: pd.DataFrame) -> None:
        agq = rows[rows["method"] == "AGQ"]
        at = np.arange(len(agq))
        panel.axhline(0.0, color=GREY, linewidth=0.9)
        for value in rows.loc[rows["method"] == "PQL", "difference"]:
            panel.axhline(value, color=VERMILION, linestyle=(0, (5, 2)), linewidth=1.6, label="PQL")
        for _, own in rows[rows["method"] == "MCEM"].iterrows():
            middle, reach = own["difference"], 2.0 * own["mc_error"] / own["reference_se"]
            panel.axhspan(
                middle - reach, middle + reach, color=PALETTE[2], alpha=0.3, linewidth=0, label="MCEM ± 2 MC errors"
            )
        label = "quadrature (1 point: Laplace)"
        panel.plot(at, agq["difference"], color=BLUE, marker="o", markersize=4.5, linewidth=1.5, label=label)
        panel.set_xticks(at, [str(int(k)) for k in agq["n_agq"]])
        tidy(panel)


def bias_study(
    formula: str,
    data: Any,
    family: Any,
    *,
    n_agq: Sequence[int] = ORDERS,
    pql: bool = True,
    mcem: bool | Mapping[str, Any] = True,
    seed: Any = None,
    **model_arguments: Any,
) -> BiasStudy:
    """Fit one model by PQL, Laplace, quadrature and Monte Carlo EM.

    Parameters
    ----------
    formula, data, family, **model_arguments
        See :class:`refglmm.GLMM`: one random-effects term with a free or diagonal covariance.
    n_agq : sequence of int
        Points, ascending; the last is the reference.
    pql : bool
        Add PQL (by ML; REML is hardly any nearer).
    mcem : bool or mapping
        Add Monte Carlo EM; a mapping holds arguments of :func:`mcem`.
    seed : int, Generator or None
        For Monte Carlo EM.
    """
    orders = list(n_agq)
    if len(orders) < 2 or any(not isinstance(k, int) or k < 1 for k in orders) or orders != sorted(set(orders)):
        raise ArgumentError(f"n_agq must be at least two ascending whole numbers, not {n_agq!r}")
    model = GLMM(formula, data, family, **model_arguments)
    fits = _quadrature_fits(model, orders)
    rows = [_rows("AGQ", k, _estimates(model, fit)) for k, fit in zip(orders, fits, strict=True)]
    if pql:
        dispersion = "estimated" if model.family.has_scale else "known"
        found = run_pql(formula, data, family, dispersion=dispersion, **model_arguments)
        rows.append(_rows("PQL", None, found.estimates["estimate"]))
    if mcem:
        settings = dict(mcem) if isinstance(mcem, Mapping) else {}
        sampled = run_mcem(formula, data, family, **{"seed": seed, **settings}, **model_arguments).estimates
        rows.append(_rows("MCEM", None, sampled["estimate"]).assign(mc_error=sampled["mc_error"].to_numpy()))
    table = pd.concat([row.assign(mc_error=row.get("mc_error", np.nan)) for row in rows], ignore_index=True)
    truth, se = _estimates(model, fits[-1]), _errors(model, fits[-1])
    table = table[table["parameter"].isin(truth.index)].reset_index(drop=True)
    table["reference_se"] = se.loc[table["parameter"]].to_numpy()
    table["difference"] = (table["estimate"] - truth.loc[table["parameter"]].to_numpy()) / table["reference_se"]
    return BiasStudy(model.frame.formula.expanded, model.family.display, orders[-1], table)


def plot_bias(formula: str, data: Any, family: Any, *, ax: Any = None, **study: Any) -> np.ndarray:
    """Draw :func:`bias_study` of a model; its arguments, and ``ax`` as in :meth:`BiasStudy.plot`."""
    return bias_study(formula, data, family, **study).plot(ax=ax)


def _quadrature_fits(model: GLMM, orders: Sequence[int]) -> list[FittedModel]:
    """A fit for each order; a poor order may well end at an edge, which is what is shown here, not warned of."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=SingularFitWarning)
        warnings.simplefilter("ignore", category=ConvergenceWarning)
        return [model.fit(n_agq=order) for order in orders]


def _estimates(model: GLMM, fit: FittedModel) -> pd.Series:
    """Everything that a fit estimated, named as in :attr:`TeachingFit.estimates`."""
    return pd.Series({**fit.fixef, **random_parameters(model, fit.optimum.par), **fit.phi})


def _errors(model: GLMM, fit: FittedModel) -> pd.Series:
    """Standard errors of :func:`_estimates`, by the delta method from the Hessian of the fit."""
    problem = model.problem
    psi = problem.join(fit.optimum.par, fit.beta, fit.optimum.phi)

    def values(x: np.ndarray) -> np.ndarray:
        par, beta, phi = problem.split(x)
        return np.concatenate([beta, list(random_parameters(model, par).values()), phi[: problem.n_phi]])

    steps = 1e-5 * np.diag(np.maximum(np.abs(psi), 1.0))
    slope = np.column_stack([(values(psi + step) - values(psi - step)) / (2.0 * step.max()) for step in steps])
    covariance = 2.0 * np.linalg.inv(fit.optimum.hessian)  # type: ignore[arg-type]
    return pd.Series(np.sqrt(np.einsum("id,de,ie->i", slope, covariance, slope)), index=_estimates(model, fit).index)


def _rows(method: str, order: int | None, estimates: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": method,
            "n_agq": np.nan if order is None else float(order),
            "parameter": list(estimates.index),
            "estimate": estimates.to_numpy(dtype=float),
        }
    )


def _label(method: str, order: float) -> str:
    return method if np.isnan(order) else "Laplace" if order == 1 else f"AGQ({order:.0f})"
