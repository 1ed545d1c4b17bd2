r"""Dynamic prediction: rows to come of groups that have shown some responses already.

Place in the reading order: in ``inference``; ``likelihood.posterior`` has the quadrature. For a group, of the fit or
new, with responses y, the prediction of a row (x, z) is its mean over what y says about the group's effects,

.. math:: m = E\{\mu(x'\beta + o + z'b) \mid y\} = \int \mu(x'\beta + o + z'b)\,p(b \mid y)\,db,

by adaptive quadrature: not mu at the mode of b, which differs by as much as mu is curved over the width
of p(b | y). Only the responses handed in count, also where the fit knew the group.

Its standard error counts both what is not known of b and what is not known of the parameters psi,

.. math:: \mathrm{se}^2 = \operatorname{Var}\{\mu \mid y, \hat\psi\} + J C J',\qquad J = dm/d\psi

(J by differences of order four along the columns of a root of C). Intervals:

=============== ==================================================================================================
linear models   normal, with that standard error: exact but for J; a row to come adds :math:`\sigma^2/w`
others          quantiles over draws :math:`\psi^* \sim N(\hat\psi, C)`, :math:`b^* \sim p(b \mid y, \psi^*)`, of the
                mean, or of a response drawn at it
=============== ==================================================================================================

b* is drawn from a multivariate t about the mode at psi* (D* and phi* in place of the estimates) and given the weight
:math:`p(b^* \mid y, \psi^*)/q(b^*)`, the posterior with its constant, by quadrature: draws of different psi* compare.

Sources: Rizopoulos (2011), "Dynamic predictions and prospective accuracy in joint models" (the sampling scheme); Kass
and Steffey (1989) for the standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError, NotAvailableError, SimulationWarning, warn
from refglmm.families.base import drawing_weight
from refglmm.families.coupled import ZI
from refglmm.fit.parts import several
from refglmm.fit.population import TYPES as ALL_TYPES
from refglmm.fit.population import row_mean
from refglmm.fit.predict import normal_interval
from refglmm.fit.rows import Rows, new_rows, new_weights
from refglmm.fit.simulate import check_nsim, draw_known, generator
from refglmm.fit.variances import all_parameters
from refglmm.formula.convert import to_table
from refglmm.formula.frame import new_response
from refglmm.inference.parameters import absolute_scale, full_vector
from refglmm.inference.tasks import run_tasks, seeds
from refglmm.likelihood.pirls import Pirls
from refglmm.likelihood.posterior import Groups, Posterior, draw_student, hermite_rule
from refglmm.likelihood.quadrature import gh_rule

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from refglmm.fitted import FittedModel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Points per dimension for up to two random effects a group, for more, and the nodes a group may have in all.
POINTS, FEWER_POINTS, MOST_NODES = 11, 7, 20_000
TYPES = ("response", "link")
INTERVALS = (None, "confidence", "prediction")
#: Step of differences in psi, in standard errors, and their weights (order four).
STEP, STENCIL = 0.1, ((1, 8.0 / 12.0), (2, -1.0 / 12.0))
#: Degrees of freedom of the t distribution that effects are drawn from.
FREEDOM = 8
#: A node outside the domain of the link may have this share of a group's posterior.
SMALL_SHARE = 1e-12


class Targets(NamedTuple):
    """Rows to predict: fixed part and offset, columns of the random effects, group, and weights to draw with."""

    index: pd.Index
    X: FloatArray
    offset: FloatArray
    Z: FloatArray
    group: IntArray
    weights: FloatArray


@dataclass(frozen=True)
class Setting:
    """Groups with their responses, and the rows to predict.

    Attributes
    ----------
    fit : FittedModel
    observed : Groups
    targets : Targets
    labels : Index
        Of the groups.
    n_points : int
    """

    fit: FittedModel
    observed: Groups
    targets: Targets
    labels: pd.Index
    n_points: int

    def at(self, x: FloatArray) -> Posterior:
        """Posterior at x = (par, beta, working phi) of the fit; a linear mixed model has its sigma."""
        problem, fit = self.observed.problem, self.fit
        if fit.is_lmm:
            par = x[: problem.n_par] * absolute_scale(problem, fit.sigma)
            beta, phi = x[problem.n_par :], np.array([fit.sigma**2])
        else:
            par, beta, phi = problem.split(x)
        pirls = Pirls(problem, fit.settings["control"].engine)
        pirls.find_mode(par, beta, phi)
        nodes = self.observed.place(pirls, hermite_rule(self.n_points, self.observed.q))
        return self.observed.posterior(nodes, beta, phi)

    def at_estimate(self) -> Posterior:
        """Posterior at the estimates."""
        return self.at(fitted_vector(self.fit))

    def predictors(self, known: Posterior) -> FloatArray:
        """Linear predictor of the rows to predict at each node, shape (nodes, m), or (nodes, K, m)."""
        return self._predictors(known, known.b)

    def predictor_at(self, known: Posterior, u: FloatArray) -> FloatArray:
        """Linear predictor of the rows to predict where the groups have u, shape (m,), or (K, m)."""
        return self._predictors(known, (u @ known.nodes.T.T)[:, None])[0]

    def _predictors(self, known: Posterior, b: FloatArray) -> FloatArray:
        """Linear predictor at effects b of the groups, shape (groups, nodes, q)."""
        rows = self.targets
        fixed = rows.offset + rows.X @ known.beta
        return np.moveaxis(fixed[..., None] + self.observed.random_part(rows.Z, b[rows.group]), -1, 0)

    def probabilities(self, known: Posterior) -> FloatArray:
        """Probability of each node for the rows to predict, shape (nodes, m)."""
        return known.p[self.targets.group].T


def dynamic(
    fit: FittedModel,
    newdata: Any,
    future: Any = None,
    *,
    type: str = "response",
    se: bool = False,
    interval: str | None = None,
    level: float = 0.95,
    draws: int = 500,
    seed: Any = None,
    n_points: int | None = None,
    offset: Any = None,
    weights: Any = None,
    future_offset: Any = None,
    future_weights: Any = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> pd.Series | pd.DataFrame:
    """Predict rows of groups from responses of the same groups.

    Parameters
    ----------
    fit : FittedModel
        With one grouping factor.
    newdata : table
        Rows with their responses. Groups may be new; of those the fit knew, only these responses count.
    future : table, optional
        Rows to predict, without responses; those of ``newdata`` by default. A group that ``newdata`` has not is
        predicted from its distribution in the population.
    type : {"response", "link"}
        Mean of the expected response, or of the linear predictor; models with a zero part or a dispersion have those of
        :meth:`.FittedModel.predict`.
    se : bool
    interval : {None, "confidence", "prediction"}
        For the mean of the row given its group, or for one more observation.
    level : float
    draws : int
        Behind the intervals of generalized models.
    seed : int, numpy Generator or None
        Of these draws; noted in ``.attrs["seed"]`` where there are any.
    n_points : int, optional
        Quadrature points per dimension; by default those of the fit, 11 at least (7 for more than two effects).
    offset, weights, future_offset, future_weights : str or array-like, optional
        Of the two tables, as for :meth:`.FittedModel.predict`.
    executor, progress
        Where the draws run; whether to show a bar.

    Returns
    -------
    Series, or DataFrame with ``fit`` and any of ``se``, ``lower``, ``upper``

    Raises
    ------
    NotAvailableError
        Several grouping factors; parameters without a Hessian where their uncertainty is asked for.
    DataError, ResponseError
        Missing columns or values, a missing group.

    Warns
    -----
    SimulationWarning
        Some draws of the parameters had no mode; they are left out.

    Examples
    --------
    >>> import refglmm as rg
    >>> fit = rg.lmer("Reaction ~ Days + (Days | Subject)", rg.datasets.load("sleepstudy"))
    >>> seen = {"Reaction": [300.0, 330.0], "Days": [0, 1], "Subject": ["new", "new"]}
    >>> fit.dynamic(seen, {"Days": [5], "Subject": ["new"]}).round(1).tolist()
    [351.8]
    """
    _check(fit, type, interval, level, se)
    check_nsim(draws)
    noted = None
    one_factor(fit)
    setting = make_setting(fit, newdata, future, n_points, (offset, weights), (future_offset, future_weights))
    estimate = fitted_vector(fit)
    m, variance = _moments(setting, setting.at(estimate), type)
    columns = {"fit": m}
    if se or (interval is not None and fit.is_lmm):
        root = _parameter_root(fit)
        columns["se"] = np.sqrt(variance + _parameter_share(setting, estimate, root, type))
    if interval is not None and fit.is_lmm:
        noise = fit.sigma**2 / drawing_weight(setting.targets.weights) if interval == "prediction" else 0.0
        columns["lower"], columns["upper"] = normal_interval(m, np.sqrt(columns["se"] ** 2 + noise), level)
    elif interval is not None:
        rng, noted = generator(seed)
        drawn = _draws(setting, estimate, (type, interval), draws, rng, executor, progress)
        columns["lower"], columns["upper"] = _quantiles(setting, drawn, level)
    if not se:
        columns.pop("se", None)
    table = pd.DataFrame(columns, index=setting.targets.index)
    out = table if len(columns) > 1 else table["fit"]
    if noted is not None:
        out.attrs["seed"] = noted
    return out


def _check(fit: FittedModel, type: str, interval: str | None, level: float, se: bool) -> None:
    for name, value, known in (
        ("type", type, tuple(ALL_TYPES) if several(fit) else TYPES),
        ("interval", interval, INTERVALS),
        ("se", se, (False, True)),
    ):
        if value not in known:
            raise ArgumentError(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r}")
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0.0 < level < 1.0:
        raise ArgumentError(f"level must lie between 0 and 1, not {level!r}")
    if several(fit) and type in ("zprob", "zlink") and ZI not in fit.family.part_names:
        raise ArgumentError(f"type={type!r} needs a zero part (zi=), which this fit has not")
    if interval == "prediction" and type not in TYPES:
        raise ArgumentError("a prediction interval is for an observation; use type='response'")
    if interval == "prediction" and type == "link" and fit.family.link.name != "identity":
        raise ArgumentError("a prediction interval lies on the scale of the response; use type='response'")


# -- the rows ----------------------------------------------------------------------------------------------------


def make_setting(
    fit: FittedModel,
    newdata: Any,
    future: Any,
    n_points: Any,
    how: Sequence[Any] = (None, None),
    future_how: Sequence[Any] = (None, None),
) -> Setting:
    """Groups, their responses, and the rows to predict; ``how`` is the offset and the weights of a table."""
    rows, labels = _labelled(fit, newdata, "newdata", how[0])
    weights = likelihood_weights(fit, newdata, how[1])
    y = new_response(fit.frame, newdata, weights)
    fit.family.check_new_response(y, weights)
    if future is None:
        ahead, ahead_labels, ahead_weights = rows, labels, weights
    else:
        ahead, ahead_labels = _labelled(fit, future, "future", future_how[0])
        ahead_weights = new_weights(fit, future, future_how[1]) if _wants_weights(fit, future_how[1]) else _ones(ahead)
    codes, known = pd.factorize(np.concatenate([labels, ahead_labels]))
    observed = grouped_rows(fit, rows, y, weights, codes[: len(labels)], len(known))
    Z = np.hstack([*ahead.Z, np.empty((len(ahead.index), 0))])
    targets = Targets(ahead.index, ahead.X, ahead.offset, Z, codes[len(labels) :], np.asarray(ahead_weights))
    return Setting(fit, observed, targets, pd.Index(known), points_for(fit, observed.q, n_points))


def points_for(fit: FittedModel, q: int, n_points: Any = None) -> int:
    """Points per dimension: those asked for, else those of the fit, but 11 at least (7 for more than two effects)."""
    if n_points is None:
        n_points = max(fit.n_agq, POINTS if q <= 2 else FEWER_POINTS)
    if gh_rule(n_points).z.size ** q > MOST_NODES:
        raise NotAvailableError(
            f"{n_points} points for each of {q} random effects are {n_points}^{q} nodes a group; give fewer n_points"
        )
    return int(n_points)


def one_factor(fit: FittedModel) -> None:
    """Refuse crossed and nested grouping factors."""
    groups = list(dict.fromkeys(term.group for term in fit.design.terms))
    if len(groups) != 1:
        raise NotAvailableError(
            f"the random effects of {', '.join(groups) or 'no factor'} do not fall apart into groups with a small "
            "integral each; this needs one grouping factor"
        )


def _ones(rows: Rows) -> FloatArray:
    return np.ones(len(rows.index))


def _wants_weights(fit: FittedModel, weights: Any) -> bool:
    """Whether a row to come has weights: given ones, or those of an expression (not the unknown trials of cbind)."""
    return weights is not None or (fit.frame.has_weights and fit.frame.response_kind != "cbind")


def likelihood_weights(fit: FittedModel, newdata: Any, weights: Any) -> FloatArray:
    """Weights of new rows in the likelihood; for binomial families the numbers of trials."""
    if fit.frame.response_kind == "cbind" and fit.frame.has_weights and weights is None:
        raise NotAvailableError("prior weights beside cbind: pass weights= (numbers of trials times prior weights)")
    return np.array(new_weights(fit, newdata, weights), dtype=float)


def _labelled(fit: FittedModel, data: Any, name: str, offset: Any) -> tuple[Rows, NDArray[Any]]:
    """Rows of a table with the label of their group, none of them missing."""
    terms = fit.design.terms
    if not len(to_table(data)):
        raise DataError(f"{name} has no rows")
    rows = new_rows(fit, data, [True] * len(terms), offset)
    labels = fit.design.group_labels(terms[0], data)
    absent = np.isnan(np.column_stack([np.zeros(len(rows.index)), *rows.Z])).any(axis=1)
    complete = ~(absent | np.atleast_2d(np.isnan(rows.X).any(axis=-1) | np.isnan(rows.offset)).any(axis=0))
    complete &= np.array([label is not None for label in labels], dtype=bool)
    if not complete.all():
        row = rows.index[int(np.argmin(complete))]
        raise DataError(f"{name} has a missing value at row {row!r}; fill it in or drop the row", row=row)
    return rows, np.asarray(labels, dtype=object)


def grouped_rows(
    fit: FittedModel, rows: Rows, y: FloatArray, weights: FloatArray, group: NDArray[Any], n_groups: int
) -> Groups:
    """The model of other rows: their responses, and a level for each group."""
    k = len(fit.design.terms)
    codes = np.asarray(group, dtype=np.int32)
    X = rows.X.sum(axis=0) if rows.owners else rows.X  # each column belongs to one predictor
    problem = fit.problem.on_rows(y, weights, X, rows.offset, [codes] * k, list(rows.Z), [n_groups] * k)
    return Groups.of(replace(problem, group_weights=None), "prediction from responses")


# -- mean and standard error -------------------------------------------------------------------------------------


def fitted_vector(fit: FittedModel) -> FloatArray:
    """(par, beta, working phi) at the estimates; of a linear mixed model (par, beta), whose sigma is held."""
    if fit.is_lmm:
        return np.concatenate([fit.optimum.par, fit.beta])
    return full_vector(fit)


def _moments(setting: Setting, known: Posterior, type: str) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of mu (or of the linear predictor) of each row over the effects of its group."""
    eta = setting.predictors(known)
    p = setting.probabilities(known)
    values = _values(setting, known.phi, eta, p, type)
    m = np.sum(p * values, axis=0)
    return m, np.sum(p * (values - m) ** 2, axis=0)


