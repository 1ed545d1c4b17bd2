r"""What another program or a paper reports, in one form, with the precision of every number.

Place in the reading order: first of ``crosschecking``. :func:`read_reported` takes a mapping, JSON text, the path of a
JSON file, or a fitted object of another library (:mod:`.adapters`), under lme4's, glmmTMB's, GLMMadaptive's or
statsmodels' names of things, and refuses what cannot be meant.

**Precision.** A number printed with d decimals stands for an interval of half width :math:`\tfrac12 10^{-d}`. Trailing
zeros are lost on the way (0.6420 becomes 0.642), so that the numbers of one table are read together: each has at least
as many decimals as the others, or as many significant digits, whichever is fewer. Zeros and ones among themselves (a
variance of exactly 0) are exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refglmm.crosschecking import adapters
from refglmm.errors import ArgumentError, DataError

#: Canonical key -> other spellings of it.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "program": ("package", "software"),
    "version": ("versions",),
    "kind": (),
    "formula": (),
    "family": (),
    "link": (),
    "n_agq": ("nAGQ", "nagq"),
    "reml": ("REML", "is_reml"),
    "nobs": ("n_obs", "n"),
    "ngroups": ("ngrps", "n_groups", "n_group"),
    "fixef": ("betas", "beta", "coefficients", "params", "cond", "fe_params"),
    "se": ("se_betas", "bse", "std_errors", "se_beta"),
    "varcorr": ("VarCorr", "varcorr_cond"),
    "sd": ("sds", "std_dev"),
    "var": ("vars", "variance", "variances"),
    "corr": ("cor", "correlation"),
    "D": (),
    "theta": (),
    "phi": ("family_params", "size", "nb_theta"),
    "phis": (),
    "sigma": (),
    "shape": (),
    "loglik": ("logLik", "llf", "log_likelihood"),
    "aic": ("AIC",),
    "bic": ("BIC",),
    "deviance": ("Deviance",),
    "minus_two_loglik": ("minus2ll", "minus2logLik", "m2ll"),
    "zi": (),
    "gammas": (),
    "se_gammas": (),
    "varcorr_zi": (),
    "dispersion": (),
}
_KEY_OF = {spelling: key for key, others in SPELLINGS.items() for spelling in (key, *others)}
#: What estimates can be.
KINDS = ("maximum", "map", "variational", "posterior")
#: Programs that may stand in a table of versions.
PROGRAMS = ("lme4", "glmmTMB", "GLMMadaptive", "MixedModels", "statsmodels", "bambi", "refglmm")
CRITERIA = ("loglik", "minus_two_loglik", "aic", "bic", "deviance")
#: Keys one of which says something that can be checked.
CHECKABLE = ("fixef", "se", "varcorr", "sd", "var", "D", "theta", "phi", "phis", "sigma", "shape", "zi", *CRITERIA)
#: glmmTMB's names of shape parameters -> ours.
TMB_SHAPES = {"Student-t df": "df", "Tweedie power": "p"}
#: What a part of a model with several predictors may hold.
PART_KEYS = ("fixef", "se", "varcorr", "sd", "var", "corr")


class Number(NamedTuple):
    """A reported number, and half a unit of its last digit."""

    value: float
    half: float


@dataclass(frozen=True)
class Named:
    """Numbers by name, or (``names`` None) in the order of the model's columns."""

    names: tuple[str, ...] | None
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Deviation:
    """A standard deviation (``other`` None) or correlation of random effects; ``group`` None: the only factor."""

    part: str
    group: str | None
    name: str | None
    other: str | None
    number: Number


