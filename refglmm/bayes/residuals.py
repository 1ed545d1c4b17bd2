r"""Residual correlation and residual standard deviations by cell: what the arguments of a model mean.

Place in the reading order: after ``priors``, whose shape parameters it replaces; before ``posterior``, which takes its
rows and kernel (:mod:`refglmm.families.correlated_rows`, where the densities stand).

Rows belong to independent blocks (``resid_group``), and within a block to times (``resid_time``). T is the number of
distinct times. With the standard deviation :math:`\sigma_c` of each cell of ``sigma_by`` (else one),

.. math:: Cov(y_i, y_j) = \sigma_{c(i)}\sigma_{c(j)} R_{ij}/\sqrt{a_i a_j}

==========  ===============================================  ==========================================================
kind        R_ij                                             prior
==========  ===============================================  ==========================================================
``ar1``     rho^gap, whole gaps                              rho uniform on (-1, 1); on (0, 1) if all gaps are even,
                                                             when its sign cannot be seen
``car1``    rho^gap, any gap                                 rho, the correlation at distance one, uniform on (0, 1)
``cs``      rho                                              rho uniform on (-1/(T - 1), 1)
``toep``    one number for each lag                          partial autocorrelations independent, uniform on (-1, 1)
``un``      one number for each pair of times                uniform over correlation matrices, LKJ(1), or as the
                                                             prior's ``lkj_eta`` says; under ``prior_flat`` uniform
                                                             partial correlations: the mode is the maximum likelihood
==========  ===============================================  ==========================================================

Numbers are times with their real gaps (ranks only for ``un``); the levels of a factor are 0, 1, ...; without
``resid_time`` the rows of a block are, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.distributions import LKJ, Flat, PartialCorrelation, Uniform
from refglmm.bayes.priors import ResolvedPriors, make_scalar
from refglmm.bayes.scalar import Scalar
from refglmm.bayes.scalars import ABOVE
from refglmm.errors import (
    ArgumentError,
    DataError,
    IdentificationWarning,
    NotAvailableError,
    WeightsError,
    warn,
)
from refglmm.families.correlated_rows import (
    AUTOREGRESSIVE,
    EXCHANGEABLE,
    INDEPENDENT,
    TOEPLITZ,
    UNSTRUCTURED,
    autocorrelations_of,
    block_densities,
    correlations_of,
    log_likelihood,
)
from refglmm.families.fused import Rows
from refglmm.formula.grammar import Formula, parse
from refglmm.formula.values import Factor, Logical, as_factor

if TYPE_CHECKING:
    from refglmm.bayes.prior_kinds import Prior
    from refglmm.bayes.target import Target
    from refglmm.formula.convert import Table
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

KINDS = {
    "ar1": AUTOREGRESSIVE,
    "car1": AUTOREGRESSIVE,
    "cs": EXCHANGEABLE,
    "toep": TOEPLITZ,
    "un": UNSTRUCTURED,
}
ARGUMENTS = ("sigma_by", "resid_corr", "resid_group", "resid_time")
#: Families, and the name of eta's link, whose residuals are on the scale of eta.
FAMILIES = {"gaussian": "identity", "student_t": "identity", "lognormal_log": "log"}
#: Relative distance at which gaps of numeric times count as whole, or as equal.
WHOLE = 1e-8


# -- arguments ---------------------------------------------------------------------------------------------


def residual_columns(table: Table, sigma_by: Any, resid_corr: Any, resid_group: Any, resid_time: Any) -> list[Formula]:
    """The columns that the arguments name, as a formula (a list of none or one), for the rows to be complete in them.

    Raises
    ------
    ArgumentError
        An unknown kind of correlation; arguments of the wrong type, or without ``resid_corr``.
    DataError
        A column that the data does not have.
    """
    if resid_corr is not None and resid_corr not in KINDS:
        raise ArgumentError(f"resid_corr must be one of {', '.join(KINDS)}, not {resid_corr!r}", resid_corr=resid_corr)
    if resid_corr is None and (resid_group is not None or resid_time is not None):
        raise ArgumentError(f"resid_group= and resid_time= need resid_corr= (one of {', '.join(KINDS)})")
    names: list[str] = []
    for argument, given in (("sigma_by", sigma_by), ("resid_group", resid_group), ("resid_time", resid_time)):
        for name in _names(argument, given, table):
            if name not in table:
                known = ", ".join(table.names)
                raise DataError(f"{argument}: the data has no column {name!r}; columns are {known}", column=name)
            names.append(name)
    return [parse("~ " + " + ".join(f"`{name}`" for name in dict.fromkeys(names)))] if names else []


def _names(argument: str, given: Any, table: Any) -> list[str]:
    """Columns that one argument names."""
    if given is None or (argument == "sigma_by" and isinstance(given, str) and given == "all"):
        return []
    if argument == "resid_time" and not isinstance(given, str):
        raise ArgumentError(f"resid_time must be the name of one column, not {given!r}")
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, Sequence) or not listed or not all(isinstance(name, str) for name in listed):
        raise ArgumentError(f"{argument} must be the name of a column, or a list of names, not {given!r}")
    products = [[name] if name in table else [part.strip() for part in name.split(":")] for name in listed]
    return [name for product in products for name in product]


def read_residuals(model: GLMM) -> Residuals | None:
    """What the arguments of a model say of its residuals; None if they say nothing.

    Raises
    ------
    NotAvailableError
        A family without residuals on the scale of eta.
    ArgumentError, DataError, WeightsError
        No grouping; two rows at one time of a block; times that the kind cannot use; no two rows in any block; weights
        zero, or other than one where they count repetitions.

    Warns
    -----
    IdentificationWarning
        The correlation and a random intercept of the blocks explain the same thing.
    """
    kind, by = model.arguments["resid_corr"], model.arguments["sigma_by"]
    if kind is None and by is None:
        return None
    _check_family(model)
    cell, cells = _cells(model, by)
    n = model.problem.n
    if kind is None:
        plain = np.arange(n)
        rows = _rows(model, plain, np.zeros(n), plain, cell, INDEPENDENT)
        return Residuals(None, model.family, plain, rows, cells, (), tuple(map(str, model.frame.index)), (0.0, 0.0))
    group, labels, name = _blocks(model)
    time, times = _times(model, kind, group)
    order = np.lexsort((time, group))
    _refuse_ties(model, group, time, order, labels, name)
    bounds = _bounds(kind, group[order], time[order], len(times))
    order = _by_pattern(group, time, order)
    _warn_of_intercept(model, kind, group, name)
    codes = np.concatenate([[0], np.cumsum(np.diff(group[order]) != 0)])
    rows = _rows(model, order, time, codes, cell, KINDS[kind])
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    blocks = tuple(labels[g] for g in group[order][starts])
    return Residuals(kind, model.family, order, rows, cells, times, blocks, bounds)


def _check_family(model: GLMM) -> None:
    """Raise for families without residuals on the scale of eta, and weights that mean something else."""
    family, weights = model.family, model.problem.weights
    if FAMILIES.get(family.name) != family.link.name or model.part_formulas:
        raise NotAvailableError(
            "resid_corr= and sigma_by= are for gaussian and student_t models with identity link and for lognormal_log, "
            f"with one linear predictor; for {model.family.display} use a correlated random effect, such as "
            "ar1(0 + time | g)"
        )
    if np.any(weights <= 0.0):
        raise WeightsError("with resid_corr= or sigma_by= weights must be positive; leave rows out by subset=")
    if family.name != "gaussian" and np.any(weights != 1.0):
        raise WeightsError(
            f"weights of a {family.name} model count repetitions of rows, which correlated residuals (or those of "
            "cells) do not have; leave weights= out"
        )


def _cells(model: GLMM, by: Any) -> tuple[IntArray, tuple[str, ...]]:
    """Cell of each row, and the labels of the cells that occur."""
    n, columns = model.problem.n, model.frame.raw
    if by is None:
        return np.zeros(n, dtype=np.int64), ("",)
    if isinstance(by, str) and by == "all":
        used = model.frame.formula.without_random().variables
        names = [x for x in used if isinstance(columns.get(x), Factor | Logical) and x != model.frame.formula.response]
        if not names:
            raise ArgumentError("sigma_by='all' means the factors among the predictors, of which there is none")
    else:
        names = _names("sigma_by", by, columns)
    return _crossed([as_factor(columns[name], name) for name in names])


def _crossed(factors: list[Factor]) -> tuple[IntArray, tuple[str, ...]]:
    """Codes and labels of the combinations that occur, the first factor slowest."""
    whole = np.zeros(len(factors[0]), dtype=np.int64)
    for factor in factors:
        whole = whole * len(factor.levels) + factor.codes
    _, first, codes = np.unique(whole, return_index=True, return_inverse=True)
    labels = [":".join(str(factor.levels[factor.codes[i]]) for factor in factors) for i in first]
    return codes.astype(np.int64), tuple(labels)


def _blocks(model: GLMM) -> tuple[IntArray, tuple[str, ...], str]:
    """Block of each row, labels of the blocks, and what they are called."""
    given = model.arguments["resid_group"]
    if given is not None:
        names = _names("resid_group", given, model.frame.raw)
        return *_crossed([as_factor(model.frame.raw[name], name) for name in names]), ":".join(names)
    if not model.design.terms:
        raise ArgumentError("the model has no grouping factor: say with resid_group= which rows are correlated")
    term = model.design.terms[0]
    return term.codes.astype(np.int64), tuple(map(str, term.grouping.level_names)), term.group


# -- times -------------------------------------------------------------------------------------------------


def _times(model: GLMM, kind: str, group: IntArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Time of each row as the kernel takes it, and labels of the distinct times."""
    name = model.arguments["resid_time"]
    if kind == "car1" and (name is None or isinstance(model.frame.raw[name], Factor | Logical)):
        raise ArgumentError("resid_corr='car1' needs a numeric resid_time=; 'ar1' takes factors and the order of rows")
    if name is None:
        position = _position_in_block(group)
        return position, tuple(str(t + 1) for t in range(int(position.max()) + 1))
    column = model.frame.raw[name]
    if isinstance(column, Factor | Logical):
        factor = as_factor(column, name).drop_unused()
        return factor.codes.astype(np.float64), tuple(map(str, factor.levels))
    time = np.asarray(column, dtype=np.float64)
    distinct, rank = np.unique(time, return_inverse=True)
    labels = tuple(f"{t:.10g}" for t in distinct)
    if kind == "toep":
        return _even_positions(distinct, name)[rank], labels
    return rank.astype(np.float64) if kind == "un" else time, labels


