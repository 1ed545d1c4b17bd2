r"""Predictors taken from a mean: the grand mean (``gmc=``) or the mean of a cluster (``cwc=``).

Place in the reading order: after :mod:`refglmm.formula.wide`, before :mod:`refglmm.formula.frame`.

With the rows :math:`i` that a model uses, in clusters :math:`c(i)` of :math:`n_c` rows,

.. math::
    \mathtt{x} \leftarrow x_i - \bar x \quad (\mathtt{gmc}), \qquad
    \mathtt{x\_cm}_i = \bar x_{c(i)}, \quad \mathtt{x\_cwc}_i = x_i - \bar x_{c(i)} \quad (\mathtt{cwc}),
    \qquad \bar x_c = \frac1{n_c} \sum_{c(i) = c} x_i ,

so that :math:`\sum_{c(i) = c} \mathtt{x\_cwc}_i = 0` in every cluster. Grand means are taken first: of a variable in
both lists, ``x_cm`` is :math:`\bar x_c - \bar x`. In ``y ~ x_cm + x_cwc`` the coefficients are the effect between
clusters and the one within them; in ``y ~ x + x_cwc`` the effect between, and the effect within *minus* the one between
(since :math:`\beta_b \mathtt{x\_cm} + \beta_w \mathtt{x\_cwc} = \beta_b x + (\beta_w - \beta_b) \mathtt{x\_cwc}`);
in ``y ~ x + x_cm`` the effect within, and the effect between minus the one within.

The means are those of the fit, on new data too. Of new data, ``x_cwc`` and ``x_cm`` are taken as they are given; where
they are absent they are made from ``x`` and the mean that the row's cluster had in the fit.

Source: Enders and Tofighi (2007), "Centering predictor variables in cross-sectional multilevel models: a new look at an
old issue", Psychological Methods 12, 121-138.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError, DataError, FormulaWarning, MissingValuesError, warn
from refglmm.formula.convert import Table, to_column
from refglmm.formula.evaluate import Scope
from refglmm.formula.expressions import Call, Name, names_in, parse_expression, walk
from refglmm.formula.grammar import Formula, group_atoms
from refglmm.formula.transforms import TO_FACTOR
from refglmm.formula.values import Column, Factor, Logical, as_factor

FloatArray = NDArray[np.float64]
DEVIATION, MEAN = "_cwc", "_cm"
ALL = "all"


@dataclass(frozen=True)
class Centring:
    """Which variables are centred, and by what.

    Attributes
    ----------
    gmc, cwc : tuple of str
        Variables less their grand mean, and those with a deviation and a mean of the cluster.
    cluster : str or Factor or None
        R text of the cluster, or its value on each row of the data of the fit.
    env : mapping
        The caller's functions and arrays, for the cluster.
    grand : mapping of str to float
        Mean of each variable of ``gmc`` on the rows used; empty before :meth:`learn`.
    levels : tuple of str
        Clusters among the rows used.
    means : mapping of str to array, shape (levels,)
        Mean of each variable of ``cwc`` in each cluster, unit of the variable (not less its grand mean).
    """

    gmc: tuple[str, ...] = ()
    cwc: tuple[str, ...] = ()
    cluster: str | Factor | None = None
    env: Mapping[str, Any] = field(default_factory=dict)
    grand: Mapping[str, float] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    means: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def made(self) -> tuple[str, ...]:
        """Names of the variables that ``cwc=`` makes."""
        return tuple(name + end for name in self.cwc for end in (DEVIATION, MEAN))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is centred, in words."""
        grand = ", ".join(f"{name} ({mean:.6g})" for name, mean in self.grand.items())
        by = self.cluster if isinstance(self.cluster, str) else "the clusters given"
        lines = [f"Less its mean: {grand}"] if grand else []
        return (*lines, *([f"Cluster means by {by}: {', '.join(self.cwc)}"] if self.cwc else []))

    def learn(self, table: Table, rows: Callable[[Centring], NDArray[np.intp]]) -> tuple[Centring, NDArray[np.intp]]:
        """Take the means of the rows that a model uses.

        Parameters
        ----------
        table : Table
            The data, all rows.
        rows : callable
            Positions of the rows that are used, given means of *all* rows: a first look, for which variables may be
            missing, since which values are missing does not depend on the means.

        Returns
        -------
        centring : Centring
            With means.
        used : int array
            Positions of the rows that they are of.

        Raises
        ------
        MissingValuesError
            A row that is used otherwise has no cluster.
        DataError
            A variable does not vary within any cluster.
        """
        if not self.cwc:
            used = rows(self)
            return self._with_means(table, used), used
        clusters = self._clusters(table)
        everywhere = replace(self, cluster=_with_missing(clusters))  # a missing cluster is to be seen, not to drop rows
        used = rows(replace(everywhere._with_means(table, np.arange(len(table))), grand={}))
        absent = used[clusters.missing()[used]]
        if absent.size:
            name = repr(self.cluster) if isinstance(self.cluster, str) else "the cluster"
            raise MissingValuesError(
                f"cwc=: {name} is missing in {absent.size} of the rows used (first at row {table.index[absent[0]]!r}): "
                f"there is no mean to take {self.cwc[0]!r} from",
                variable=name,
                row=table.index[absent[0]],
            )
        self._refuse_constant(table, used)
        return self._with_means(table, used), used

    def _with_means(self, table: Table, used: NDArray[np.intp]) -> Centring:
        grand = {name: _mean(_numbers(table, name)[used]) for name in self.gmc}
        if not self.cwc:
            return replace(self, grand=grand)
        clusters = self._clusters(table)
        codes, levels = clusters.codes[used], tuple(clusters.levels.tolist())
        means = {name: _means(_numbers(table, name)[used], codes, len(levels)) for name in self.cwc}
        return replace(self, grand=grand, levels=levels, means=means)

    def _clusters(self, table: Table) -> Factor:
        assert self.cluster is not None
        if isinstance(self.cluster, Factor):
            return self.cluster
        return cluster_column(self.cluster, table, self.env)

    def _refuse_constant(self, table: Table, used: NDArray[np.intp]) -> None:
        codes = self._clusters(table).codes[used]
        for name in self.cwc:
            if not varies_within(_numbers(table, name)[used], codes):
                raise DataError(
                    f"cwc=: {name!r} does not vary within any cluster of the rows used, so that nothing is left when "
                    "its mean is taken from it; use it as it is, or gmc= for it",
                    variable=name,
                )

    def table_of_fit(self, table: Table) -> Table:
        """The data of the fit, with the variables that ``cwc=`` makes."""
        return self._with_made(table, lambda: self._clusters(table).codes)

    def table_of_new(self, table: Table) -> Table:
        """New data, with those of the variables that it does not have itself."""
        return self._with_made(table, functools.partial(self._known_clusters, table))

    def _with_made(self, table: Table, codes: Callable[[], NDArray[Any]]) -> Table:
        made: dict[str, Callable[[], Column]] = {}
        for name in self.cwc:
            if name + MEAN not in table:
                made[name + MEAN] = functools.partial(self._mean_of_cluster, name, codes)
            if name + DEVIATION not in table:
                made[name + DEVIATION] = functools.partial(self._deviation, name, table, codes)
        return table.with_columns(made)

    def _mean_of_cluster(self, name: str, codes: Callable[[], NDArray[Any]]) -> FloatArray:
        """x_cm on each row; missing where the cluster is."""
        return np.append(self.means[name], np.nan)[codes()] - self.grand.get(name, 0.0)

    def _deviation(self, name: str, table: Table, codes: Callable[[], NDArray[Any]]) -> FloatArray:
        """x_cwc on each row, from the mean that new data may give themselves."""
        if name not in table:
            made, source = name + DEVIATION, f"{name!r} to make it from"
            raise DataError(f"newdata has neither {made!r} nor {source}; add one of them", columns=(made, name))
        x = _numbers(table, name)
        if name + MEAN in table:
            return x - self.grand.get(name, 0.0) - _numbers(table, name + MEAN)
        return x - np.append(self.means[name], np.nan)[codes()]

    def _known_clusters(self, table: Table) -> NDArray[Any]:
        """Code of the cluster of each new row; one that the fit did not have is an error."""
        wanted = f"give {', '.join(self.made)} in newdata"
        if not isinstance(self.cluster, str):
            raise DataError(f"the clusters of cwc= were given as an array: {wanted}", columns=self.made)
        needed = () if self.cluster in table else names_in(parse_expression(self.cluster))
        lost = [name for name in needed if name not in (*table.names, *self.env)]
        if lost:
            raise DataError(f"newdata lacks the cluster {lost[0]!r} of cwc=: add it, or {wanted}", columns=self.made)
        column = cluster_column(self.cluster, table, self.env)
        codes = column.recode(np.array(self.levels, dtype=object))
        codes[np.append(np.isnan([*self.means.values()]).any(axis=0), False)[codes]] = -1  # no row of it was used
        unknown = (codes < 0) & ~column.missing()
        if unknown.any():
            row = int(np.argmax(unknown))
            level = str(column.levels[column.codes[row]])
            raise DataError(
                f"{self.cluster} {level!r} (row {table.index[row]!r} of newdata) was not in the fit, so the mean of "
                f"its {', '.join(self.cwc)} is not known: {wanted}",
                level=level,
                row=table.index[row],
            )
        return codes


