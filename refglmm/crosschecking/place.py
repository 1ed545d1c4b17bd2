r"""Where reported estimates lie among our parameters x = (par, beta, working phi).

Place in the reading order: after ``names``. x is that of :mod:`refglmm.inference.parameters`: covariance parameters on
the scale of Sigma itself, fixed effects, shape parameters on the scale on which they are estimated (a residual standard
deviation as :math:`\log\sigma^2`). What was not reported is nan there.

A :class:`Placer` keeps the way from the reported numbers to x as a function, so that half a unit of each last digit can
be carried through it, and so that the numbers can be *read* in another way: standard deviations that are really
variances, logarithms, or relative to sigma (:data:`READINGS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.crosschecking.names import find_name, match_names
from refglmm.crosschecking.reported import Covariance, Deviation, Listed, Named, Number, Reported
from refglmm.errors import ArgumentError, DataError
from refglmm.fit.varcorr import ONE_CORRELATION

if TYPE_CHECKING:
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]
#: From the values of the reported numbers to something.
Reader = Callable[[FloatArray], Any]

#: How far below zero the pivot of a rounded correlation matrix may lie.
PIVOT = 1e-3
#: GLMMadaptive's ``phis`` are logarithms of our shape parameters, except here, where they are those of the inverse.
INVERSE_SHAPES = ("gamma",)
#: Links with g(1 - mu) = -g(mu).
SYMMETRIC_LINKS = ("logit", "probit", "cauchit")
#: Links whose coefficients have a meaning as exp(beta): ratios of odds, means, hazards.
RATIO_LINKS = ("logit", "log", "cloglog")


@dataclass(frozen=True)
class Reading:
    """A way to read reported standard deviations and shapes: ``sd(value, sigma)``, ``shape(value)``."""

    name: str
    sd: Callable[[FloatArray, float], FloatArray] = lambda sd, sigma: sd
    shape: Callable[[float], float] = lambda value: value
    beta: Callable[[FloatArray], FloatArray] = lambda beta: beta
    turns: bool = False
    ratios: bool = False

    def suits(self, model: GLMM) -> bool:
        """Whether the reading makes sense: signs turn with the outcome where the link is symmetric."""
        family = model.family
        if self.ratios:
            return family.link.name in RATIO_LINKS
        return not self.turns or family.is_ordinal or (family.is_binomial and family.link.name in SYMMETRIC_LINKS)


AS_REPORTED = Reading("as reported")
#: Other things that people report under these names. Each is one slip that has been seen.
READINGS = (
    Reading("the reported standard deviations of the random effects are variances", sd=lambda s, _: np.sqrt(s)),
    Reading("the reported standard deviations of the random effects are logarithms", sd=lambda s, _: np.exp(s)),
    Reading("the reported variances of the random effects are standard deviations", sd=lambda s, _: s**2),
    Reading(
        "the reported standard deviations of the random effects are relative to sigma (theta)",
        sd=lambda s, sigma: s * sigma,
    ),
    Reading(
        "the reported standard deviations of the random effects were multiplied by sigma",
        sd=lambda s, sigma: s / sigma,
    ),
    Reading("the reported dispersion is the inverse of ours", shape=lambda value: 1.0 / value),
    Reading("the reported dispersion is the square of ours", shape=np.sqrt),
    Reading("the reported dispersion is the square root of ours", shape=lambda value: value**2),
    Reading("the reported dispersion is the logarithm of ours", shape=lambda value: float(np.exp(min(value, 700.0)))),
    Reading(
        "the reported coefficients have the opposite sign (the other outcome was modelled)",
        beta=lambda b: -b,
        turns=True,
    ),
    Reading(
        "the reported coefficients are ratios, exp of ours",
        beta=lambda b: np.log(np.where(b > 0.0, b, np.nan)),
        ratios=True,
    ),
)


@dataclass(frozen=True)
class Placer:
    """The way from reported numbers to x.

    Attributes
    ----------
    values, halves : float array, shape (m,)
        The reported numbers, and half a unit of the last digit of each.
    par : sequence of readers, one a term; each gives (sd, corr), or None where the term was not reported
    beta_at : int array, shape (p,)
        Which of the values is each coefficient; -1 not reported.
    shape : reader of the shape parameters on their natural scale (nan: not reported), given a reading
    sigma : reader of sigma, 1 where there is none
    """

    model: Any
    values: FloatArray
    halves: FloatArray
    par: tuple[Reader | None, ...]
    beta_at: NDArray[np.int64]
    shape: Callable[[FloatArray, Reading], FloatArray]
    sigma: Reader

    def x(self, values: FloatArray | None = None, reading: Reading = AS_REPORTED) -> FloatArray:
        """The parameters; nan what was not reported."""
        with np.errstate(all="ignore"):  # a reading may lead outside the domain: nan, and it is none
            return self._x(self.values if values is None else values, reading)

    def _x(self, v: FloatArray, reading: Reading) -> FloatArray:
        problem = self.model.problem
        pieces = []
        for structure, read in zip(problem.structures, self.par, strict=True):
            if read is None:
                pieces.append(np.full(structure.n_par, np.nan))
                continue
            sd, corr = read(v)
            T = reading.sd(sd, self.sigma(v))[:, None] * correlation_root(corr)
            pieces.append(structure.par_from_theta(T[structure.theta_entries]))
        beta = reading.beta(np.where(self.beta_at >= 0, v[self.beta_at], np.nan)) if v.size else self._no_beta()
        phi = self.shape(v, reading)
        working = np.array([scale.working(x) for scale, x in self._shapes(phi)], dtype=float)
        return np.concatenate([*pieces, beta, working])

    def ratios(self, reading: Reading) -> FloatArray:
        """Reported ratios, shape (p,), one where coefficients are none: the delta method's factor of their errors."""
        if not reading.ratios:
            return np.ones(self.beta_at.size)
        return np.where(self.beta_at >= 0, self.values[self.beta_at], 1.0)

    def _no_beta(self) -> FloatArray:
        return np.full(self.beta_at.size, np.nan)

    def _shapes(self, phi: FloatArray) -> list[tuple[Any, float]]:
        return list(zip(self.model.problem.family.shape_scales, phi, strict=False))

    def rounding(self, reading: Reading = AS_REPORTED) -> FloatArray:
        """How x moves with half a unit of the last digit of each number, shape (numbers with a last digit, d)."""
        x, moved = self.x(reading=reading), []
        for j in np.flatnonzero(self.halves > 0.0):
            steps = []
            for sign in (1.0, -1.0):
                values = self.values.copy()
                values[j] += sign * self.halves[j]
                try:
                    steps.append(self.x(values, reading) - x)
                except (ArgumentError, ZeroDivisionError, OverflowError):  # an edge: the other side tells as much
                    continue
            if steps:
                moved.append(np.where(np.isfinite(steps[0]), steps[0], 0.0))
        return np.array(moved).reshape(len(moved), x.size)


