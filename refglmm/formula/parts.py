"""Formulas of further predictors (zero part, dispersion) -> one design whose columns belong to predictors.

Place in the reading order: after :mod:`refglmm.formula.design`.

A model with a zero part or a dispersion has a design for each predictor, all for the same rows. The likelihood sees
them as one: the columns of X side by side, the random terms in one list, most levels first, each column of either
carrying the number of its predictor. Columns of the further predictors are named ``zi~x``, ``dispersion~x``. A term
whose columns belong to several predictors (``tie=True``) lets the random effects of a group in them be correlated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refglmm.errors import ArgumentError, FormulaError
from refglmm.formula.checks import Checks, report
from refglmm.formula.design import Design, TermDesign, build_design, term_order, unique_labels
from refglmm.formula.frame import ModelFrame
from refglmm.formula.grammar import Formula, parse, update_formula
from refglmm.formula.matrix import Coding, ModelMatrix
from refglmm.formula.values import Column

MAIN = "main"


@dataclass(frozen=True)
class JoinedMatrix:
    """The columns of several model matrices side by side: of a term that ties predictors together."""

    pieces: tuple[ModelMatrix, ...]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return tuple(name for piece in self.pieces for name in piece.names)

    @property
    def used(self) -> tuple[str, ...]:
        """R texts of the variables."""
        return tuple(dict.fromkeys(text for piece in self.pieces for text in piece.used))

    @property
    def codings(self) -> dict[int, Coding]:
        """How its variables become columns."""
        return dict(enumerate(coding for piece in self.pieces for coding in piece.codings.values()))

    def build(self, column: Callable[[str], Column], n: int) -> np.ndarray:
        """Compute the matrix; as :meth:`.ModelMatrix.build`."""
        return np.ascontiguousarray(np.hstack([piece.build(column, n) for piece in self.pieces]))


@dataclass(frozen=True)
class CoupledDesign(Design):
    """The design of a model with several predictors: a :class:`Design` of the first, with the random terms of all.

    Attributes
    ----------
    parts : mapping
        The design of each predictor by name, "main" first, as if it stood alone.
    """

    parts: Mapping[str, Design] = field(default_factory=dict)

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Names of the fixed-effects columns of all predictors."""
        return tuple(prefixed(part, name) for part, design in self.parts.items() for name in design.names)

    @property
    def slices(self) -> dict[str, slice]:
        """Where the columns of each predictor stand among them."""
        ends = np.cumsum([0, *(design.X.shape[1] for design in self.parts.values())])
        return {part: slice(int(a), int(b)) for part, a, b in zip(self.parts, ends, ends[1:])}


def replace_main(design: Design, frame: ModelFrame) -> Design:
    """The design with another frame, the first of several predictors brought in line with what was changed."""
    design = replace(design, frame=frame)
    if not isinstance(design, CoupledDesign):
        return design
    own = {name: getattr(design, name) for name in Design.__dataclass_fields__ if name != "terms"}
    return replace(design, parts={**design.parts, MAIN: replace(design.parts[MAIN], **own)})


def part_designs(design: Design) -> Mapping[str, Design]:
    """The design of each predictor by name."""
    return design.parts if isinstance(design, CoupledDesign) else {MAIN: design}


def part_slices(design: Design) -> dict[str, slice]:
    """Where the columns of each predictor stand in X and in beta."""
    return design.slices if isinstance(design, CoupledDesign) else {MAIN: slice(0, design.X.shape[1])}


def prefixed(part: str, name: str) -> str:
    """A column's name among those of all predictors."""
    return name if part == MAIN else f"{part}~{name}"


def owners(term: TermDesign) -> tuple[str, ...]:
    """The predictor of each column of a term by name, which its columns carry."""
    numbers = term.predictors or (0,) * term.k
    return tuple(name.split("~")[0] if k else MAIN for k, name in zip(numbers, term.columns, strict=True))


def part_formula(main: Formula, text: Any, what: str, double_bar: str = "split") -> Formula | None:
    """Read the formula of a further predictor; None where it says that there is none.

    Parameters
    ----------
    main : Formula
        What ``.`` stands for, random terms and offsets included.
    text : str, Formula or None
        One-sided, e.g. ``"~ x + (1 | g)"``; None or ``"~0"``: no such predictor.
    what : str
        Name of the argument, for messages.

    Raises
    ------
    FormulaError
        With a response, or no formula at all.
    """
    if text is None:
        return None
    if not isinstance(text, str | Formula):
        raise FormulaError(f"{what}= is a formula such as '~ x + (1 | g)', not {text!r}", formula=text)
    formula = parse(text, double_bar=double_bar)
    if formula.response is not None:
        raise FormulaError(
            f"{what}= is a formula without a left-hand side, such as '~ x + (1 | g)', not {formula.text!r}",
            formula=formula.text,
        )
    if formula.has_dot:
        formula = replace(update_formula(main, formula.text, double_bar=double_bar), response=None)
    empty = formula.fixed == "0" and not formula.random and not formula.offsets
    return None if empty else formula


