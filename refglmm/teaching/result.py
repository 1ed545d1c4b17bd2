"""What a teaching method returns: estimates, the way to them, and a picture of it.

Place in the reading order: first of ``teaching``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from refglmm.errors import ArgumentError
from refglmm.fit.html import html_block, html_lines, html_table
from refglmm.fit.rformat import format_numbers, table
from refglmm.plots.style import BLUE, GREY, SMALL, label_axes, panel_grid, tidy, title_figure

if TYPE_CHECKING:
    from refglmm.model import GLMM

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class TeachingFit:
    """Estimates of a teaching method, without certificate.

    Attributes
    ----------
    method, formula, family : str
    settled : bool
        Whether the method's own rule stopped it (not the limit on its iterations).
    notes : tuple of str
        What the reader must know of these numbers.
    """

    method: str
    formula: str
    family: str
    settled: bool
    notes: tuple[str, ...]
    _estimates: pd.DataFrame
    _trace: pd.DataFrame

    @property
    def estimates(self) -> pd.DataFrame:
        """One row a parameter: estimate, std_error and, where draws are behind it, mc_error.

        Rows are fixed effects, then standard deviations ("sd ...") and correlations ("cor ...") of the random effects,
        then shape parameters.
        """
        return self._estimates.copy()

    @property
    def trace(self) -> pd.DataFrame:
        """One row an iteration."""
        return self._trace.copy()

    def __str__(self) -> str:
        header, rows = self._cells()
        state = "settled" if self.settled else "NOT settled"
        head = [f"{self.method}, {len(self._trace)} iterations, {state}"]
        head += [f" Family: {self.family}", f"Formula: {self.formula}"]
        return "\n".join([*head, table(header, rows, [True] + [False] * (len(header) - 1)), *self.notes])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        header, rows = self._cells()
        title = f"{self.method}: {self.formula}, {self.family}"
        return html_block([html_table(header, rows, title), html_lines(self.notes)])

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        columns = [format_numbers(self._estimates[name], 4) for name in self._estimates]
        cells = [list(row) for row in zip(map(str, self._estimates.index), *columns, strict=True)]
        return ["", *self._estimates.columns], [["" if cell == "NA" else cell for cell in row] for row in cells]

    def plot(self, parameters: Any = None, *, ax: Any = None) -> np.ndarray:
        """Each parameter over the iterations; a dashed line at the estimate, a band of two Monte Carlo errors.

        Parameters
        ----------
        parameters : sequence of str, optional
            Rows of :attr:`estimates`; all by default.
        ax : Axes or array of Axes, optional

        Returns
        -------
        array of Axes
        """
        names = list(self._estimates.index) if parameters is None else list(parameters)
        if unknown := [name for name in names if name not in self._estimates.index]:
            raise ArgumentError(f"no parameter {unknown[0]!r}; known are {', '.join(self._estimates.index)}")
        panels, figure = panel_grid(len(names), ax, width=3.2, height=2.2, share_y=False)
        for panel, name in zip(panels, names, strict=True):
            row = self._estimates.loc[name]
            panel.plot(self._trace["iteration"], self._trace[name], color=BLUE, linewidth=1.6)
            panel.axhline(row["estimate"], color=GREY, linewidth=1.0, linestyle=(0, (5, 2)))
            if "mc_error" in row and np.isfinite(row["mc_error"]):
                reach = 2.0 * row["mc_error"]
                panel.axhspan(row["estimate"] - reach, row["estimate"] + reach, color=BLUE, alpha=0.15, linewidth=0)
            panel.set_title(name, fontsize=SMALL + 1, loc="left")
            tidy(panel)
        label_axes(panels, figure, "iteration", "")
        if figure is not None:
            title_figure(figure, self.method)
        return panels


def random_parameters(model: GLMM, par: FloatArray, sigma: float = 1.0) -> dict[str, float]:
    """Standard deviations and correlations of the random effects by name."""
    found: dict[str, float] = {}
    for term, structure, part in zip(model.design.terms, model.structures, model.problem.par_slices, strict=True):
        sd, corr = structure.sd_corr(par[part])
        found |= {f"sd {c} | {term.group}": sigma * s for c, s in zip(term.columns, sd, strict=True)}
        if structure.name != "diag":
            pairs = [(i, j) for j in range(structure.k) for i in range(j + 1, structure.k)]
            found |= {f"cor {term.columns[j]}, {term.columns[i]} | {term.group}": corr[i, j] for i, j in pairs}
    return found