def correlation_root(corr: FloatArray) -> FloatArray:
    """Lower-triangular root of a correlation matrix that may be singular (or just beyond, by rounding).

    Raises
    ------
    ArgumentError
        The matrix is not positive semidefinite.
    """
    root = np.zeros_like(corr)
    for j in range(len(corr)):
        pivot = corr[j, j] - root[j, :j] @ root[j, :j]
        if pivot < -PIVOT:
            raise ArgumentError(
                "the reported correlations of the random effects cannot belong together: their matrix is not positive "
                f"definite (pivot {pivot:.3g})"
            )
        if pivot > 1e-12:
            root[j, j] = np.sqrt(pivot)
            root[j + 1 :, j] = (corr[j + 1 :, j] - root[j + 1 :, :j] @ root[j, :j]) / root[j, j]
    return root


class _Numbers:
    """Collects reported numbers and tells where each was put."""

    def __init__(self) -> None:
        self.numbers: list[Number] = []

    def add(self, number: Number) -> int:
        self.numbers.append(number)
        return len(self.numbers) - 1


def place(model: GLMM, reported: Reported) -> Placer:
    """Find the reported numbers among the parameters of the model.

    Raises
    ------
    ArgumentError
        Names that do not fit, wrong lengths, a standard deviation without the correlation that belongs to it.
    DataError
        Numbers of rows or levels that are not those of the data.
    """
    check_sizes(model, reported)
    kept = _Numbers()
    beta_at = _place_fixed(model, reported, kept)
    shape, sigma = _shape_reader(model, reported, kept)
    par = _place_random(model, reported, kept, sigma)
    values = np.array([number.value for number in kept.numbers])
    halves = np.array([number.half for number in kept.numbers])
    return Placer(model, values, halves, par, beta_at, shape, sigma)