@dataclass(frozen=True)
class Listed:
    """Standard deviations, or (``correlations``) correlations, in the order in which lme4 prints them."""

    part: str
    group: str | None
    correlations: bool
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Covariance:
    """A covariance matrix of random effects; ``numbers`` row by row."""

    part: str
    group: str | None
    names: tuple[str, ...]
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Reported:
    """Somebody else's results. Parts of the model go by "main", "zi" and "dispersion".

    Attributes
    ----------
    program, version, formula, family, link : str or None
    kind : {"maximum", "map", "variational", "posterior"}
        What the estimates are.
    n_agq, reml, nobs : what they say they did
    ngroups : mapping of factor to levels, a number, or None
    fixef, se : mapping of part to Named
    deviations : standard deviations and correlations of random effects
    listed : the same without names, in the model's order
    covariances : covariance matrices of random effects
    theta : entries of the relative covariance factor, lme4's order
    shape : mapping of "sigma", "phi", "shape" (1/phi) or a name of the family's to Number
    log_shapes : logarithms of shape parameters in the family's order (GLMMadaptive's ``phis``)
    criteria : mapping of "loglik", "aic", ... to Number
    unread : keys that mean nothing here
    """

    program: str | None = None
    version: str | None = None
    kind: str = "maximum"
    formula: str | None = None
    family: str | None = None
    link: str | None = None
    n_agq: int | None = None
    reml: bool | None = None
    nobs: int | None = None
    ngroups: dict[str, int] | int | None = None
    fixef: dict[str, Named] = field(default_factory=dict)
    se: dict[str, Named] = field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()
    listed: tuple[Listed, ...] = ()
    covariances: tuple[Covariance, ...] = ()
    theta: Named | None = None
    shape: dict[str, Number] = field(default_factory=dict)
    log_shapes: tuple[Number, ...] = ()
    criteria: dict[str, Number] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def who(self) -> str:
        """How a sentence calls the source."""
        if self.program is None:
            return "The report"
        return f"{self.program} {self.version}" if self.version else self.program


# --- where it comes from ---------------------------------------------------------------------------------------


def read_reported(source: Any) -> Reported:
    """Read what was reported.

    Parameters
    ----------
    source : mapping, str, path, or a fitted object of another library
        Keys as in :data:`SPELLINGS`; text is JSON if it begins with a brace, else the path of a JSON file.

    Raises
    ------
    ArgumentError
        Nothing that can be checked, values that are no numbers, negative standard deviations, correlations beyond 1.
    DataError
        A file that cannot be read or is not JSON.
    """
    if isinstance(source, Reported):
        return source
    if isinstance(source, str | Path):
        source = _from_text(source)
    elif not isinstance(source, Mapping):
        source = adapters.from_object(source)
    if adapters.is_own(source):
        source = adapters.from_own(source)
    unread = tuple(str(key) for key in source if str(key) not in _KEY_OF)
    return _arranged(_canonical(source), unread)


def _from_text(source: str | Path) -> Any:
    """Parse JSON, numbers as they are printed."""
    text, where = str(source), "the reported JSON text"
    if isinstance(source, Path) or not text.lstrip().startswith("{"):
        where = f"file {text}"
        try:
            text = Path(source).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DataError(f"there is no {where} with reported results") from None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the reported results from {where}: {error}") from None
    try:
        values = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    if isinstance(values, list) and len(values) == 1:
        values = values[0]
    if not isinstance(values, dict):
        raise DataError(f"{where} must hold one object with keys such as 'fixef', not a {type(values).__name__}")
    return values


def _canonical(source: Mapping[Any, Any]) -> dict[str, Any]:
    """The same under canonical keys; null values and keys that mean nothing here are left out."""
    found: dict[str, Any] = {}
    for spelling, value in source.items():
        key = _KEY_OF.get(str(spelling))
        if key is None or value is None or (isinstance(value, Sequence | Mapping) and not len(value)):
            continue
        if key in found and key not in ("phi", "version"):
            raise ArgumentError(f"reported gives {key!r} twice, under two names; leave one out", key=key)
        found.setdefault(key, value)
    if not any(key in found for key in CHECKABLE):
        given = ", ".join(repr(str(key)) for key in list(source)[:8]) or "nothing"
        raise ArgumentError(
            f"reported holds nothing that can be checked (it has {given}); give estimates such as 'fixef', 'sd' or "
            f"'theta', standard errors 'se', or 'loglik', 'aic', 'deviance'",
            known=tuple(_KEY_OF),
        )
    return found


