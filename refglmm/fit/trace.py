"""Every step that led to a fit, as tables.

Place in the reading order: in ``fit``, after ``rformat``. ``fit.trace.evaluations`` has one row for each
evaluation of the objective, ``fit.trace.pirls`` one for each PIRLS iteration at the optimum; printing
shows both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.parts import all_names
from refglmm.fit.rformat import table
from refglmm.likelihood.pirls import Pirls

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel
    from refglmm.optimize.records import Evaluation, StageReport

#: Rows printed of each end of a long table.
ENDS = 10


@dataclass(frozen=True, eq=False)
class Trace:
    """Stages, objective evaluations and PIRLS iterations of one optimisation."""

    stages: tuple[StageReport, ...]
    _evaluations: pd.DataFrame
    _pirls: pd.DataFrame

    @property
    def evaluations(self) -> pd.DataFrame:
        """One row an evaluation; parameters that its stage does not vary are NaN."""
        return self._evaluations.copy()

    @property
    def pirls(self) -> pd.DataFrame:
        """One row a PIRLS iteration at the optimum: objective, Newton decrement, halvings."""
        return self._pirls.copy()

    def __len__(self) -> int:
        return len(self._evaluations)

    def __str__(self) -> str:
        parts = [str(stage) for stage in self.stages]
        for title, frame in self._tables():
            header, rows = _text(frame)
            parts += ["", title, table(header, rows, [_is_text(frame, c) for c in header])]
        return "\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        tables = [html_table(*_text(frame), title) for title, frame in self._tables()]
        return html_block([html_lines(map(str, self.stages)), *tables])

    def _tables(self) -> list[tuple[str, pd.DataFrame]]:
        named = [("Objective evaluations", self._evaluations), ("PIRLS iterations", self._pirls)]
        return [(f"{title} ({len(frame)})", frame) for title, frame in named if len(frame)]


def _is_text(frame: pd.DataFrame, column: str) -> bool:
    return not pd.api.types.is_numeric_dtype(frame[column])


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.8g}"
    return str(value)


def _text(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Cells of the first and last rows."""
    shown = frame if len(frame) <= 2 * ENDS else pd.concat([frame.iloc[:ENDS], frame.iloc[-ENDS:]])
    columns = [[_cell(value) for value in shown[name]] for name in shown.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    if len(frame) > len(shown):
        rows.insert(ENDS, ["..."] * len(columns))
    return list(shown.columns), rows


def evaluations_frame(
    records: tuple[Evaluation, ...], par: tuple[str, ...], beta: tuple[str, ...], phi: tuple[str, ...]
) -> pd.DataFrame:
    """One row an evaluation of (par, beta, log phi), or of (par, log phi) where beta is profiled."""
    columns = [*par, *beta, *phi]
    parameters = np.full((len(records), len(columns)), np.nan)
    profiled = [*range(len(par)), *range(len(par) + len(beta), len(columns))]
    for i, record in enumerate(records):
        size = len(record.parameters)
        parameters[i, profiled if size == len(profiled) else slice(size)] = record.parameters
    fields = ("stage", "number", "value", "pirls_iterations", "pirls_halvings")
    frame = pd.DataFrame({field: [getattr(record, field) for record in records] for field in fields})
    return pd.concat([frame, pd.DataFrame(parameters, columns=columns)], axis=1)


def trace(fit: FittedModel) -> Trace:
    """Tables from the records of the optimiser."""
    optimum, n_par = fit.optimum, len(fit.optimum.par)
    widest = max((len(record.parameters) for record in optimum.trace), default=0)
    phi = tuple(name for name in optimum.names[n_par:] if name not in all_names(fit))
    beta = tuple(all_names(fit)) if widest > n_par + len(phi) else ()
    return Trace(
        tuple(optimum.stages),
        evaluations_frame(optimum.trace, tuple(optimum.names[:n_par]), beta, phi),
        pirls_frame(fit),
    )


def pirls_frame(fit: FittedModel) -> pd.DataFrame:
    """PIRLS at the optimum: as the lme4 walk recorded it, or run once more from u = 0 in exact mode."""
    records = fit.optimum.pirls_trace
    if not records and fit.problem is not None and not fit.is_lmm:
        pirls = Pirls(fit.problem)
        pirls.records = []
        pirls.find_mode(fit.optimum.par, fit.optimum.beta, fit.kernel_phi)
        records = tuple(vars(record) for record in pirls.records)
    return pd.DataFrame(list(records))