def without_estimates(reported: Reported) -> bool:
    """Whether no estimate is reported at all, only criteria or standard errors."""
    return not (
        reported.fixef or reported.deviations or reported.listed or reported.covariances or reported.theta
    ) and not (reported.shape or reported.log_shapes)


# --- sizes -----------------------------------------------------------------------------------------------------


def check_sizes(model: GLMM, reported: Reported) -> None:
    """Refuse a report about other data."""
    rows, weights = model.frame.n, model.frame.weights
    sizes = {rows, int(np.sum(weights > 0))}
    if model.family.is_binomial:  # programs without prior weights take one row a trial
        sizes.add(round(float(np.sum(weights))))
    if reported.nobs is not None and reported.nobs not in sizes:
        raise DataError(
            f"the report is about {reported.nobs} observations, but the model has {rows} rows with these data; check "
            "missing values, subset and weights",
            reported=reported.nobs,
            rows=rows,
        )
    counts = {term.group: term.n_levels for term in model.design.terms}
    if isinstance(reported.ngroups, int):
        if reported.ngroups not in counts.values():
            text = ", ".join(f"{group}: {count}" for group, count in counts.items())
            raise DataError(f"the report is about {reported.ngroups} groups, but the data have {text}", counts=counts)
        return
    for name, count in (reported.ngroups or {}).items():
        group = next((group for group in counts if same_group(group, name)), None)
        if group is None:
            raise ArgumentError(
                f"reported ngroups has {name!r}, which is no grouping factor of the model; it has {', '.join(counts)}"
            )
        if counts[group] != count:
            raise DataError(
                f"the report is about {count} levels of {name}, but the data have {counts[group]}",
                reported=count,
                levels=counts[group],
            )


def same_group(ours: str, theirs: str) -> bool:
    """Whether two names mean the same factor: ``a:b`` is ``b:a`` and ``a/b`` in others' tables."""

    def key(name: str) -> tuple[str, ...]:
        return tuple(sorted(piece.strip() for piece in name.replace("/", ":").replace(" & ", ":").split(":")))

    return ours == theirs or key(ours) == key(theirs)


# --- fixed effects ---------------------------------------------------------------------------------------------


def coefficient_places(model: GLMM, reported: dict[str, Named], what: str) -> dict[int, Number]:
    """Where in beta the reported coefficients (or standard errors) of all parts stand."""
    found: dict[int, Number] = {}
    ours = list(model.problem.beta_names)
    for part, named in reported.items():
        wanted = [name for name in ours if _part_of(name) == part]
        label = what if part == "main" else f"{part}[{what!r}]"
        if not wanted:
            raise ArgumentError(
                f"reported {label} is given, but the model has no {part} part; give {part}= to crosscheck"
            )
        if named.names is None:
            if len(named.numbers) != len(wanted):
                raise ArgumentError(
                    f"reported {label} has {len(named.numbers)} numbers, but the model has {len(wanted)} columns "
                    f"({', '.join(wanted)})"
                )
            places: list[int] = list(range(len(wanted)))
        else:
            if part == "main" and len(reported) == 1 and all(find_name(name, ours) is not None for name in named.names):
                wanted = ours  # one mapping for all parts, with our names
            places = match_names(
                [_our_spelling(name, part) for name in named.names], wanted, label, all_of_them=what == "fixef"
            )
        found |= {ours.index(wanted[i]): number for i, number in zip(places, named.numbers, strict=True)}
    return found


def _part_of(name: str) -> str:
    part, mark, _ = name.partition("~")
    return part if mark and part in ("zi", "dispersion") else "main"


def _our_spelling(name: str, part: str) -> str:
    """A coefficient of a further part as we call it: ``zi~x``, where others have ``x`` or ``zi_x``."""
    if part == "main":
        return name
    return f"{part}~{name.removeprefix(f'{part}~').removeprefix(f'{part}_')}"


def _place_fixed(model: GLMM, reported: Reported, kept: _Numbers) -> NDArray[np.int64]:
    at = np.full(model.problem.p, -1, dtype=np.int64)
    for i, number in coefficient_places(model, reported.fixef, "fixef").items():
        at[i] = kept.add(number)
    return at


# --- shapes ----------------------------------------------------------------------------------------------------