def _values(setting: Setting, phi: FloatArray, eta: FloatArray, p: FloatArray, type: str) -> FloatArray:
    """What is predicted, at each node, shape (nodes, m).

    A node outside the domain of the link counts nothing, and may have no mass to speak of.
    """
    fit = setting.fit
    first = eta[:, 0] if eta.ndim == 3 else eta
    if type == "link":
        return first
    inside = np.asarray(fit.family.link.valid_eta(first)) | (fit.family.link.name == "identity")
    lost = np.sum(np.where(inside, 0.0, p), axis=0)
    if lost.max(initial=0.0) > SMALL_SHARE:
        row = setting.targets.index[int(np.argmax(lost))]
        raise NotAvailableError(
            f"the linear predictor of row {row!r} leaves the domain of the {fit.family.link.name} link with "
            f"probability {lost.max():.3g}, so it has no mean; use type='link'",
            row=row,
        )
    flat = eta.transpose(1, 0, 2).reshape(eta.shape[1], -1) if eta.ndim == 3 else eta.ravel()
    with np.errstate(all="ignore"):
        return np.where(inside, row_mean(fit, type, phi).value(flat).reshape(first.shape), 0.0)


def _parameter_root(fit: FittedModel) -> FloatArray:
    """A root of the covariance of psi, one column for each free parameter, shape (d, free)."""
    try:
        C = all_parameters(fit).covariance
    except NotAvailableError:
        raise NotAvailableError(
            "the uncertainty of the parameters needs their Hessian (mode='exact', n_agq >= 1, a converged fit); leave "
            "se and interval out"
        ) from None
    keep = np.flatnonzero(np.diag(C) > 0)
    root = np.zeros((len(C), keep.size))
    root[keep] = np.linalg.cholesky(C[np.ix_(keep, keep)])
    return root