def _arranged(raw: Mapping[str, Any], unread: tuple[str, ...]) -> Reported:
    """Everything checked and in its place."""
    parts = {"main": {key: raw[key] for key in PART_KEYS if key in raw}}
    for part in ("zi", "dispersion"):
        if part in raw:
            parts[part] = _part(part, raw[part])
    if "gammas" in raw:
        parts.setdefault("zi", {})["fixef"] = raw["gammas"]
    if "se_gammas" in raw:
        parts.setdefault("zi", {})["se"] = raw["se_gammas"]
    if "varcorr_zi" in raw:
        parts.setdefault("zi", {})["varcorr"] = raw["varcorr_zi"]
    fixef = {
        part: _named(values["fixef"], _where(part, "fixef")) for part, values in parts.items() if "fixef" in values
    }
    errors = {part: _known(values["se"]) for part, values in parts.items() if "se" in values}
    se = {part: _named(values, _where(part, "se")) for part, values in errors.items() if len(values)}
    for part, named in se.items():
        _refuse_negative(named, _where(part, "se"))
    if "corr" in raw and not any(key in raw for key in ("sd", "var", "varcorr", "D", "theta")):
        raise ArgumentError("reported corr belongs to standard deviations, of which there are none; give 'sd'")
    deviations, listed, covariances = _random_part(parts)
    if "D" in raw:
        covariances += _covariances("main", None, raw["D"], "D")
    program, version = _program(raw)
    return Reported(
        program=program,
        version=version,
        kind=_kind(raw),
        formula=_text(raw, "formula"),
        family=_text(raw, "family"),
        link=_text(raw, "link"),
        n_agq=_whole(raw.get("n_agq"), "n_agq"),
        reml=_truth(raw.get("reml")),
        nobs=_whole(raw.get("nobs"), "nobs"),
        ngroups=_group_counts(raw.get("ngroups")),
        fixef=fixef,
        se=se,
        deviations=tuple(deviations),
        listed=tuple(listed),
        covariances=tuple(covariances),
        theta=_named(raw["theta"], "theta") if "theta" in raw else None,
        shape=_shapes(raw),
        log_shapes=_named(raw["phis"], "phis").numbers if "phis" in raw else (),
        criteria={key: _numbers([raw[key]], key)[0] for key in CRITERIA if key in raw},
        unread=unread,
    )


def _where(part: str, key: str) -> str:
    return key if part == "main" else f"{part}[{key!r}]"


def _part(part: str, values: Any) -> dict[str, Any]:
    """Values of a further predictor: a mapping of ``fixef``, ``se``, ..., or just coefficients by name."""
    if not isinstance(values, Mapping):
        raise ArgumentError(f"reported[{part!r}] must be a mapping with 'fixef' and more, not {type(values).__name__}")
    known = {spelling: key for key in PART_KEYS for spelling in (key, *SPELLINGS[key])}
    if any(key in known for key in values):
        return {known[key]: value for key, value in values.items() if key in known and value is not None}
    return {"fixef": values}


# --- numbers ---------------------------------------------------------------------------------------------------


def _decimal(value: Any, what: str) -> Decimal:
    """A number as it was printed."""
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, bool) or not isinstance(value, int | float | str | np.number):
        raise ArgumentError(f"reported {what} must be a number, not {value!r}")
    else:
        if isinstance(value, np.floating) and not isinstance(value, np.float64 | np.longdouble):
            text = str(value)
        else:
            text = value if isinstance(value, str) else repr(value.item() if isinstance(value, np.number) else value)
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise ArgumentError(f"reported {what} must be a number, not {value!r}") from None
    if not number.is_finite():
        raise ArgumentError(f"reported {what} is {value}; leave out what the program could not compute", what=what)
    return number


def _numbers(values: Iterable[Any], what: str, names: Sequence[str] | None = None) -> list[Number]:
    """Numbers of one table with half a unit of their last digit, see the module."""
    labels = [f"{what} of {name!r}" for name in names] if names is not None else None
    printed = [_decimal(value, labels[i] if labels else what) for i, value in enumerate(values)]
    decimals = [-int(number.as_tuple().exponent) for number in printed]
    digits = [len(number.as_tuple().digits) for number in printed if number]
    most, longest = max(decimals, default=0), max(digits, default=0)
    found = []
    for number, own in zip(printed, decimals, strict=True):
        by_digits = longest - 1 - number.adjusted() if number else most
        half = 0.5 * 10.0 ** -max(own, min(most, by_digits)) if not _are_exact(printed) else 0.0
        found.append(Number(float(number), half))
    return found