def _shape_reader(
    model: GLMM, reported: Reported, kept: _Numbers
) -> tuple[Callable[[FloatArray, Reading], FloatArray], Reader]:
    """Readers of all shape parameters, natural scale, and of sigma."""
    names, family = list(model.problem.phi_names), model.family
    scale = bool(model.is_lmm or family.has_scale)
    ways: dict[int, tuple[int, Callable[[float], float]]] = {}
    named_first = sorted(reported.shape.items(), key=lambda item: item[0] == "sigma" and not scale)
    for name, number in named_first:  # glmer.nb has a sigma of 1 beside the size
        index, transform = _shape_place(name, number, names, scale)
        if index is not None:
            _refuse_outside(name, transform(number.value), names[index], family.shape_scales[index])
        if index is not None and index not in ways:
            ways[index] = kept.add(number), transform
    for index, number in enumerate(reported.log_shapes[: len(names)]):
        sign = -1.0 if family.name in INVERSE_SHAPES else 1.0
        ways.setdefault(index, (kept.add(number), partial(_exponential, sign)))

    def shape(v: FloatArray, reading: Reading) -> FloatArray:
        phi = np.full(len(names), np.nan)
        for index, (at, transform) in ways.items():
            phi[index] = reading.shape(transform(v[at]))
        return phi

    def sigma(v: FloatArray) -> float:
        return float(np.sqrt(shape(v, AS_REPORTED)[0])) if scale and 0 in ways else 1.0

    return shape, sigma


def _shape_place(
    name: str, number: Number, names: Sequence[str], scale: bool
) -> tuple[int | None, Callable[[float], float]]:
    """Which shape parameter a name means, and its value on our scale; None for a sigma of 1 that is none."""
    if name in names:
        index, transform = list(names).index(name), _itself
    elif not names:
        if number.value != 1.0 and name == "sigma":
            raise ArgumentError(f"reported sigma is {number.value:g}, but this family has no sigma; check family=")
        return None, _itself
    elif name == "sigma":
        index, transform = 0, _square if scale else _itself
    elif name == "shape" and scale:
        index, transform = 0, _inverse
    elif name.startswith("phi") and name[3:].isdigit() and int(name[3:]) <= len(names):
        index, transform = int(name[3:]) - 1, _itself
    elif len(names) == 1 or name in ("phi", "shape"):
        index, transform = 0, _itself
    else:
        raise ArgumentError(f"reported phi has {name!r}; the shape parameters of the model are {', '.join(names)}")
    if number.value <= 0.0 and (scale or name == "sigma"):
        raise ArgumentError(f"reported {name} is {number.value:g}; it must be positive")
    return index, transform


def _refuse_outside(name: str, value: float, ours: str, scale: Any) -> None:
    """A shape parameter that the family cannot have."""
    with np.errstate(all="ignore"):
        working = float(scale.working(value))
    if not np.isfinite(working):
        meant = "" if name == ours else f" (that is {ours} = {value:g})"
        raise ArgumentError(
            f"reported {name} is {value:g}{meant}, which the family cannot have; if it is a logarithm, report exp of "
            "it",
            value=value,
        )


def _exponential(sign: float, value: float) -> float:
    return float(np.exp(sign * value))


def _itself(value: float) -> float:
    return value


def _square(value: float) -> float:
    return value**2


def _inverse(value: float) -> float:
    return 1.0 / value


# --- random effects --------------------------------------------------------------------------------------------


def _place_random(model: GLMM, reported: Reported, kept: _Numbers, sigma: Reader) -> tuple[Reader | None, ...]:
    """A reader of (sd, corr) for each term."""
    deviations = [*reported.deviations, *(entry for row in reported.listed for entry in _with_names(model, row))]
    if reported.theta is not None and not (deviations or reported.covariances):
        return _place_theta(model, reported, kept, sigma)
    used: set[int] = set()
    readers = []
    for t in range(len(model.design.terms)):
        matrix = _from_matrix(model, t, reported.covariances, kept)
        readers.append(matrix or _from_deviations(model, t, deviations, kept, used))
    for i, entry in enumerate(deviations):
        if i not in used and entry.group != "Residual" and entry.other is None:
            raise _not_there(model, " ".join(filter(None, (entry.group, entry.name))))
    return tuple(readers)


def _not_there(model: GLMM, where: str) -> ArgumentError:
    terms = ", ".join(f"{term.label} ({', '.join(term.columns)})" for term in model.design.terms)
    return ArgumentError(f"the reported random effect {where!r} is not in the model, which has {terms}")


