"""The picture of time against n.

Place in the reading order: after ``figures``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refglmm.plots.style import MEDIUM, SMALL, tidy
from validation.bench.cases import GLMM, GLMMTMB, GPBOOST, LME4, OURS
from validation.bench.figures import exponent, scaling

#: Colours of Okabe and Ito (2008); every program has its own marker and dashes as well.
LOOKS: dict[str, dict[str, Any]] = {
    OURS: {"color": "#0072B2", "marker": "o", "linewidth": 2.4},
    LME4: {"color": "#D55E00", "marker": "s", "linestyle": (0, (5, 2))},
    GLMMTMB: {"color": "#009E73", "marker": "^", "linestyle": (0, (3, 1, 1, 1))},
    GLMM: {"color": "#CC79A7", "marker": "D", "linestyle": (0, (1, 1))},
    GPBOOST: {"color": "#6E6E6E", "marker": "v", "linestyle": (0, (4, 1, 1, 1, 1, 1))},
}


def draw(results: dict[str, Any], file: Path) -> bool:
    """Draw CPU seconds against n, q fixed; False if fewer than two such cases were measured."""
    if len(scaling(results, OURS)[0]) < 2:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.add_subplot()
    tidy(ax)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
    for peer, look in LOOKS.items():
        rows, times = scaling(results, peer)
        if rows:
            label = f"{peer}, slope {exponent(rows, times):.2f}" if len(rows) > 1 else peer
            ax.plot(rows, times, label=label, markersize=5, **look)
    rows, times = scaling(results, OURS)
    ax.plot(
        rows,
        [times[-1] * n / rows[-1] for n in rows],
        color="#B0B0B0",
        linewidth=1,
        zorder=1,
        label="slope 1",
    )
    ax.set_xlabel("rows n", fontsize=MEDIUM)
    ax.set_ylabel("CPU seconds of a fit", fontsize=MEDIUM)
    ax.set_title("Binary response, 1000 x 100 crossed groups, one thread", fontsize=MEDIUM, loc="left")
    ax.legend(fontsize=SMALL, frameon=False)
    FigureCanvasAgg(figure).print_png(str(file))
    return True