def _position_in_block(group: IntArray) -> FloatArray:
    """0, 1, ... for the rows of each block, in their order."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(np.append(starts, group.size))
    position = np.empty(group.size)
    position[order] = np.arange(group.size) - np.repeat(starts, sizes)
    return position


def _even_positions(distinct: FloatArray, name: str) -> FloatArray:
    """0, 1, ... for equally spaced times."""
    gaps = np.diff(distinct)
    if gaps.size and np.ptp(gaps) > WHOLE * gaps.max():
        raise DataError(
            f"resid_corr='toep' has one correlation for each lag, so the times in {name!r} must be equally spaced; "
            f"their gaps range from {gaps.min():g} to {gaps.max():g}. Use 'car1' or 'un', or make {name!r} a factor to "
            "count positions",
            column=name,
        )
    return np.arange(distinct.size, dtype=np.float64)


def _refuse_ties(
    model: GLMM, group: IntArray, time: FloatArray, order: IntArray, labels: tuple[str, ...], name: str
) -> None:
    """Raise for two rows at one time of a block, and where no block has two rows."""
    same = np.diff(group[order]) == 0
    tied = np.flatnonzero(same & (np.diff(time[order]) == 0.0))
    if tied.size:
        i, j = sorted(order[[tied[0], tied[0] + 1]])
        label, index = labels[group[i]], model.frame.index
        raise DataError(
            f"rows {index[i]!r} and {index[j]!r} have the same {model.arguments['resid_time']!r} in block {label!r} of "
            f"{name}; resid_corr= needs one row at each time of a block (choose resid_group= more finely)",
            block=label,
            rows=(index[i], index[j]),
        )
    if not same.any():
        raise DataError(f"every block of {name} has one row: there is no residual correlation to estimate", group=name)


def _bounds(kind: str, group: IntArray, time: FloatArray, n_times: int) -> tuple[float, float]:
    """Bounds of rho (of each partial correlation); rows sorted by block and time."""
    if kind == "car1":
        return 0.0, 1.0
    if kind == "cs":
        return -1.0 / (n_times - 1), 1.0
    if kind != "ar1":
        return -1.0, 1.0
    gaps = np.diff(time)[np.diff(group) == 0]
    off = np.abs(gaps - np.round(gaps))
    if np.any(off > WHOLE * gaps):
        raise DataError(
            f"resid_corr='ar1' needs whole gaps between times; one is {gaps[np.argmax(off)]:g}. Use 'car1', or make "
            "the time a factor to count positions"
        )
    return (0.0 if np.all(np.round(gaps) % 2.0 == 0.0) else -1.0), 1.0


def _by_pattern(group: IntArray, time: FloatArray, order: IntArray) -> IntArray:
    """The order (by block and time) with the blocks of equal times one after the other."""
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    pieces = np.split(order, starts[1:])
    first_seen: dict[bytes, int] = {}
    pattern = [first_seen.setdefault(time[piece].tobytes(), len(first_seen)) for piece in pieces]
    return np.concatenate([pieces[b] for b in np.argsort(pattern, kind="stable")])


def _warn_of_intercept(model: GLMM, kind: str, group: IntArray, name: str) -> None:
    """Warn where a random intercept of the blocks and R explain the same."""
    for term in model.design.terms:
        pairs = np.unique(np.column_stack([term.codes, group]), axis=0)
        alike = len(pairs) == len(np.unique(group)) == len(np.unique(term.codes))
        if alike and "(Intercept)" in term.columns and kind in ("cs", "toep", "un"):
            warn(
                IdentificationWarning(
                    f"resid_corr={kind!r} within {name} and the random intercept (1 | {term.group}) both make the rows "
                    "of a block alike: the data cannot tell them apart. Leave out one of the two",
                    group=term.group,
                )
            )


def _rows(model: GLMM, order: IntArray, time: FloatArray, block: IntArray, cell: IntArray, structure: int) -> Rows:
    """Rows in the kernel's order; lognormal ones as log y."""
    y, weights = model.problem.y[order], model.problem.weights[order]
    base = 0.5 * np.log(weights)
    if model.family.name == "lognormal_log":
        y = np.log(y)
        base -= y
    codes = (np.ascontiguousarray(a, dtype=np.int64) for a in (block, cell[order], [structure]))
    return Rows(np.ascontiguousarray(y), weights.copy(), base, np.ascontiguousarray(time[order]), *codes)


