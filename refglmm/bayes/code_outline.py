"""What a program for a posterior has to say: its scalars and terms under names that a program can have.

Place in the reading order: after ``posterior``; ``code_math``, ``code_numpy`` and ``code_stan`` write it down. Nothing
here evaluates a density, and the texts take nothing from the kernels: a written program is a second opinion on them.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refglmm.bayes.priors import term_labels
from refglmm.bayes.scalar import Scalar
from refglmm.bayes.shape_priors import shapes_of
from refglmm.errors import NotAvailableError
from refglmm.families.registry import FAMILIES

if TYPE_CHECKING:
    from refglmm.bayes.posterior import Posterior
    from refglmm.formula.design import TermDesign
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]

#: Names that the programs use themselves, or that their languages keep.
_USED = """
y a x X Z v u b t lp np eta mu data beta means level offset offsets weights used position stats special f L T N K Q w
target lower upper int real vector matrix array row functions parameters model multiplier ordered thresholds log_p log_q
k sd at spread P rest i j e pi for in if else while return"""
RESERVED = frozenset(_USED.split())


def identifiers(names: Iterable[str], reserved: frozenset[str] = RESERVED) -> dict[str, str]:
    """A word of letters, digits and underscores for each name, no two the same.

    >>> identifiers(["sd[group:Int]", "b[x]", "b[x ]", "lower"])
    {'sd[group:Int]': 'sd_group_Int', 'b[x]': 'b_x', 'b[x ]': 'b_x_2', 'lower': 'lower_1'}
    """
    out: dict[str, str] = {}
    for name in names:
        word = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "value"
        word = f"n_{word}" if word[0].isdigit() else word
        number, taken = 1, set(out.values())
        first = word
        while word in taken or word in reserved or keyword.iskeyword(word):
            word = f"{first}_{number}" if number > 1 or first in reserved else f"{first}_2"
            number += 1
        out[name] = word
    return out


@dataclass(frozen=True)
class Term:
    """One random-effects term.

    Attributes
    ----------
    number : int
        From 1.
    design : TermDesign
    group : str
        What the grouping factor is called in names of parameters.
    label : str
        What the term is called, e.g. "group"; "group:x" where several terms have that grouping factor.
    sds : tuple of Scalar
    partials : tuple of Scalar
        Partial correlations by rows of the lower triangle; empty where the columns are independent.
    exponent : float array, shape (k,)
        How far each column is centred, see ``target``.
    start : int
        Where its random effects begin among all.
    """

    number: int
    design: TermDesign
    group: str
    label: str
    sds: tuple[Scalar, ...]
    partials: tuple[Scalar, ...]
    exponent: FloatArray
    start: int

    @property
    def columns(self) -> str:
        """What the effects belong to, e.g. "Int, x"."""
        return ", ".join(_short(column) for column in self.design.columns)

    @property
    def k(self) -> int:
        """Number of columns."""
        return self.design.k

    @property
    def levels(self) -> int:
        """Number of levels."""
        return self.design.n_levels

    @property
    def stop(self) -> int:
        """Where its random effects end."""
        return self.start + self.k * self.levels


class Outline:
    """The scalars, terms and constants of one posterior.

    Parameters
    ----------
    model : GLMM
    posterior : Posterior
        That of the model, or one of its relatives with fixed scalars or centred random effects.

    Attributes
    ----------
    scalars : tuple of Scalar
    words : dict
        Name of a scalar -> identifier.
    """

    def __init__(self, model: GLMM, posterior: Posterior) -> None:
        self.model, self.posterior, self.priors = model, posterior, posterior.priors
        self.problem, self.family = posterior.original, posterior.original.family
        self.scalars = posterior.scalars
        self.words = identifiers(scalar.name for scalar in self.scalars)

    @property
    def formula(self) -> str:
        """The formula as it was given."""
        return " ".join(self.model.frame.formula.text.split())

    def block(self, name: str) -> tuple[Scalar, ...]:
        """The scalars of one of :data:`.scalar.BLOCKS`."""
        return tuple(scalar for scalar in self.scalars if scalar.block == name)

    @cached_property
    def slots(self) -> dict[str, int]:
        """Name of each free scalar -> where it stands in a position."""
        return {name: j for j, name in enumerate(self.posterior.hyper_names)}

    # -- family ------------------------------------------------------------------------------------------------

    @property
    def is_built_in(self) -> bool:
        """Whether the family is one of the library's own."""
        return FAMILIES.get(self.family.name) is type(self.family)

    @cached_property
    def shape_values(self) -> dict[str, str | float]:
        """The family's parameters by the names that people know: an identifier, or the value of a known one."""
        if self.family.is_ordinal:
            return {}
        free = [scalar.name for scalar in self.block("shape")]
        known = dict(zip(self._known_names, map(float, self.family.fixed_shape), strict=True))
        return {name: self.words[name] for name in free} | known

    @property
    def _known_names(self) -> list[str]:
        """Names of known parameters: those that the family would estimate, or the limits of censoring."""
        count = len(self.family.fixed_shape)
        if self.family.name == "censored_normal":
            return ["sigma", "lower", "upper"][3 - count :]
        whole = [shape.name for shape in shapes_of(type(self.family)(self.family.link.name))]
        return whole[len(whole) - count :]

    # -- fixed effects -----------------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of X."""
        return self.problem.beta_names

    @property
    def means(self) -> FloatArray:
        """What is subtracted from each column of X."""
        return self.posterior.means

    @property
    def fixed_words(self) -> list[str]:
        """Identifiers of the scalars of the fixed effects."""
        return [self.words[scalar.name] for scalar in self.block("fixed")]

    @property
    def sigma_word(self) -> str:
        """Identifier of the sigma that slopes are measured in; empty where there is none."""
        at = int(self.priors.slope_hyper[0]) if self.priors.slope_hyper.size else -1
        return self.words[self.scalars[at].name] if at >= 0 else ""

    def others(self, start: str) -> list[str]:
        """Identifiers of the scales of a shrinkage prior whose names begin so."""
        return [self.words[scalar.name] for scalar in self.block("other") if scalar.name.startswith(start)]

    # -- random effects ----------------------------------------------------------------------------------------

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The random-effects terms."""
        return tuple(self._terms())

    def _terms(self) -> Iterator[Term]:
        sds, partials = list(self.block("sd")), list(self.block("corr"))
        groups, start, column = term_labels(self.model), 0, 0
        for number, (group, design) in enumerate(zip(groups, self.model.design.terms, strict=True), 1):
            k = design.k
            m = k * (k - 1) // 2 if design.structure == "us" else 0
            own, correlations = tuple(sds[:k]), tuple(partials[:m])
            sds, partials = sds[k:], partials[m:]
            label = group if groups.count(group) == 1 else f"{group}:{','.join(map(_short, design.columns))}"
            exponent = self.posterior.exponent[column : column + k]
            yield Term(number, design, group, label, own, correlations, exponent, start)
            start, column = start + design.q, column + k

    # -- thresholds --------------------------------------------------------------------------------------------

    @property
    def orders(self) -> int:
        """Number of ordered thresholds whose proper priors are restricted to that order; 0 where there are none."""
        shapes = self.block("shape")
        return len(shapes) if self.priors.ordered and any(s.prior.log_factor for s in shapes) else 0

    # -- data --------------------------------------------------------------------------------------------------

    @property
    def has_weights(self) -> bool:
        """Whether the rows have weights other than one."""
        return bool(np.any(self.problem.weights != 1.0))

    @property
    def has_offset(self) -> bool:
        """Whether an offset is not zero."""
        return bool(np.any(self.problem.offset))

    def data(self) -> dict[str, Any]:
        """The arrays that the programs read; copies.

        ``y``, ``weights``, ``offset`` shape (n,), ``X`` shape (n, p) as the formula makes it, and for each term
        ``Z1`` shape (n, k) and ``level1`` shape (n,), from 0.
        """
        problem = self.problem
        out: dict[str, Any] = {
            "y": np.array(problem.y),
            "weights": np.array(problem.weights),
            "offset": np.array(problem.offset),
            "X": np.array(problem.X),
        }
        for term in self.terms:
            out[f"Z{term.number}"] = np.array(term.design.Z, dtype=np.float64)
            out[f"level{term.number}"] = np.array(term.design.codes, dtype=np.int64)
        return out


def _short(column: str) -> str:
    return "Int" if column == "(Intercept)" else column


def law_of(laws: Mapping[str, Any], outline: Outline, language: str) -> Any:
    """The entry of a family.

    Raises
    ------
    NotAvailableError
        There is none.
    """
    name = outline.family.name
    if not outline.is_built_in or name not in laws:
        raise NotAvailableError(
            f"the density of the {name} family cannot be written in {language}; code('math') describes the model",
            family=name,
            language=language,
        )
    return laws[name]


def number(value: float) -> str:
    """A number that reads back as the same one, as short as can be: "10", "0.2", "1e-05"."""
    text = repr(float(value))
    return text[:-2] if text.endswith(".0") else text
