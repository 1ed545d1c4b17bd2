r"""Influence: what the fit would be without a row, or without a level of a factor.

Place in the reading order: in ``inference``, after ``hat`` and ``tasks``. Two ways to the estimates without unit S:

``"deletion"``
    Fit again with the weights of S at zero, from the estimates of the full fit. A row of weight zero contributes
    nothing, neither to the likelihood nor to the number of observations, so this is the fit without those rows; all
    index structures are shared.
``"one-step"``
    In closed form, covariance parameters (and phi) held. With the notation of ``hat``, :math:`h_{SS}` the block of
    the hat matrix, :math:`V = (R_X'R_X)^{-1}`, and :math:`r_S = s_S / \sqrt{w_S}` the score over the root weight,

    .. math::
        \hat\beta_{(S)} &= \hat\beta - G_S' (I - h_{SS})^{-1} r_S,\qquad G_S = W_S^{1/2} \tilde X_S V \\
        V_{(S)} &= V + G_S' (I - h_{SS})^{-1} G_S,\qquad
        pwrss_{(S)} = pwrss - r_S' (I - h_{SS})^{-1} r_S

    which is exact for a linear mixed model with its relative covariance factor held, and one Fisher-scoring step from
    the joint mode of (u, beta) in a GLMM.

.. math::
    \text{dfbeta} &= \Delta = \hat\beta_{(S)} - \hat\beta,\qquad \text{dfbetas}_j = \Delta_j / se_j(\hat\beta_{(S)}) \\
    \text{Cook} &= \frac{N - p}{N p}\,\Delta'\,\widehat{Var}(\hat\beta)^{-1} \Delta,\qquad
    \text{covratio} = \frac{|\widehat{Var}(\hat\beta_{(S)})|}{|\widehat{Var}(\hat\beta)|}

with N the number of deletions. Sources: Christensen, Pearson and Johnson (1992), "Case-deletion diagnostics for mixed
models"; Pregibon (1981), "Logistic regression diagnostics"; Belsley, Kuh and Welsch (1980); lme4's help page
``influence.merMod`` for the scaling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError, InfluenceWarning, NotAvailableError, warn
from refglmm.fit.arrays import freeze_arrays
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.parts import all_names
from refglmm.fit.ranef import posterior_scale
from refglmm.fit.rformat import format_numbers, table
from refglmm.fit.vcov import whole_covariance
from refglmm.inference.hat import NO_FREEDOM, WeightedSystem, weighted_system
from refglmm.inference.picture import Pictured
from refglmm.inference.tasks import run_tasks

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
METHODS = ("deletion", "one-step")
#: A unit that takes all but this share of what is known about some combination of the coefficients cannot go.
IDENTIFIED = 1e-9
#: Lines of the printed table.
SHOWN = 8


@dataclass(frozen=True)
class Estimates:
    """One fit: beta (p,), its covariance (p, p), par, and SDs, correlations and shape parameters (c,)."""

    beta: FloatArray
    vcov: FloatArray
    par: FloatArray
    components: FloatArray
    sigma: float


@dataclass(frozen=True, eq=False, repr=False)
class Influence(Pictured):
    """Estimates without each unit.

    Attributes
    ----------
    unit : str
        "row" or the name of the factor whose levels were left out.
    method : {"deletion", "one-step", "score"}
        The last is that of :func:`.score_influence.score_influence`.
    labels : Index
        Of the units.
    sizes : tuple of int
        Rows in each unit.
    full : Estimates
        With all data.
    without : tuple of Estimates
        Without each unit; NaN where there is no fit.
    names, par_names, component_names : tuple of str
    """

    picture = "influence.plot_influence"

    unit: str
    method: str
    labels: pd.Index
    sizes: tuple[int, ...]
    full: Estimates
    without: tuple[Estimates, ...]
    names: tuple[str, ...]
    par_names: tuple[str, ...]
    component_names: tuple[str, ...]
    _failures: Mapping[Any, str]
    _messages: Mapping[Any, tuple[str, ...]]

    @property
    def failures(self) -> dict[Any, str]:
        """Label -> why there is no fit without this unit."""
        return dict(self._failures)

    @property
    def messages(self) -> dict[Any, tuple[str, ...]]:
        """Label -> warnings that the fit without this unit gave (a singular fit, say)."""
        return dict(self._messages)

    @property
    def beta(self) -> pd.DataFrame:
        """Fixed effects without each unit, a row for each."""
        return self._frame([e.beta for e in self.without], self.names)

    @property
    def par(self) -> pd.DataFrame:
        """Covariance parameters without each unit."""
        return self._frame([e.par for e in self.without], self.par_names)

    @property
    def components(self) -> pd.DataFrame:
        """Standard deviations, correlations, sigma and shape parameters without each unit; not for "one-step"."""
        if self.method == "one-step":
            raise NotAvailableError(
                "the one-step approximation holds the covariance parameters; use influence(method='deletion')"
            )
        return self._frame([e.components for e in self.without], self.component_names)

    @property
    def sigma(self) -> pd.Series:
        """Residual standard deviation without each unit."""
        return pd.Series([e.sigma for e in self.without], index=self.labels, name="sigma", dtype=float)

    @property
    def covariances(self) -> FloatArray:
        """Covariance of the fixed effects without each unit, shape (units, p, p)."""
        return np.array([e.vcov for e in self.without])

    def _frame(self, rows: list[FloatArray], columns: tuple[str, ...]) -> pd.DataFrame:
        return pd.DataFrame(np.array(rows).reshape(len(rows), len(columns)), index=self.labels, columns=list(columns))

    def dfbeta(self) -> pd.DataFrame:
        """Change of the fixed effects: without the unit minus with it."""
        return self.beta - self.full.beta

    def dfbetas(self) -> pd.DataFrame:
        """Change of the fixed effects in standard errors of the fit without the unit."""
        se = np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        return self.dfbeta() / se

    def cooks_distance(self) -> pd.Series:
        """Cook's distance of each unit.

        Raises
        ------
        NotAvailableError
            If there are no more units than coefficients: the scale (N - p) / (N p) is not positive then.
        """
        n_units, p = len(self.labels), len(self.names)
        if not 0 < p < n_units:
            raise NotAvailableError(
                f"Cook's distance needs more units than coefficients, and there are {n_units} units of {self.unit} and "
                f"{p} coefficients; look at dfbetas()"
            )
        change = self.dfbeta().to_numpy()
        distance = np.einsum("ij,ij->i", change, np.linalg.solve(self.full.vcov, change.T).T)
        return pd.Series(distance * (n_units - p) / (n_units * p), index=self.labels, name="Cook's distance")

    def covratio(self) -> pd.Series:
        """Generalised variance of beta without the unit over that with it; above one, the unit adds precision."""
        with np.errstate(invalid="ignore"):
            ratio = np.linalg.det(self.covariances) / np.linalg.det(self.full.vcov)
        return pd.Series(ratio, index=self.labels, name="covratio")

    def component_change(self) -> pd.DataFrame:
        """Change of standard deviations, correlations, sigma and shape parameters; not for "one-step"."""
        return self.components - self.full.components

    def as_frame(self) -> pd.DataFrame:
        """One table: rows, Cook's distance, covratio, dfbetas by coefficient, sigma."""
        columns = {"rows": pd.Series(self.sizes, index=self.labels)}
        if 0 < len(self.names) < len(self.labels):
            columns["cook"] = self.cooks_distance()
        frame = pd.DataFrame(columns | {"covratio": self.covratio(), "sigma": self.sigma})
        return frame.join(self.dfbetas().add_prefix("dfbetas_"))

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """The units of largest influence."""
        frame = self.as_frame()
        key = "cook" if "cook" in frame else "covratio"
        shown = frame.sort_values(key, ascending=False, kind="stable").head(SHOWN)
        columns = [format_numbers(shown[name], 4) for name in shown.columns]
        rows = [[str(label), *(column[i] for column in columns)] for i, label in enumerate(shown.index)]
        return [self.unit, *map(str, shown.columns)], rows

    def _notes(self) -> list[str]:
        notes = [f"no fit without {label}: {why}" for label, why in list(self.failures.items())[:3]]
        if len(self.failures) > 3:
            notes.append(f"and {len(self.failures) - 3} more without a fit; see .failures")
        if self.messages:
            notes.append(f"fits without {len(self.messages)} units gave warnings; see .messages")
        return notes

    def _title(self) -> str:
        what = {
            "deletion": "fitted again",
            "one-step": "one step, covariance parameters held",
            "score": "one Newton step of all parameters",
        }[self.method]
        return f"Influence of {len(self.labels)} units ({self.unit}), {what}; the largest:"

    def __repr__(self) -> str:
        header, rows = self._cells()
        return "\n".join([self._title(), table(header, rows, [True] + [False] * (len(header) - 1)), *self._notes()])

    def _repr_html_(self) -> str:
        return html_block([html_table(*self._cells(), self._title()), html_lines(self._notes())])


