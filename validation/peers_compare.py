"""What a program finds today beside what its record says.

Place in the reading order: before ``peers_again``. Differences have no unit, so that they can be put in one order:
log-likelihoods as they are, coefficients in the record's standard errors, standard errors and standard deviations of
random effects as a share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
#: A standard deviation of random effects below this is zero: a boundary, which programs approach by any distance.
ZERO_SD = 1e-4


@dataclass(frozen=True)
class Numbers:
    """What is compared of one fit; ``spread`` holds standard deviations (and correlations) of random effects."""

    loglik: float
    coefficients: Mapping[str, float]
    errors: Mapping[str, float]
    spread: Mapping[str, float]
    note: str = ""


Reader = Callable[[Record], Numbers]


@dataclass(frozen=True)
class Difference:
    """The largest differences of one case; infinite where there are more or fewer numbers, nan where there are none."""

    case: str
    loglik: float = math.nan
    coefficients: float = math.nan
    errors: float = math.nan
    spread: float = math.nan
    note: str = ""

    @property
    def values(self) -> tuple[float, ...]:
        """The four of them."""
        return self.loglik, self.coefficients, self.errors, self.spread

    @property
    def largest(self) -> float:
        """Of those that there are; -inf where the case was not fitted."""
        return max((value for value in self.values if not math.isnan(value)), default=-math.inf)


# ------------------------------------------------------------------------------------- reading the records
#: Families whose random effects lme4 before version 2 reports times sigma.
_SCALED = ("Gamma", "inverse.gaussian")


def lme4_numbers(record: Record) -> Numbers:
    """One fit of lme4, with the standard deviations of version 2."""
    rows = [row for row in record["VarCorr"] if row["grp"] != "Residual"]
    scaled = record["family"] in _SCALED and int(record["versions"]["lme4"].split(".")[0]) < 2
    spread = {}
    for row in rows:
        divisor = record["sigma"] if scaled and row["var2"] is None else 1.0
        name = "|".join(row[key] for key in ("grp", "var1", "var2") if row[key])
        spread[name] = row["sdcor"] / divisor
    note = "standard deviations divided by sigma, by which lme4 before 2 multiplies them" if scaled else ""
    return Numbers(record["logLik"], record["fixef"], record["se"], spread, note)


def _part(prefix: str, values: Any) -> dict[str, float]:
    """Name the estimates of a part; none is an empty list in these files, and errors may carry the part's name."""
    return {
        prefix + name.removeprefix(prefix): value for name, value in dict(values or {}).items() if value is not None
    }


def _parts(record: Record, parts: Mapping[str, tuple[str, str]]) -> tuple[dict[str, float], dict[str, float]]:
    estimates: dict[str, float] = {}
    errors: dict[str, float] = {}
    for prefix, (key, error_key) in parts.items():
        estimates |= _part(prefix, record.get(key))
        errors |= _part(prefix, record.get(error_key))
    return estimates, errors


def _listed(value: Any) -> list[Any]:
    """A vector of one number is written as that number."""
    return value if isinstance(value, list) else [value]


def glmmtmb_numbers(record: Record) -> Numbers:
    """One fit of glmmTMB; a dispersion that is one number has no standard error in the record."""
    parts = {"": ("betas", "se_betas"), "zi~": ("gammas", "se_gammas"), "d~": ("dispersion_coefs", "se_dispersion")}
    spread = {}
    for part in ("varcorr_cond", "varcorr_zi"):
        for group, term in dict(record.get(part) or {}).items():
            for name, sd in zip(_listed(term["names"]), _listed(term["sd"]), strict=True):
                spread[f"{part}|{group}|{name}"] = sd
    return Numbers(record["logLik"], *_parts(record, parts), spread)