def _parameter_share(setting: Setting, x: FloatArray, root: FloatArray, type: str) -> FloatArray:
    """J C J' of each row: the sum of squared derivatives along the columns of a root of C."""
    total = np.zeros(len(setting.targets.index))
    for column in root.T:
        slope = np.zeros_like(total)
        for k, c in STENCIL:
            after, _ = _moments(setting, setting.at(x + k * STEP * column), type)
            before, _ = _moments(setting, setting.at(x - k * STEP * column), type)
            slope += c * (after - before) / STEP
        total += slope**2
    return total


# -- draws -------------------------------------------------------------------------------------------------------


def _draws(
    setting: Setting,
    x: FloatArray,
    what: tuple[str, str],
    draws: int,
    rng: np.random.Generator,
    executor: Executor | None,
    progress: bool | None,
) -> tuple[FloatArray, FloatArray]:
    """Drawn values of each row, shape (draws, m), and log weights of each group, shape (draws, groups)."""
    work = partial(_one_draw, setting, x, _parameter_root(setting.fit), what)
    found = run_tasks(work, seeds(rng, draws), executor=executor, progress=progress, label="dynamic prediction")
    good = [outcome.value for outcome in found if outcome.error is None]
    if len(good) < draws:
        first = next(outcome.error for outcome in found if outcome.error is not None)
        message = f"{draws - len(good)} of {draws} draws of the parameters failed ({first})"
        if len(good) < 0.5 * draws:
            raise NotAvailableError(f"{message}; there are too few for an interval")
        warn(SimulationWarning(f"{message}; they are left out"))
    return np.array([values for values, _ in good]), np.array([weight for _, weight in good])