# -- units ---------------------------------------------------------------------------------------------------


def units_of(fit: FittedModel, group: Any) -> tuple[str, pd.Index, list[NDArray[np.intp]]]:
    """Name, labels and rows of the units to leave out.

    ``group`` is None (rows), a grouping factor of the model, a variable of its data, or an array of length n.
    """
    if group is None:
        return "row", fit.frame.index, [np.array([i]) for i in range(fit.nobs)]
    if isinstance(group, str):
        name, codes, labels = group, *_named_codes(fit, group)
    else:
        values = np.asarray(group)
        if values.shape != (fit.nobs,):
            raise ArgumentError(f"group must be a name or {fit.nobs} values, one for each row used, not {values.shape}")
        codes, labels = pd.factorize(pd.Series(values), sort=True)
        name = str(getattr(group, "name", None) or "unit")
    if np.any(codes < 0):
        raise DataError(f"{name} has {int(np.sum(codes < 0))} missing values; every row must belong to a unit")
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.searchsorted(codes[order], np.arange(1, len(labels))))
    used = [i for i, part in enumerate(parts) if part.size]
    if len(used) < 2:
        raise ArgumentError(f"{name} has only {len(used)} level: nothing would be left without it", group=name)
    return name, pd.Index(labels)[used].rename(name), [parts[i] for i in used]