def _with_names(model: GLMM, row: Listed) -> list[Deviation]:
    """Numbers in the order of the model's columns by name: correlations row by row of the lower triangle."""
    if row.group is not None and not any(_is_group(term, row.group) for term in model.design.terms):
        raise _not_there(model, row.group)
    names: list[tuple[str, str, str | None]] = []
    for term, structure in zip(model.design.terms, model.problem.structures, strict=True):
        if row.group is not None and not _is_group(term, row.group):
            continue
        columns = [column for column in term.columns if _part_of(column) == row.part]
        if not row.correlations:
            names += [(term.label, column, None) for column in columns]
        elif structure.name != "diag":
            names += [(term.label, columns[i], columns[j]) for j in range(len(columns)) for i in range(j)]
    if len(names) != len(row.numbers):
        what, whose = "corr" if row.correlations else "sd", row.group or "the random effects"
        ours = ", ".join(" and ".join(filter(None, pair)) for _, *pair in names)
        raise ArgumentError(
            f"reported {what} of {whose} is a list of {len(row.numbers)}, but the model has "
            + (f"{len(names)} ({ours})" if names else "none")
        )
    return [
        Deviation(row.part, label, one, other, number)
        for (label, one, other), number in zip(names, row.numbers, strict=True)
    ]


def _place_theta(model: GLMM, reported: Reported, kept: _Numbers, sigma: Reader) -> tuple[Reader | None, ...]:
    """Entries of the factors, in the order of the terms or by name; relative to sigma in a linear mixed model."""
    theta, terms, structures = reported.theta, model.design.terms, model.problem.structures
    assert theta is not None
    names = [n for s, t in zip(structures, terms, strict=True) for n in s.theta_names(t.label, t.columns)]
    if model.is_lmm and "sigma" not in reported.shape:
        raise ArgumentError(
            "theta of a linear mixed model is relative to the residual standard deviation: report 'sigma' as well, or "
            "standard deviations ('sd') in place of theta"
        )
    if len(theta.numbers) != len(names):
        raise ArgumentError(
            f"reported theta has {len(theta.numbers)} numbers, the model {len(names)} ({', '.join(names)})"
        )
    order = range(len(names)) if theta.names is None else match_names(theta.names, names, "theta")
    at = np.empty(len(names), dtype=np.int64)
    for i, number in zip(order, theta.numbers, strict=True):
        at[i] = kept.add(number)
    readers: list[Reader | None] = []
    begin = 0
    for structure in structures:
        here = at[begin : begin + structure.n_theta]
        begin += structure.n_theta
        readers.append(_theta_reader(structure, here, sigma if model.is_lmm else _one))
    return tuple(readers)


def _one(v: FloatArray) -> float:
    return 1.0


def _theta_reader(structure: Any, at: NDArray[np.int64], sigma: Reader) -> Reader:
    def read(v: FloatArray) -> tuple[FloatArray, FloatArray]:
        T = np.zeros((structure.k, structure.k))
        T[structure.theta_entries] = v[at]
        return sd_corr(sigma(v) ** 2 * T @ T.T)

    return read


