"""Families by name.

Place in the reading order: last of ``families``. R's spellings, those of other packages and our class names
all lead to the same family; what is no family, or has no likelihood, is refused with a reason.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from refglmm.errors import FamilyError
from refglmm.families.base import Family
from refglmm.families.bell import Bell
from refglmm.families.beta import Beta
from refglmm.families.betabinomial import BetaBinomial
from refglmm.families.binomial import Bernoulli, Binomial
from refglmm.families.censored_normal import CensoredNormal
from refglmm.families.compois import ConwayMaxwellPoisson
from refglmm.families.density import DensityFamily
from refglmm.families.gamma import Gamma
from refglmm.families.gaussian import Gaussian
from refglmm.families.genpois import GeneralizedPoisson
from refglmm.families.inverse_gaussian import InverseGaussian
from refglmm.families.links import Link
from refglmm.families.lognormal import Lognormal, LognormalLog
from refglmm.families.nbinom1 import NegativeBinomial1
from refglmm.families.negative_binomial import NegativeBinomial
from refglmm.families.ordbeta import OrderedBeta
from refglmm.families.ordinal import Adjacent, Ordered, Sequential
from refglmm.families.poisson import Poisson
from refglmm.families.student import StudentT
from refglmm.families.truncated import (
    TruncatedConwayMaxwellPoisson,
    TruncatedGeneralizedPoisson,
    TruncatedNegativeBinomial1,
    TruncatedNegativeBinomial2,
    TruncatedPoisson,
)
from refglmm.families.tweedie import Tweedie
from refglmm.families.unit_lindley import UnitLindley

_ALL: tuple[type[Family], ...] = (
    Binomial,
    Bernoulli,
    Poisson,
    Gamma,
    InverseGaussian,
    Gaussian,
    NegativeBinomial,
    NegativeBinomial1,
    Beta,
    OrderedBeta,
    UnitLindley,
    StudentT,
    Lognormal,
    LognormalLog,
    Tweedie,
    CensoredNormal,
    Ordered,
    Sequential,
    Adjacent,
    GeneralizedPoisson,
    ConwayMaxwellPoisson,
    Bell,
    TruncatedPoisson,
    TruncatedNegativeBinomial1,
    TruncatedNegativeBinomial2,
    TruncatedGeneralizedPoisson,
    TruncatedConwayMaxwellPoisson,
    BetaBinomial,
)

#: The built-in families under the name they carry.
FAMILIES: dict[str, type[Family]] = {family.name: family for family in _ALL}

#: Other spellings, compared without case, spaces, dots, dashes and underscores.
_ALSO = {
    "normal": "gaussian",
    "wald": "inverse_gaussian",
    "nb": "negative_binomial",
    "nbinom": "negative_binomial",
    "nbinom2": "negative_binomial",
    "nb2": "negative_binomial",
    "negbin": "negative_binomial",
    "negbinomial": "negative_binomial",
    "nb1": "nbinom1",
    "gammafam": "gamma",
    "betafamily": "beta",
    "betafam": "beta",
    "orderedbeta": "ordbeta",
    "student": "student_t",
    "studentst": "student_t",
    "tfamily": "student_t",
    "t": "student_t",
    "tobit": "censored_normal",
    "cumulative": "ordered",
    "ordinal": "ordered",
    "sratio": "sequential",
    "cr": "sequential",
    "continuationratio": "sequential",
    "acat": "adjacent",
    "conwaymaxwellpoisson": "compois",
    "compoisson": "compois",
    "cmp": "compois",
    "generalizedpoisson": "genpois",
    "truncatednegbinomial": "truncated_nbinom2",
    "truncatednegativebinomial": "truncated_nbinom2",
}

#: Links of other packages' families where they differ from ours: GLMMadaptive's Gamma.fam.
_DEFAULT_LINKS = {"gammafam": "log"}

# name, or name(link), name(link = "log"), name(2.5), name(size = 2.5)
_CALL = re.compile(r"\s*(?P<name>[\w. -]+?)\s*(?:\(\s*(?:(?P<key>\w+)\s*=)?\s*(?P<argument>[^()=]*?)\s*\))?\s*")


def _plain(name: str) -> str:
    return re.sub(r"[\s._-]", "", name).lower()


_BY_SPELLING = {_plain(name): cls for name, cls in FAMILIES.items()}
_BY_SPELLING |= {spelling: FAMILIES[name] for spelling, name in _ALSO.items()}


def _class_of(name: str) -> type[Family]:
    plain = _plain(name)
    if plain in _BY_SPELLING:
        return _BY_SPELLING[plain]
    if plain.startswith("quasi"):
        raise FamilyError(
            f"{name!r} has no likelihood: a quasi family only says how the variance follows the mean, so "
            "there is nothing to maximise or compare. For overdispersed counts take negative_binomial, or "
            "add a random effect for each observation",
            family=name,
        )
    close = difflib.get_close_matches(plain, _BY_SPELLING, n=3, cutoff=0.6)
    near = list(dict.fromkeys(_BY_SPELLING[spelling].name for spelling in close))
    meant = f", did you mean {' or '.join(near)}?" if near else ";"
    known = ", ".join(FAMILIES)
    raise FamilyError(f"unknown family {name!r}{meant} There are {known}.", family=name, near=near)


def _shape_argument(cls: type[Family]) -> str:
    """The parameter that a bare number in brackets means: negative.binomial(2), student_t(4)."""
    return next(reversed(cls.all_shapes), "") if issubclass(cls, DensityFamily) else "size"


def _from_text(text: str, link: str | Link | None) -> Family:
    match = _CALL.fullmatch(text)
    if match is None:
        raise FamilyError(f"cannot read the family {text!r}", family=text)
    cls, argument = _class_of(match["name"]), match["argument"]
    keywords: dict[str, Any] = {}
    if argument:
        argument, number = argument.strip("\"'"), re.fullmatch(r"[\d.]+(e[+-]?\d+)?", argument)
        key = match["key"] or (_shape_argument(cls) if number else "link")
        keywords[{"theta": "size"}.get(key, key)] = float(argument) if number else argument
    if link is not None:
        if keywords.get("link", link) != link:
            raise FamilyError(f"two links: {text!r} and link={link!r}", family=text, link=link)
        keywords["link"] = link
    elif _plain(match["name"]) in _DEFAULT_LINKS:
        keywords.setdefault("link", _DEFAULT_LINKS[_plain(match["name"])])
    try:
        return cls(**keywords)
    except TypeError:
        raise FamilyError(f"cannot read the family {text!r}: {cls.__name__} takes no such argument") from None


def read_zero_part(family: Any, zi: Any = None) -> tuple[Any, Any]:
    """Take the zero part out of a family's name: "zi.poisson", "zi_negative_binomial", "hurdle.poisson", ...

    Returns
    -------
    family, zi
        The family of the rest; for a hurdle its zero-truncated relative, where it has zeros of its own, and the
        lognormal law by the moments of log y, as all who have a "hurdle lognormal" mean it. The formula of the zero
        part, ``"~1"`` where none was given.
    """
    match = re.fullmatch(r"\s*(zi|hurdle)[\s._-]+(.+)", family, re.IGNORECASE) if isinstance(family, str) else None
    if match is None:
        return family, zi
    kind, rest = match[1].lower(), match[2]
    if kind == "hurdle":
        call = _CALL.fullmatch(rest)
        law = None if call is None else _class_of(call["name"])
        same = (spelling for spelling, cls in _BY_SPELLING.items() if cls is law)
        truncated = next((f"truncated{spelling}" for spelling in same if f"truncated{spelling}" in _BY_SPELLING), None)
        relative = LognormalLog.name if law is Lognormal else truncated
        rest = rest if call is None or relative is None else rest.replace(call["name"], relative, 1)
    return rest, "~1" if zi is None else zi


def get_family(family: Any, link: str | Link | None = None) -> Family:
    """Return the family that a user named.

    Parameters
    ----------
    family : str, Family or subclass of Family
        "binomial", "Gamma", "inverse.gaussian", "nbinom2", 'Gamma(link = "log")', "negative.binomial(2)",
        ``Binomial``, ``Binomial("probit")``, ...
    link : str or Link, optional
        Only with a name or a class; a family object has its link already.

    Raises
    ------
    FamilyError
        Unknown name (with the nearest ones), unknown link, quasi family, or not a family at all.
    """
    if isinstance(family, str):
        return _from_text(family, link)
    if isinstance(family, type) and issubclass(family, Family):
        return family(link)
    if not isinstance(family, Family):
        raise FamilyError(
            f"a family is a name or a family object, not {type(family).__name__}; there are {', '.join(FAMILIES)}",
            family=family,
        )
    if link is not None and (link.name if isinstance(link, Link) else link) != family.link.name:
        raise FamilyError(f"{family!r} has its link already; make it with link={link!r}", link=link)
    return family