def _are_exact(printed: Sequence[Decimal]) -> bool:
    """Whether all are 0 or 1: starting values, boundaries, a scale that is none."""
    return all(number in (0, 1) for number in printed)


def _named(values: Any, what: str) -> Named:
    """Numbers from a mapping, a Series or a list."""
    if hasattr(values, "to_dict") and hasattr(values, "index"):
        values = values.to_dict()
    if isinstance(values, Mapping):
        names = tuple(str(name) for name in values)
        return Named(names, tuple(_numbers(values.values(), what, names)))
    if isinstance(values, str | bytes):
        raise ArgumentError(f"reported {what} must be a mapping of names to numbers or a list, not {values!r}")
    listed = list(np.atleast_1d(np.asarray(values, dtype=object)).ravel())
    return Named(None, tuple(_numbers(listed, what)))


def _known(values: Any) -> Any:
    """Standard errors without those that are null: the program had none to give."""
    if isinstance(values, Mapping):
        return {name: value for name, value in values.items() if value is not None}
    return values


def _refuse_negative(named: Named, what: str) -> None:
    for i, number in enumerate(named.numbers):
        if number.value < 0.0:
            name = f" of {named.names[i]!r}" if named.names else ""
            raise ArgumentError(f"reported {what}{name} is {number.value:g}; a standard error cannot be negative")


def _text(raw: Mapping[str, Any], key: str) -> str | None:
    return None if raw.get(key) is None else str(raw[key])


def _kind(raw: Mapping[str, Any]) -> str:
    kind = str(raw.get("kind", "maximum"))
    if kind not in KINDS:
        raise ArgumentError(f"reported kind must be one of {', '.join(KINDS)}, not {kind!r}")
    return kind