def _named_codes(fit: FittedModel, name: str) -> tuple[NDArray[Any], pd.Index]:
    """Codes and labels of a grouping factor, or of a variable of the model."""
    for term in fit.design.terms:
        if term.group == name:
            return np.asarray(term.codes), pd.Index(term.levels)
    data = fit.frame.data
    if name not in data:
        known = list(dict.fromkeys([*(term.group for term in fit.design.terms), *map(str, data.columns)]))
        raise ArgumentError(f"no factor or variable {name!r} in this model; there are: {', '.join(known)}", group=name)
    codes, labels = pd.factorize(data[name], sort=True)
    return codes, pd.Index(labels)


def unidentified(fit: FittedModel, rows: NDArray[np.intp], Q: FloatArray, R: FloatArray) -> str:
    """Why the fixed effects cannot be estimated without these rows; "" if they can.

    With W^1/2 X = QR, the smallest eigenvalue of I - Q_S'Q_S is the share of the information on some combination of
    the coefficients that the other rows have.
    """
    if 1.0 - np.sum(Q[rows] ** 2) > IDENTIFIED:  # no eigenvalue of Q_S'Q_S exceeds their sum
        return ""
    values, vectors = np.linalg.eigh(np.eye(Q.shape[1]) - Q[rows].T @ Q[rows])
    if values[0] > IDENTIFIED:
        return ""
    size = np.abs(np.linalg.solve(R, vectors[:, 0])) * fit.problem.column_extent
    names = [name for name, x in zip(fit.design.names, size) if x > 1e-6 * size.max()]
    return f"the other rows do not determine {', '.join(names)}"


# -- deletion ------------------------------------------------------------------------------------------------


def component_names(fit: FittedModel) -> list[str]:
    """Names of standard deviations, correlations, sigma and shape parameters."""
    names = []
    for _, row in fit.varcorr.as_frame().iterrows():
        if row["grp"] == "Residual":
            names.append("sigma")
        elif pd.isna(row["var2"]):
            names.append(f"sd_{row['var1']}|{row['grp']}")
        else:
            names.append(f"cor_{row['var2']}.{row['var1']}|{row['grp']}")
    return names + [str(name) for name in fit.phi.index if not fit.has_scale]


def components(fit: FittedModel) -> FloatArray:
    """Standard deviations, correlations, sigma and shape parameters."""
    shape = [] if fit.has_scale else fit.phi.to_numpy()
    return np.concatenate([fit.varcorr.as_frame()["sdcor"].to_numpy(dtype=float), shape])


def estimates(fit: FittedModel) -> Estimates:
    """What is kept of a fit."""
    covariance, beta = np.array(whole_covariance(fit).matrix), np.array(fit.optimum.beta, dtype=float)
    return Estimates(beta, covariance, np.array(fit.optimum.par), components(fit), float(fit.sigma))