def cluster_column(text: str, table: Table, env: Mapping[str, Any]) -> Factor:
    """The column of clusters that a name, an R expression or a product such as ``school:class`` stands for."""
    if text in table:
        return as_factor(table.column(text), "cluster of cwc=")
    scope = Scope(table, env)
    return functools.reduce(_product, [as_factor(scope.column(atom), "cluster of cwc=") for atom in group_atoms(text)])


def _product(a: Factor, b: Factor) -> Factor:
    """Clusters of two factors: a level for each pair that occurs."""
    pair = np.where(a.missing() | b.missing(), -1, a.codes.astype(np.int64) * len(b.levels) + b.codes)
    occurring = np.unique(pair[pair >= 0])
    labels = [f"{a.levels[code // len(b.levels)]}:{b.levels[code % len(b.levels)]}" for code in occurring.tolist()]
    codes = np.where(pair < 0, -1, np.searchsorted(occurring, pair)).astype(np.int32)
    return Factor(codes, np.array(labels, dtype=object))


def _numbers(table: Table, name: str) -> FloatArray:
    return np.asarray(table.column(name), dtype=np.float64)


def _mean(values: FloatArray) -> float:
    """Mean of the values that are not missing, exact where they are all equal."""
    return float(_means(values, np.zeros(len(values), dtype=np.intp), 1)[0])


