"""From formula text and a table to design matrices.

Reading order: ``expressions`` (R text <-> trees), ``grammar`` (trees as model formulas), ``values``,
``convert`` (tables of any make), ``transforms`` and ``evaluate`` (variables of a formula), ``reshape`` and
``wide`` (one row a person -> one row a measurement), ``centring`` (means of gmc and cwc), ``frame`` (rows,
missing values, response), ``prepare`` (factors, within, cwc and gmc together), ``contrasts``, ``checks``,
``matrix`` (columns, their names), ``design`` (X, Z and what new data needs).
"""

from __future__ import annotations

from refglmm.formula.design import Checks, Design, TermDesign, build_design
from refglmm.formula.frame import ModelFrame, build_frame
from refglmm.formula.grammar import Formula, RandomTerm, parse, update_formula

__all__ = [
    "Checks",
    "Design",
    "Formula",
    "ModelFrame",
    "RandomTerm",
    "TermDesign",
    "build_design",
    "build_frame",
    "parse",
    "update_formula",
]