def glmmadaptive_numbers(record: Record) -> Numbers:
    """One fit of GLMMadaptive; variances are the diagonal of D."""
    parts = {"": ("betas", "se_betas"), "zi~": ("gammas", "se_gammas"), "phi~": ("phis", "se_phis")}
    names, values = _listed(record["D"]["names"]), record["D"]["values"]
    variances = [row[i] if isinstance(row, list) else row for i, row in enumerate(values)]
    spread = {name: math.sqrt(value) for name, value in zip(names, variances, strict=True)}
    return Numbers(record["logLik"], *_parts(record, parts), spread)


# -------------------------------------------------------------------------------------------- comparison
def _largest(new: Mapping[str, float], old: Mapping[str, float], unit: Callable[[str], float]) -> float:
    """Largest difference in the unit of each name; infinite where the names are not the same."""
    if new.keys() != old.keys():
        return math.inf
    return max((abs(new[name] - value) / unit(name) for name, value in old.items()), default=math.nan)


def _renamed(new: Mapping[str, float], old: Mapping[str, float]) -> Mapping[str, float]:
    """The new numbers under the old names, if there are as many: a factor made in the formula gives other names."""
    return dict(zip(old, new.values(), strict=True)) if len(new) == len(old) else new


def compare(case: str, new: Numbers, old: Numbers) -> Difference:
    """One case; as many numbers under other names are compared in order."""
    pairs = {label: (getattr(new, label), getattr(old, label)) for label in ("coefficients", "errors", "spread")}
    renamed = [label for label, (a, b) in pairs.items() if a.keys() != b.keys()]
    pairs = {label: (_renamed(a, b) if label in renamed else a, b) for label, (a, b) in pairs.items()}
    return Difference(
        case,
        abs(new.loglik - old.loglik),
        _largest(*pairs["coefficients"], lambda name: old.errors.get(name) or abs(old.coefficients[name]) or 1.0),
        _largest(*pairs["errors"], lambda name: old.errors[name]),
        _largest(*pairs["spread"], lambda name: max(abs(old.spread[name]), ZERO_SD)),
        f"other names of {' and '.join(renamed)}" if renamed else new.note,
    )


def difference(new: Record, old: Record, read: Reader) -> Difference:
    """One case, or why there is nothing to compare."""
    case = new["case"]
    if "refused" in new:
        return Difference(case, note=new["refused"])
    if "error" in new:
        also = ", as in the record" if old.get("error") else ""
        return Difference(case, note=f"fails{also}: {' '.join(new['error'].split())}")
    if old.get("error"):
        return Difference(case, note="fitted; the record says that it failed")
    if new["logLik"] is None or old["logLik"] is None:
        return Difference(case, note="no log-likelihood: not converged")
    return compare(case, read(new), read(old))


def worst_first(differences: Iterable[Difference]) -> list[Difference]:
    """By the largest of the four numbers; what was not fitted comes last."""
    return sorted(differences, key=lambda d: -d.largest)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1e}"


HEAD = ("case", "log-lik", "coef/SE", "SE", "SD", "")


def table(differences: Iterable[Difference]) -> str:
    """Lay the cases out in columns, worst first."""
    rows = [(d.case, *map(_cell, d.values), d.note) for d in worst_first(differences)]
    width = max(len(row[0]) for row in [HEAD, *rows])
    return "\n".join(
        f"{case:<{width}}" + "".join(f"{cell:>9}" for cell in cells) + (f"  {note}" if note else "")
        for case, *cells, note in [HEAD, *rows]
    )


def summary(differences: Iterable[Difference]) -> str:
    """How many were compared, and the largest difference of each kind."""
    found = list(differences)
    compared = [d for d in found if d.largest > -math.inf]
    if not compared:
        return f"none of {len(found)} compared"
    loglik, coefficients, errors, spread = (
        max((value for value in values if not math.isnan(value)), default=math.nan)
        for values in zip(*(d.values for d in compared), strict=True)
    )
    return (
        f"{len(compared)} of {len(found)} compared; largest difference: log-likelihood {loglik:.1e}, coefficients "
        f"{coefficients:.1e} standard errors, standard errors {100 * errors:.1e} %, standard deviations "
        f"{100 * spread:.1e} %"
    )