def estimates_without(fit: FittedModel, rows: NDArray[np.intp]) -> Estimates:
    """Fit again with the weights of these rows at zero."""
    weights = np.array(fit.frame.weights)
    weights[rows] = 0.0
    return estimates(fit.refit(np.array(fit.frame.y), weights))


def _delete_all(
    fit: FittedModel, units: Sequence[NDArray[np.intp]], executor: Executor | None, progress: bool | None
) -> list[tuple[Estimates | None, str, tuple[str, ...]]]:
    """Estimates, failure and warnings of each unit."""
    outcomes = run_tasks(
        partial(estimates_without, fit), units, executor=executor, progress=progress, label="influence"
    )
    return [(outcome.value, outcome.error or "", outcome.warnings) for outcome in outcomes]


# -- one step ------------------------------------------------------------------------------------------------


def hat_block(system: WeightedSystem, V: FloatArray, Mt: Any, rows: NDArray[np.intp]) -> FloatArray:
    """h_SS, shape (rows, rows); ``Mt`` is M' as a sparse matrix."""
    root = np.sqrt(system.mode.w[rows])
    half = system.mode.factor.solve_L(root * Mt[:, rows].toarray())
    X = root[:, None] * system.X_tilde[rows]
    return half.T @ half + X @ V @ X.T


def one_step_without(
    fit: FittedModel, system: WeightedSystem, V: FloatArray, Mt: Any, rows: NDArray[np.intp]
) -> Estimates | None:
    """The closed form of the module's docstring for one unit; None where I - h_SS is singular."""
    mode = system.mode
    w = mode.w[rows]
    root = np.sqrt(w)
    r = np.divide(mode.s[rows], root, out=np.zeros(rows.size), where=w > 0)
    X = root[:, None] * system.X_tilde[rows]
    left = np.eye(rows.size) - hat_block(system, V, Mt, rows)
    G = X @ V
    if np.linalg.eigvalsh(left)[0] < NO_FREEDOM:
        return None
    solved = np.linalg.solve(left, np.column_stack([r, G]))
    sigma = fit.sigma
    if fit.is_lmm:
        pwrss = sigma**2 * _degrees(fit) - float(r @ solved[:, 0])
        sigma = float(np.sqrt(pwrss / (_degrees(fit) - int(np.sum(w > 0)))))
    scale = posterior_scale(fit) * (sigma / fit.sigma) ** 2
    covariance = scale * (V + G.T @ solved[:, 1:])
    return Estimates(fit.beta - G.T @ solved[:, 0], covariance, np.array(fit.optimum.par), np.empty(0), sigma)


def _amplification(system: WeightedSystem, rows: NDArray[np.intp]) -> FloatArray:
    """1 / (1 - h) of single rows; nan where a row is fitted by a parameter of its own."""
    freedom = 1.0 - system.hat[rows]
    return np.divide(1.0, freedom, out=np.full(rows.size, np.nan), where=freedom > NO_FREEDOM)


def one_step_beta(system: WeightedSystem, V: FloatArray, rows: NDArray[np.intp]) -> FloatArray:
    """Change of beta without each of these rows, -V x s / (1 - h), shape (rows, p)."""
    return -(system.X_tilde[rows] @ V) * (system.mode.s[rows] * _amplification(system, rows))[:, None]


def one_step_rows(
    fit: FittedModel, system: WeightedSystem, V: FloatArray, rows: NDArray[np.intp]
) -> list[Estimates | None]:
    """Closed form for units of one row each, all at once: h_SS is the hat value."""
    w, s, share = system.mode.w[rows], system.mode.s[rows], _amplification(system, rows)
    beta = fit.beta + one_step_beta(system, V, rows)
    sigma = np.full(rows.size, fit.sigma)
    if fit.is_lmm:
        pull = share * np.divide(s**2, w, out=np.zeros(rows.size), where=w > 0)
        sigma = np.sqrt((fit.sigma**2 * _degrees(fit) - pull) / (_degrees(fit) - (w > 0)))
    scale = posterior_scale(fit) * (sigma / fit.sigma) ** 2
    step = system.X_tilde[rows] @ V
    covariances = scale[:, None, None] * (V + (w * share)[:, None, None] * step[:, :, None] * step[:, None, :])
    par, none = np.array(fit.optimum.par), np.empty(0)
    return [
        Estimates(b, C, par, none, float(sd)) if np.isfinite(x) else None
        for b, C, sd, x in zip(beta, covariances, sigma, share, strict=True)
    ]