def _means(values: FloatArray, codes: NDArray[Any], k: int) -> FloatArray:
    """Mean of each cluster: its first value plus the mean difference from that (exact where all are equal)."""
    known = ~np.isnan(values) & (codes >= 0)
    values, codes = values[known], codes[known]
    first, count = np.full(k, np.nan), np.bincount(codes, minlength=k)
    first[codes[::-1]] = values[::-1]
    total = np.bincount(codes, weights=values - first[codes], minlength=k)
    return first + np.divide(total, count, out=np.zeros(k), where=count > 0)


def _with_missing(clusters: Factor) -> Factor:
    """The clusters, with one more for the rows that have none."""
    codes = np.where(clusters.missing(), len(clusters.levels), clusters.codes)
    return Factor(codes, np.append(clusters.levels, "(missing)"))


def varies_within(values: FloatArray, codes: NDArray[Any]) -> bool:
    """Whether a variable takes two values in some cluster."""
    known = ~np.isnan(values) & (codes >= 0)
    return bool(np.any(pd.Series(values[known]).groupby(codes[known]).nunique() > 1))


# --- reading the arguments ----------------------------------------------------------------------------------


def read_centring(
    gmc: Any,
    cwc: Any,
    formulas: Sequence[Formula],
    table: Table,
    env: Mapping[str, Any],
    elsewhere: Mapping[str, Sequence[str]],
) -> tuple[Centring | None, tuple[str, ...]]:
    """Read the arguments ``gmc=`` and ``cwc=`` of a model.

    Parameters
    ----------
    gmc : "all", str, sequence of str or None
        "all": every numeric predictor of the formulas.
    cwc : mapping, pair or None
        ``{"cluster": ..., "pars": ..., "replace": ...}`` or ``(cluster, pars)``. The cluster is a column, an R
        expression, a product ``a:b`` of them or one value per row; "all" (also where there are no pars) is every
        numeric predictor that varies within some cluster.
    formulas : sequence of Formula
        Of all parts; the first one has the response.
    table : Table
        Data in long form.
    elsewhere : mapping
        What a centred variable cannot be besides: "the offset", "the weights" -> names.

    Returns
    -------
    centring : Centring or None
        Without means yet.
    replaced : tuple of str
        Variables whose deviations take their place in the formulas.

    Raises
    ------
    ArgumentError, DataError
    """
    if gmc is None and cwc is None:
        return None, ()
    predictors = _numeric_predictors(formulas, table)
    grand = _wanted("gmc", gmc, predictors, table)
    for what, names in elsewhere.items():
        grand = _refuse_elsewhere(grand, gmc == ALL, what, names)
    if cwc is None:
        return Centring(grand), ()
    cluster, pars, in_place = _read_cwc(cwc)
    clusters = _read_cluster(cluster, table, env)
    factor = clusters if isinstance(clusters, Factor) else cluster_column(clusters, table, env)
    names = _wanted("cwc", pars, predictors, table)
    if isinstance(pars, str) and pars == ALL:
        groups = elsewhere.get("a grouping factor", ())
        names = tuple(n for n in names if n not in groups and varies_within(_numbers(table, n), factor.codes))
    centring = Centring(grand, names, clusters, env)
    for name in centring.made:
        if name in table:
            raise DataError(f"cwc= makes {name!r}, but the data has such a column; rename or drop it", column=name)
    if not in_place and names:
        _note_unused(centring, formulas)
    return centring, names if in_place else ()