def build_coupled_design(
    frame: ModelFrame,
    formulas: Mapping[str, Formula],
    *,
    contrasts: Mapping[str, Any] | None = None,
    control: Checks | None = None,
    tie: bool = False,
) -> CoupledDesign:
    """Build the design of a model with several predictors.

    Parameters
    ----------
    frame : ModelFrame
        Built with the further formulas in ``also``.
    formulas : mapping
        Formulas of the further predictors by name, in their order.
    contrasts : mapping, optional
        As for :func:`.build_design`, for the factors of all predictors.
    control : Checks, optional
    tie : bool
        Random terms of the predictors with the same grouping factor become one term.
    """
    control = control or Checks()
    lenient = replace(control, no_random_effects="ignore")
    frames = {MAIN: frame} | {part: frame.with_formula(formula) for part, formula in formulas.items()}
    parts = {
        part: build_design(
            own,
            contrasts=_own_contrasts(contrasts or {}, part, frames),
            control=lenient if part == MAIN else replace(lenient, constant_response="ignore"),
        )
        for part, own in frames.items()
    }
    terms = [_of_part(term, k, part) for k, (part, design) in enumerate(parts.items()) for term in design.terms]
    if not terms:
        text = ", ".join(own.formula.expanded for own in frames.values())
        report(control.no_random_effects, FormulaError(f"no random effects in {text!r}; add (1 | group)"))
    if tie:
        terms = _tied(terms)
    terms = [terms[i] for i in term_order([term.n_levels for term in terms], "exact")]
    main = {name: getattr(parts[MAIN], name) for name in Design.__dataclass_fields__}
    return CoupledDesign(**{**main, "terms": unique_labels(terms)}, parts=parts)


def _own_contrasts(contrasts: Mapping[str, Any], part: str, frames: Mapping[str, ModelFrame]) -> dict[str, Any]:
    """Contrasts for the factors of one predictor; those that no predictor has go to the first, which complains."""
    own = {name: kind for name, kind in contrasts.items() if name in _fixed_variables(frames[part])}
    if part != MAIN:
        return own
    known = {name for frame in frames.values() for name in _fixed_variables(frame)}
    return own | {name: kind for name, kind in contrasts.items() if name not in known}


def _fixed_variables(frame: ModelFrame) -> tuple[str, ...]:
    """Names in the fixed part of a predictor."""
    return Formula("", None, frame.formula.fixed).variables


def _of_part(term: TermDesign, k: int, part: str) -> TermDesign:
    """A term of predictor k among those of all."""
    columns = tuple(prefixed(part, name) for name in term.columns)
    return replace(term, columns=columns, predictors=(k,) * term.k)


def _tied(terms: list[TermDesign]) -> list[TermDesign]:
    """One term for each grouping factor that several predictors share."""
    by_group: dict[str, list[TermDesign]] = {}
    for term in terms:
        by_group.setdefault(term.group, []).append(term)
    return [joined for group in by_group.values() for joined in _joined_terms(group)]


def _joined_terms(terms: list[TermDesign]) -> list[TermDesign]:
    """The terms of one grouping factor as one, where they belong to different predictors."""
    owners = [term.predictors[0] for term in terms]
    if len(set(owners)) == 1:
        return terms
    if len(set(owners)) < len(owners) or any(term.structure != "us" for term in terms):
        raise ArgumentError(
            f"tie=True joins one unstructured term of each predictor; the terms of {terms[0].group} are "
            f"{', '.join(str(term.term) for term in terms)}",
            group=terms[0].group,
        )
    return [
        replace(
            terms[0],
            columns=tuple(name for term in terms for name in term.columns),
            Z=np.ascontiguousarray(np.hstack([term.Z for term in terms])),
            matrix=JoinedMatrix(tuple(term.matrix for term in terms)),  # type: ignore[arg-type]
            predictors=tuple(k for term in terms for k in term.predictors),
        )
    ]