def sd_corr(cov: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Standard deviations and correlations of a covariance matrix; 0 where a standard deviation is 0."""
    sd = np.sqrt(np.maximum(np.diag(cov), 0.0))
    scale = np.where(sd > 0.0, sd, 1.0)
    corr = cov / np.outer(scale, scale)
    np.fill_diagonal(corr, 1.0)
    return sd, corr


def _from_matrix(model: GLMM, t: int, covariances: Sequence[Covariance], kept: _Numbers) -> Reader | None:
    """A reader from the covariance matrix that holds the columns of a term."""
    term = model.design.terms[t]
    for entry in covariances:
        if entry.group is not None and not _is_group(term, entry.group):
            continue
        names = [_our_spelling(_zero_name(name), _zero_part(name, entry.part)) for name in entry.names]
        places = [find_name(column, names) for column in term.columns] if names else list(range(len(term.columns)))
        if any(place is None for place in places) or (not names and len(entry.numbers) != len(places) ** 2):
            continue
        size = round(np.sqrt(len(entry.numbers)))
        at = np.array([kept.add(number) for number in entry.numbers]).reshape(size, size)[np.ix_(places, places)]  # type: ignore[arg-type]

        def read(v: FloatArray, at: NDArray[np.int64] = at) -> tuple[FloatArray, FloatArray]:
            return sd_corr(0.5 * (v[at] + v[at].T))

        return read if _can_read(model, t) else None
    return None


def _zero_part(name: str, part: str) -> str:
    """GLMMadaptive's D holds the random effects of the zero part as ``zi_x``."""
    return "zi" if name.startswith("zi_") else part


def _zero_name(name: str) -> str:
    return name.removeprefix("zi_")


def _can_read(model: GLMM, t: int) -> bool:
    return bool(model.problem.structures[t].projects)


def _is_group(term: Any, name: str) -> bool:
    """Whether a table's row belongs to the factor of a term: by label, by factor, or by factor with a number."""
    stem, _, number = name.rpartition(".")
    return term.label == name or same_group(term.group, name) or (number.isdigit() and same_group(term.group, stem))


def _from_deviations(
    model: GLMM, t: int, entries: Sequence[Deviation], kept: _Numbers, used: set[int]
) -> Reader | None:
    """A reader from standard deviations and correlations of a term's columns."""
    term, structure = model.design.terms[t], model.problem.structures[t]
    sd_at = np.full(term.k, -1, dtype=np.int64)
    pairs: list[tuple[int, int, int]] = []
    for i, entry in enumerate(entries):
        if i in used or not _belongs(model, term, entry):
            continue
        rows = _rows_of(term, entry)
        if rows is None:
            continue
        used.add(i)
        if entry.other is None:
            sd_at[rows[0]] = kept.add(entry.number)
        else:
            pairs.append((min(rows), max(rows), kept.add(entry.number)))
    if np.all(sd_at < 0) or not _can_read(model, t):
        return None
    single = structure.name in ONE_CORRELATION and len(pairs) >= 1
    if single and structure.hom:
        sd_at = np.where(sd_at < 0, sd_at[sd_at >= 0][0], sd_at)
    lacking = [column for column, at in zip(term.columns, sd_at, strict=True) if at < 0]
    if lacking:
        raise ArgumentError(f"the reported standard deviations of {term.label} lack {', '.join(map(repr, lacking))}")
    if single:
        return _one_correlation_reader(structure, sd_at, min(pairs))
    wanted = 0 if structure.name == "diag" else term.k * (term.k - 1) // 2
    if len({frozenset(pair[:2]) for pair in pairs}) < wanted:
        raise ArgumentError(
            f"standard deviations of {', '.join(term.columns)} by {term.label} are reported without their correlation"
            f"{'s' if wanted > 1 else ''}; give 'corr' (for independent random effects write || in the formula)"
        )

    def read(v: FloatArray) -> tuple[FloatArray, FloatArray]:
        corr = np.eye(term.k)
        for i, j, at in pairs:
            corr[i, j] = corr[j, i] = np.clip(v[at], -1.0, 1.0)
        return v[sd_at], corr

    return read


def _one_correlation_reader(structure: Any, sd_at: NDArray[np.int64], pair: tuple[int, int, int]) -> Reader:
    """All correlations from that of neighbouring columns, where the structure has no other: tables leave the rest out.

    The lowest pair of columns is the first two in any table.
    """
    n_sd = 1 if structure.hom else structure.k

    def read(v: FloatArray) -> tuple[FloatArray, FloatArray]:
        sd = v[sd_at]
        return sd, structure.sd_corr(np.concatenate([np.ones(n_sd), [np.clip(v[pair[2]], -1.0, 1.0)]]))[1]

    return read


def _belongs(model: GLMM, term: Any, entry: Deviation) -> bool:
    """Whether an entry may be one of the term's: its factor, or the only one, or (if not known as one) its column."""
    if entry.group is None:
        return True
    return _is_group(term, entry.group)


def _rows_of(term: Any, entry: Deviation) -> tuple[int, ...] | None:
    """Which of the term's columns an entry is about; None if none."""
    if entry.other is not None and (entry.name is None or entry.other == ""):
        return (0, 1) if term.k == 2 else None
    if entry.name is None:
        return (0,) if term.k == 1 else None
    names = [entry.name] if entry.other is None else [entry.name, entry.other]
    spelled = [_our_spelling(_zero_name(name), _zero_part(name, entry.part)) for name in names]
    rows = [find_name(name, term.columns) for name in spelled]
    return None if any(row is None for row in rows) else tuple(row for row in rows if row is not None)