# -- what comes of them ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residual correlation and standard deviations of one model.

    Attributes
    ----------
    kind : str or None
        "ar1", "car1", "cs", "toep", "un"; None for independent rows.
    family : Family
    order : int array, shape (n,)
        Row of the model at each place of ``rows``.
    rows : Rows
        By block and time.
    cells : tuple of str
        Labels of the cells that have a standard deviation; one empty text if there is one for all.
    times : tuple of str
        Labels of the distinct times.
    blocks : tuple of str
        Labels of the blocks, in the order of ``rows``; of the rows where these are independent.
    bounds : (low, high)
        Of rho, or of each partial correlation.
    """

    kind: str | None
    family: Any
    order: IntArray
    rows: Rows
    cells: tuple[str, ...]
    times: tuple[str, ...]
    blocks: tuple[str, ...]
    bounds: tuple[float, float]

    #: The kernel of the posterior.
    log_likelihood = staticmethod(log_likelihood)

    @property
    def is_student(self) -> bool:
        """Whether there are degrees of freedom among the shape parameters."""
        return bool(self.family.name == "student_t")

    @property
    def n_corr(self) -> int:
        """Parameters of R."""
        T = len(self.times)
        return {None: 0, "toep": T - 1, "un": T * (T - 1) // 2}.get(self.kind, 1)

    @property
    def start(self) -> FloatArray:
        """Correlations to start a search from, shape (n_corr,).

        Zero; but where no distance g in time is one, rho such that rows at the smallest one correlate by 0.3: rho^g has
        no slope at zero for g = 2, 3, ..., and for large g hardly any far from the right value.
        """
        values = np.zeros(self.n_corr)
        if self.kind in ("ar1", "car1"):
            smallest = np.diff(self.rows.time)[np.diff(self.rows.block) == 0].min()
            if self.kind == "car1" or smallest > 1.0:
                values[0] = 0.3 ** (1.0 / smallest)
        return values

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        """(Row, column) of the lower triangle of R, by rows."""
        return [(i, j) for i in range(len(self.times)) for j in range(i)]

    def _correlations(self, prior: Prior) -> list[Scalar]:
        """Parameters of R with their priors."""
        low, high = self.bounds
        if self.kind is None:
            return []
        if self.kind == "toep":
            uniform = PartialCorrelation(1.0)
            return [make_scalar(f"partial_resid[{k}]", "shape", uniform, low, high) for k in range(1, len(self.times))]
        if self.kind == "un":
            eta = prior.settings.get("lkj_eta", None if prior.kind == "flat" else 1.0)
            laws = [
                PartialCorrelation(1.0) if eta is None else LKJ(eta).partial(len(self.times), j + 1)
                for _, j in self._pairs
            ]
            names = [f"partial_resid[{self._pair(i, j)}]" for i, j in self._pairs]
            return [make_scalar(name, "shape", law, low, high) for name, law in zip(names, laws, strict=True)]
        return [make_scalar("rho_resid", "shape", Uniform(low, high), low, high)]

    def _pair(self, i: int, j: int) -> str:
        return f"{self.times[j]},{self.times[i]}"

    def priors(self, resolved: ResolvedPriors) -> ResolvedPriors:
        """The priors of a model with these shape parameters in place of the family's.

        The standard deviation of each cell has the prior of sigma.

        Raises
        ------
        NotAvailableError
            A prior that measures slopes in units of sigma, where there are several.
        """
        if len(self.cells) > 1 and resolved.slope_hyper.size and resolved.slope_hyper[0] >= 0.0:
            raise NotAvailableError(
                f"prior_{resolved.prior.kind} measures slopes in units of sigma, of which sigma_by= makes "
                f"{len(self.cells)}; use prior_normal or prior_weak"
            )
        entries = list(zip(resolved.scalars, resolved.sources, strict=True))
        first = next((j for j, (s, _) in enumerate(entries) if s.block in ("shape", "other")), len(entries))
        last = first + sum(s.block == "shape" for s, _ in entries)
        shape = self._shapes(entries[first:last])
        entries[first:last] = [*shape, *((s, f"resid_corr={self.kind!r}") for s in self._correlations(resolved.prior))]
        scalars, sources = zip(*entries, strict=True)
        return replace(
            resolved, scalars=tuple(scalars), sources=tuple(sources), shape_power=np.ones(len(shape) + self.n_corr)
        )

    def _shapes(self, estimated: list[tuple[Scalar, str]]) -> list[tuple[Scalar, str]]:
        """(Scalar, source) of the standard deviations, and of nu of a t; known ones are fixed."""
        names = ("sigma", "nu") if self.is_student else ("sigma",)
        known = [
            (Scalar(name, "shape", ABOVE, Flat(), 0.0, np.inf, float(value)), "known")
            for name, value in zip(names[len(estimated) :], self.family.fixed_shape, strict=True)
        ]
        (sigma, source), *others = [*estimated, *known]
        labels = [f"sigma[{cell}]" if cell else "sigma" for cell in self.cells]
        return [*((replace(sigma, name=label), source) for label in labels), *others]

    # -- what is reported ----------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what :meth:`report` gives."""
        sds = [f"sigma[{cell}]" if cell else "sigma" for cell in self.cells]
        correlations = [] if self.kind is None else ["rho_resid"]
        if self.kind == "toep":
            correlations = [f"rho_resid[{lag}]" for lag in range(1, len(self.times))]
        if self.kind == "un":
            correlations = [f"corr_resid[{self._pair(i, j)}]" for i, j in self._pairs]
        return (*sds, *(["nu"] if self.is_student else []), *correlations)

    def report(self, shapes: FloatArray) -> FloatArray:
        """Correlations in place of partial ones, shape (m, number of shape parameters)."""
        first = shapes.shape[1] - self.n_corr
        R = np.ascontiguousarray(shapes[:, first:])
        if self.kind in ("toep", "un"):
            R = autocorrelations_of(R) if self.kind == "toep" else correlations_of(R, len(self.times))
        return np.hstack([shapes[:, :first], R])

    # -- for the posterior ------------------------------------------------------------------------------------------

    def sorted(self, target: Target) -> Target:
        """A target with its rows in the kernel's order."""
        return target._replace(
            rows=self.rows,
            offset=target.offset[self.order],
            Xt=np.array(target.Xt[:, self.order], order="C"),
            z_at=np.array(target.z_at[self.order], order="C"),
            z=np.array(target.z[self.order], order="C"),
        )

    def log_lik(self, eta: FloatArray, shapes: FloatArray) -> FloatArray:
        """Log density of each block (in the order of ``blocks``) at each eta, shape (m, n); new, shape (m, blocks)."""
        values = np.empty((len(eta), len(self.blocks)))
        s, d_phi = np.empty(eta.shape[1]), np.empty(shapes.shape[1])
        for m in range(len(eta)):
            block_densities(self.rows, eta[m, self.order], np.ascontiguousarray(shapes[m]), s, d_phi, values[m])
        return values