def row_changes(fit: FittedModel) -> FloatArray:
    """Change of beta without each row in one step, shape (n, p)."""
    system = weighted_system(fit)
    inverse = np.linalg.inv(system.mode.rx)
    return one_step_beta(system, inverse @ inverse.T, np.arange(fit.nobs))


def _degrees(fit: FittedModel) -> int:
    """What pwrss is divided by."""
    used = int(np.sum(fit.frame.weights > 0))
    return used - fit.problem.p if fit.reml else used


def _step_all(
    fit: FittedModel, units: Sequence[NDArray[np.intp]]
) -> list[tuple[Estimates | None, str, tuple[str, ...]]]:
    """Estimates and failure of each unit, in closed form."""
    from scipy.sparse import csc_array

    system = weighted_system(fit)
    inverse = np.linalg.inv(system.mode.rx)
    V = inverse @ inverse.T
    if all(rows.size == 1 for rows in units):
        found = one_step_rows(fit, system, V, np.concatenate([*units, np.empty(0, dtype=np.intp)]))
    else:
        Mt = csc_array(fit.get_me("Lambdat") @ fit.design.Zt())
        found = [one_step_without(fit, system, V, Mt, rows) for rows in units]
    why = "I - h is singular: this unit is fitted by parameters of its own"
    return [(value, "" if value is not None else why, ()) for value in found]


# -- the whole -----------------------------------------------------------------------------------------------


def influence(
    fit: FittedModel,
    group: Any = None,
    *,
    method: str = "deletion",
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Influence:
    """Estimates without each row, or without each level of a factor.

    Parameters
    ----------
    fit : FittedModel
    group : str or array of shape (n,), optional
        A grouping factor of the model, a variable of its data, or values of which each makes a unit. Rows by default.
    method : {"deletion", "one-step"}
        See the module's docstring.
    executor : concurrent.futures.Executor, optional
        Where the fits of "deletion" run; the numbers do not depend on it.
    progress : bool, optional

    Returns
    -------
    Influence

    Warns
    -----
    InfluenceWarning
        Once, if there is no fit without some of the units; they are listed in ``failures``.

    Raises
    ------
    ArgumentError, DataError
        Unknown method or factor, a factor with one level or missing values.
    """
    if method not in METHODS:
        raise ArgumentError(f"unknown method {method!r}; use one of {', '.join(METHODS)}", method=method)
    name, labels, units = units_of(fit, group)
    Q, R = np.linalg.qr(np.sqrt(fit.frame.weights)[:, None] * fit.problem.X)
    reasons = [unidentified(fit, rows, Q, R) for rows in units]
    possible = [rows for rows, reason in zip(units, reasons) if not reason]
    found = iter(_delete_all(fit, possible, executor, progress) if method == "deletion" else _step_all(fit, possible))
    results = [(None, reason, ()) if reason else next(found) for reason in reasons]
    return collected(fit, name, method, labels, units, results)


def collected(
    fit: FittedModel,
    name: str,
    method: str,
    labels: pd.Index,
    units: Sequence[NDArray[np.intp]],
    results: Sequence[tuple[Estimates | None, str, tuple[str, ...]]],
) -> Influence:
    """Put the units together; NaN for those without a fit."""
    full, p = estimates(fit), fit.problem.p
    lost = Estimates(
        np.full(p, np.nan), np.full((p, p), np.nan), full.par * np.nan, full.components * np.nan, float("nan")
    )
    without = tuple(value or lost for value, _, _ in results)
    for record in (full, *without):
        freeze_arrays(record)
    failures = {label: why for label, (_, why, _) in zip(labels, results, strict=True) if why}
    if failures:
        label, why = next(iter(failures.items()))
        warn(
            InfluenceWarning(
                f"no fit without {len(failures)} of {len(units)} units of {name}; the first is {label}: {why}",
                failures=failures,
            )
        )
    return Influence(
        unit=name,
        method=method,
        labels=labels,
        sizes=tuple(rows.size for rows in units),
        full=full,
        without=without,
        names=tuple(all_names(fit)),
        par_names=tuple(fit.problem.par_names),
        component_names=tuple(component_names(fit)),
        _failures=failures,
        _messages={label: notes for label, (_, _, notes) in zip(labels, results) if notes},
    )