def _read_cwc(cwc: Any) -> tuple[Any, Any, bool]:
    """Cluster, variables, and whether they are replaced."""
    form = "cwc= is {'cluster': 'g', 'pars': ['x']}, with 'replace': True if need be, or ('g', ['x'])"
    if isinstance(cwc, Mapping):
        unknown = [name for name in cwc if name not in ("cluster", "pars", "replace")]
        if unknown or "cluster" not in cwc or not isinstance(cwc.get("replace", False), bool):
            raise ArgumentError(f"{form}, not {dict(cwc)!r}")
        return cwc["cluster"], cwc.get("pars", ALL), cwc.get("replace", False)
    if isinstance(cwc, tuple | list) and len(cwc) == 2:
        return cwc[0], cwc[1], False
    raise ArgumentError(f"{form}, not {cwc!r}")


def _read_cluster(cluster: Any, table: Table, env: Mapping[str, Any]) -> str | Factor:
    if isinstance(cluster, str):
        try:
            cluster_column(cluster, table, env)
        except DataError as error:
            raise DataError(f"cluster of cwc=: {error}", **error.facts) from None
        return cluster
    if isinstance(cluster, pd.Series) and cluster.index.is_unique and table.index.isin(cluster.index).all():
        cluster = cluster.reindex(table.index)
    return as_factor(to_column(cluster, "cluster of cwc=", len(table)), "cluster of cwc=")


def _numeric_predictors(formulas: Sequence[Formula], table: Table) -> tuple[str, ...]:
    """Numeric columns among the predictors, those that are made into factors or only offsets left out."""
    nodes = [parse_expression(t) for f in formulas for t in (f.fixed, *(term.expression for term in f.random))]
    within = {n for node in nodes for call in walk(node) if isinstance(call, Call) and call.function in TO_FACTOR
              for n in names_in(call)}  # fmt: skip
    names = dict.fromkeys(n for node in nodes for n in names_in(node))
    bases = [_base(name) if name not in table else name for name in names if name not in within]
    return tuple(n for n in dict.fromkeys(bases) if n in table and isinstance(table.column(n), np.ndarray))


def _base(name: str) -> str:
    """x of x_cwc and of x_cm."""
    return name.removesuffix(DEVIATION) if name.endswith(DEVIATION) else name.removesuffix(MEAN)


def _wanted(argument: str, given: Any, predictors: tuple[str, ...], table: Table) -> tuple[str, ...]:
    """Variables that an argument names, each numeric."""
    if given is None:
        return ()
    if isinstance(given, str):
        if given == ALL:
            return predictors
        given = [given]
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise ArgumentError(f"{argument}= takes names of variables or 'all', not {given!r}")
    names = tuple(dict.fromkeys(map(str, given)))
    for name in names:
        if name not in table:
            near = difflib.get_close_matches(name, table.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"columns are {', '.join(table.names)}"
            raise DataError(f"{argument}=: the data has no column {name!r}; {hint}", column=name)
        column = table.column(name)
        if not isinstance(column, np.ndarray):
            kind = "truth values" if isinstance(column, Logical) else "a factor or text"
            raise DataError(f"{argument}=: column {name!r} is {kind}; only numbers have a mean", column=name)
    return names


def _refuse_elsewhere(names: tuple[str, ...], is_all: bool, what: str, others: Sequence[str]) -> tuple[str, ...]:
    """Drop (of "all") or refuse variables that are more than predictors."""
    for name in names:
        if name in others and not is_all:
            raise ArgumentError(
                f"gmc= would centre {name!r} where it stands as {what}, too; centre a copy of it, or write "
                f"center({name}) in the formula",
                variable=name,
            )
    return tuple(name for name in names if name not in others)


def _note_unused(centring: Centring, formulas: Sequence[Formula]) -> None:
    """Say when nothing in the formula is centred: in other software cwc= changes the variable itself."""
    used = {name for f in formulas for name in f.variables}
    for name in centring.cwc:
        if name in used and not used & {name + DEVIATION, name + MEAN}:
            warn(
                FormulaWarning(
                    f"cwc= makes {name + DEVIATION} and {name + MEAN}, but the formula has only {name}, which is not "
                    "centred; use them, or give 'replace': True",
                    variable=name,
                )
            )


def in_place(formula: Formula, names: Iterable[str]) -> Formula:
    """Return the formula with deviations in place of the variables, everywhere among its predictors."""
    return formula.renamed({name: Name(name + DEVIATION) for name in names})