def _program(raw: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The program and its version; of several versions (R, packages) that of a program which fits mixed models."""
    program, version = _text(raw, "program"), raw.get("version")
    if isinstance(version, Mapping):
        program = program or next((name for name in PROGRAMS if name in version), None)
        version = version.get(program)
    return program, None if version is None else str(version)


def _whole(value: Any, what: str) -> int | None:
    if value is None:
        return None
    number = _decimal(value, what)
    if number != number.to_integral_value() or number < 0:
        raise ArgumentError(f"reported {what} must be a whole number, not {value}")
    return int(number)


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _group_counts(value: Any) -> dict[str, int] | int | None:
    if isinstance(value, Mapping) or hasattr(value, "to_dict"):
        items = dict(value if isinstance(value, Mapping) else value.to_dict())
        return {str(name): int(_whole(count, "ngroups") or 0) for name, count in items.items()}
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return _whole(value, "ngroups")


# --- random effects --------------------------------------------------------------------------------------------


def _random_part(
    parts: Mapping[str, Mapping[str, Any]],
) -> tuple[list[Deviation], list[Listed], list[Covariance]]:
    """Standard deviations, correlations and covariance matrices of all parts."""
    deviations: list[Deviation] = []
    listed: list[Listed] = []
    covariances: list[Covariance] = []
    for part, values in parts.items():
        if "varcorr" in values:
            more, matrices = _varcorr(part, values["varcorr"])
            deviations, covariances = deviations + more, covariances + matrices
        for key in ("sd", "var"):
            if key in values:
                named, unnamed = _short_form(part, values[key], key)
                deviations, listed = deviations + named, listed + unnamed
        if "corr" in values:
            named, unnamed = _correlations(part, values["corr"])
            deviations, listed = deviations + named, listed + unnamed
    for entry in deviations:
        _check_entry(entry.number, entry.other is not None, " ".join(filter(None, (entry.group, entry.name))))
    for row in listed:
        for number in row.numbers:
            _check_entry(number, row.correlations, row.group or "")
    return deviations, listed, covariances


def _varcorr(part: str, table: Any) -> tuple[list[Deviation], list[Covariance]]:
    """lme4's table of rows, or glmmTMB's matrices by grouping factor."""
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        table = table.to_dict(orient="records")
    if isinstance(table, Mapping):
        matrices = [m for group, values in table.items() for m in _covariances(part, str(group), values, "varcorr")]
        return [], matrices
    if isinstance(table, str | bytes) or not all(isinstance(row, Mapping) for row in table):
        raise ArgumentError("reported varcorr must be a list of rows {'grp', 'var1', 'var2', 'sdcor'}")
    rows = [_varcorr_row(row) for row in table]
    numbers = _numbers([row[3] for row in rows], "varcorr", [f"{row[0]} {row[1] or ''}".strip() for row in rows])
    entries = [
        Deviation(part, group, name, other, number)
        for (group, name, other, _), number in zip(rows, numbers, strict=True)
    ]
    return entries, []


def _varcorr_row(row: Mapping[str, Any]) -> tuple[str | None, str | None, str | None, Any]:
    def first(*keys: str) -> Any:
        return next((row[key] for key in keys if row.get(key) is not None and not _is_nan(row[key])), None)

    value = first("value", "sdcor", "sd", "std_dev")
    if value is None:
        raise ArgumentError(f"row {dict(row)!r} of the reported varcorr has no 'value' or 'sdcor'")
    group, name, other = (first(*keys) for keys in (("group", "grp"), ("name", "var1", "name1"), ("name2", "var2")))
    return _maybe_text(group), _maybe_text(name), _maybe_text(other), value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


def _maybe_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _short_form(part: str, values: Any, key: str) -> tuple[list[Deviation], list[Listed]]:
    """``{"herd": 0.64}``, ``{"g": {"(Intercept)": 1, "x": 2}}``, ``{"g": [1, 2]}``, or these of the only factor."""
    flat: list[tuple[str | None, str | None, Any]] = []
    lists: list[Listed] = []
    for group, value in _by_group(values):
        if isinstance(value, Mapping):
            flat += [(group, str(name), number) for name, number in value.items()]
        elif _is_list(value):
            lists.append(Listed(part, group, False, tuple(_deviations(value, key, [group or ""] * len(value)))))
        else:
            flat.append((group, None, value))
    labels = [" ".join(filter(None, (group, name))) for group, name, _ in flat]
    numbers = _deviations([value for *_, value in flat], key, labels)
    return [Deviation(part, g, name, None, n) for (g, name, _), n in zip(flat, numbers, strict=True)], lists


def _deviations(values: Sequence[Any], key: str, labels: Sequence[str]) -> list[Number]:
    """Standard deviations as they are, or (``key`` "var") the roots of variances."""
    numbers = _numbers(values, key, labels)
    if key == "sd":
        return numbers
    for number, label in zip(numbers, labels, strict=True):
        if number.value < 0.0:
            raise ArgumentError(f"reported var of {label!r} is {number.value:g}; a variance cannot be negative")
    roots = [np.sqrt(number.value) for number in numbers]
    return [
        Number(float(root), number.half / (2.0 * root) if root > 0.0 else float(np.sqrt(number.half)))
        for root, number in zip(roots, numbers, strict=True)
    ]


def _correlations(part: str, values: Any) -> tuple[list[Deviation], list[Listed]]:
    """``{"g": 0.2}``, ``{"g": {"x": {"(Intercept)": 0.2}}}``, ``{"g": {"(Intercept), x": 0.2}}``, ``{"g": [0.2]}``."""
    flat: list[tuple[str | None, str | None, str, Any]] = []
    lists: list[Listed] = []
    for group, value in _by_group(values):
        if _is_list(value):
            lists.append(Listed(part, group, True, tuple(_numbers(value, "corr", [group or ""] * len(value)))))
            continue
        if not isinstance(value, Mapping):
            flat.append((group, None, "", value))
            continue
        for name, inner in value.items():
            if isinstance(inner, Mapping):
                flat += [(group, str(name), str(other), number) for other, number in inner.items()]
            else:
                one, _, other = str(name).partition(",")
                flat.append((group, one.strip(), other.strip(), inner))
    labels = [" ".join(filter(None, (group, name))) for group, name, *_ in flat]
    numbers = _numbers([value for *_, value in flat], "corr", labels)
    return [Deviation(part, g, name, other, n) for (g, name, other, _), n in zip(flat, numbers, strict=True)], lists


def _by_group(values: Any) -> list[tuple[str | None, Any]]:
    """Values by grouping factor; those of the only factor under None."""
    if not isinstance(values, Mapping):
        return [(None, values)]
    return [(str(group), value) for group, value in values.items()]


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _check_entry(number: Number, correlation: bool, where: str) -> None:
    """A standard deviation is not negative, a correlation not beyond one."""
    if not correlation and number.value < 0.0:
        raise ArgumentError(
            f"the reported standard deviation of {where or 'the random effect'} is {number.value:g}; it cannot "
            "be negative (if it is a logarithm, report exp of it)",
            value=number.value,
        )
    if correlation and abs(number.value) > 1.0 + number.half + 1e-8:
        raise ArgumentError(
            f"the reported correlation of {where or 'the random effects'} is {number.value:g}, beyond 1 in "
            "absolute value (if it is a covariance, report the matrix as 'D')",
            value=number.value,
        )


def _covariances(part: str, group: str | None, values: Any, what: str) -> list[Covariance]:
    """A covariance matrix ``{"names", "values"}``, or its rows."""
    names: tuple[str, ...] = ()
    matrix = values
    if isinstance(values, Mapping):
        if "values" not in values:
            raise ArgumentError(f"reported {what} must hold 'names' and 'values' (a covariance matrix)")
        given = values.get("names", ())
        names, matrix = tuple([given] if isinstance(given, str) else map(str, given)), values["values"]
    cells = np.atleast_1d(np.asarray(matrix, dtype=object))
    size = round(np.sqrt(cells.size))
    if size * size != cells.size or (names and len(names) != size):
        raise ArgumentError(
            f"reported {what} must be a square covariance matrix with a name for each row, not {cells.size} numbers"
            + (f" and {len(names)} names" if names else "")
        )
    numbers = _numbers(list(cells.ravel()), what)
    square = np.array([number.value for number in numbers]).reshape(size, size)
    if np.any(np.diag(square) < 0.0):
        raise ArgumentError(f"reported {what} has a negative variance ({np.diag(square).min():g}) on its diagonal")
    if not np.allclose(square, square.T, rtol=1e-6, atol=1e-8 * max(1.0, float(np.abs(square).max()))):
        raise ArgumentError(f"reported {what} is not symmetric, so it is no covariance matrix")
    return [Covariance(part, group, names, tuple(numbers))]


def _shapes(raw: Mapping[str, Any]) -> dict[str, Number]:
    """Dispersion and shape parameters by the name they were given."""
    found: dict[str, Number] = {}
    for key in ("sigma", "shape"):
        if key in raw:
            (found[key],) = _numbers([raw[key]], key)
    if "phi" in raw:
        named = _named(raw["phi"], "phi")
        names = named.names or tuple(f"phi{i + 1}" for i in range(len(named.numbers)))
        found |= dict(zip(("phi",) if len(names) == 1 and not named.names else names, named.numbers, strict=True))
    return _with_our_names(found)


def _with_our_names(shapes: dict[str, Number]) -> dict[str, Number]:
    """glmmTMB's names of shape parameters as ours; its cutoffs of ordered beta are probabilities at eta = 0."""
    found = {TMB_SHAPES.get(name, name): number for name, number in shapes.items()}
    if "lower cutoff" in found and "upper cutoff" in found:
        (low, low_half), (up, up_half) = (_logit(found.pop(f"{end} cutoff"), end) for end in ("lower", "upper"))
        found |= {"lower": Number(low, low_half), "width": Number(up - low, low_half + up_half)}
    return found


def _logit(probability: Number, end: str) -> Number:
    """Logit, and half a unit of the last digit carried through it."""
    p = probability.value
    if not 0.0 < p < 1.0:
        raise ArgumentError(f"reported {end} cutoff is {p:g}; it must lie between 0 and 1")
    return Number(float(np.log(p / (1.0 - p))), probability.half / (p * (1.0 - p)))