def _one_draw(
    setting: Setting, x: FloatArray, root: FloatArray, what: tuple[str, str], seed: np.random.SeedSequence
) -> tuple[FloatArray, FloatArray]:
    """One draw of the parameters, then of every group's effects, then of what is asked for."""
    rng, rows = np.random.default_rng(seed), setting.targets
    known = setting.at(x + root @ rng.standard_normal(root.shape[1]))
    u, log_proposal = _draw_effects(known, rng)
    eta = setting.predictor_at(known, u)
    one, nodes = u[:, None], known.nodes
    log_joint = setting.observed.log_joint(one, one @ nodes.T.T, known.beta, known.phi)[:, 0]
    log_weight = log_joint - log_proposal - known.log_likelihoods
    type, interval = what
    if interval == "prediction":
        return draw_known(setting.fit.family, eta, rows.weights, known.phi, rng), log_weight
    return _values(setting, known.phi, eta[None], np.zeros((1, len(rows.index))), type)[0], log_weight


def _draw_effects(known: Posterior, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """u of each group from a multivariate t about its mode, and the log density of that."""
    nodes = known.nodes
    z, log_density = draw_student(nodes.mode.shape[:1], nodes.mode.shape[1], FREEDOM, rng)
    return nodes.mode + np.einsum("gkl,gl->gk", nodes.root, z), log_density - np.linalg.slogdet(nodes.root)[1]


def _quantiles(setting: Setting, drawn: tuple[FloatArray, FloatArray], level: float) -> FloatArray:
    """Weighted quantiles of each row's draws, shape (2, m)."""
    values, log_weight = drawn
    weight = np.exp(log_weight - log_weight.max(axis=0))[:, setting.targets.group]
    order = np.argsort(values, axis=0)
    share = np.cumsum(np.take_along_axis(weight / weight.sum(axis=0), order, axis=0), axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    ends = []
    for tail in (0.5 - 0.5 * level, 0.5 + 0.5 * level):
        place = np.minimum((share < tail).sum(axis=0), len(values) - 1)
        ends.append(ordered[place, np.arange(values.shape[1])])
    return np.array(ends)
