"""Published mixed models fitted again, their figures beside ours: ``python -m refglmm.demo [--out DIR]``.

Place in the reading order: last; it uses what any user has. Three classic data sets are fitted and shown as
lme4 shows them, a fourth is where the Laplace approximation fails, and the pictures of the glmer paper's
section on the approximation are written as PNG. The figures to reach, with their sources and the differences
that count as reproduced, stand in ``datasets/published_demo.json``; the exit status is 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import refglmm as rg

if TYPE_CHECKING:
    import pandas as pd

    from refglmm.fitted import FittedModel

WIDTH = 100
PUBLISHED = Path(__file__).parent / "datasets" / "published_demo.json"

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
CONTRACEPTION = {
    "cm1": "use ~ age_s + I(age_s^2) + urban + livch + (1 | district)",
    "cm2": "use ~ age_s + I(age_s^2) + urban + ch + (1 | district)",
    "cm3": "use ~ age_s + I(age_s^2) + urban + ch + age_s:ch + (1 | district)",
    "cm4": "use ~ age_s + I(age_s^2) + urban + ch + age_s:ch + (1 + urban | district)",
    "cm5": "use ~ age_s + I(age_s^2) + urban + ch + age_s:ch + (1 | district/urban)",
    "cm6": "use ~ age_s + I(age_s^2) + urban + ch + age_s:ch + (1 | district:urban)",
}
VERBAGG = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"
TOENAIL = "outcome ~ time * treatment + (1 | patientID)"


# ---------------------------------------------------------------------------------- reading numbers off a fit
def relative_criterion(fit: FittedModel) -> float:
    """-2 log L without the saturated model's part: what lme4 2.1 reports with several nodes."""
    saturated = -2.0 * fit.conditional.log_density - fit.deviance
    return fit.minus_two_loglik - saturated


SCALARS: dict[str, Callable[[FittedModel], float]] = {
    "AIC": lambda fit: fit.aic,
    "BIC": lambda fit: fit.bic,
    "logLik": lambda fit: fit.loglik,
    "-2 log L": lambda fit: fit.minus_two_loglik,
    "-2 log L, relative": relative_criterion,
    "deviance": lambda fit: fit.deviance,
    "df.resid": lambda fit: fit.df_resid,
}
NAMED: dict[str, Callable[[FittedModel, str], float]] = {
    "beta": lambda fit, name: fit.fixef[name],
    "se": lambda fit, name: fit.se[name],
    "theta": lambda fit, name: fit.theta[name],
    "sd": lambda fit, name: fit.varcorr[name].sd[0],
}


def quantity_of(fit: FittedModel, quantity: str) -> float:
    """The number that a row of a table names: "logLik", "beta period2", "sd herd"."""
    if quantity in SCALARS:
        return float(SCALARS[quantity](fit))
    kind, name = quantity.split(" ", 1)
    return float(NAMED[kind](fit, name))


def comparison_of_models(fits: Mapping[str, FittedModel]) -> dict[str, float]:
    """What a table of several models shows: df, and differences from the best, by "quantity model"."""
    best = max(fit.loglik for fit in fits.values())
    lowest = min(fit.aic for fit in fits.values())
    numbers: dict[str, float] = {}
    for name, fit in fits.items():
        numbers[f"df {name}"] = fit.df
        numbers[f"logLik {name}"] = fit.loglik
        numbers[f"delta -logLik {name}"] = best - fit.loglik
        numbers[f"delta AIC {name}"] = fit.aic - lowest
    return numbers


# -------------------------------------------------------------------------------------------------- printing
def heading(text: str) -> None:
    """A section of the output."""
    print(f"\n{'=' * WIDTH}\n{text}\n{'=' * WIDTH}")


def say(text: str) -> None:
    """A paragraph of text, wrapped."""
    print(f"\n{textwrap.fill(' '.join(text.split()), WIDTH)}\n")


def decimals_of(text: str) -> int:
    """Digits after the point of a printed number."""
    return len(text.partition(".")[2])


def small(number: float) -> str:
    """A difference to two digits; nothing but 0 where there is none."""
    return f"{number:.1e}" if number else "0"


def timed_fit(formula: str, data: pd.DataFrame, name: str, **options: Any) -> tuple[FittedModel, float]:
    """A binomial fit and its seconds."""
    begin = time.perf_counter()
    fit = rg.glmer(formula, data, "binomial", data_name=name, **options)
    return fit, time.perf_counter() - begin


class Comparison(NamedTuple):
    """One figure of a table beside ours; prints as what is said of a miss."""

    table: str
    quantity: str
    published: str
    ours: float
    allowed: float
    good: bool

    @property
    def shown(self) -> str:
        """Our number with two digits more than the published one."""
        digits = decimals_of(self.published)
        return f"{self.ours:.{digits + 2 if digits else 0}f}"

    def __str__(self) -> str:
        return (
            f"{self.table}, {self.quantity}: {self.published} in the source, {self.shown} here, "
            f"allowed {small(self.allowed)}"
        )


class Demo:
    """Fits, prints and compares; remembers every comparison."""

    def __init__(self, published: Path = PUBLISHED) -> None:
        self.tables = json.loads(published.read_text(encoding="utf-8"))["tables"]
        self.comparisons: list[Any] = []  # of Comparison, or of what else has good and says itself

    @property
    def compared(self) -> int:
        """Number of figures compared so far."""
        return len(self.comparisons)

    @property
    def missed(self) -> list[str]:
        """What was not reproduced so far."""
        return [str(row) for row in self.comparisons if not row.good]

    def fit(self, formula: str, data: pd.DataFrame, name: str, **options: Any) -> FittedModel:
        """Fit a binomial model, saying how and how long."""
        fit, seconds = timed_fit(formula, data, name, **options)
        shown = "".join(f", {option}={value!r}" for option, value in options.items())
        print(f"glmer({formula!r},\n      {name}, 'binomial'{shown})")
        print(f"      {seconds:.3f} s, logLik {fit.loglik:.8f}")
        return fit

    def fit_all(
        self, formulas: Mapping[str, str], data: pd.DataFrame, name: str, **options: Any
    ) -> dict[str, FittedModel]:
        """Fit several models of one data set, one line each."""
        fits = {}
        for label, formula in formulas.items():
            fits[label], seconds = timed_fit(formula, data, name, **options)
            print(f"  {label}  {formula:<{max(map(len, formulas.values()))}}  {seconds:.3f} s")
        return fits

    def compare(self, table: str, ours: Callable[[str], float]) -> None:
        """Print one table of quantity, published, ours, difference, allowed; remember the rows missed."""
        entry = self.tables[table]
        published = entry["kind"] == "published"
        print(f"\n{'Published' if published else 'Computed for comparison'}: {entry['source']}")
        print(f"Allowed: {entry['allowed']}")
        head = "published" if published else "theirs"
        width = max(len(row["quantity"]) for row in entry["rows"]) + 2
        print(f"\n  {'quantity':<{width}}{head:>16}{'ours':>20}{'difference':>13}{'allowed':>10}")
        for row in entry["rows"]:
            self._compare_row(table, row, float(ours(row["quantity"])), width)

    def _compare_row(self, table: str, row: Mapping[str, Any], ours: float, width: int) -> None:
        text, allowed = row["published"], row["allowed"]
        difference = ours - float(text)
        # Differences are compared as printed decimals are: 1e-12 absorbs their binary representation.
        good = abs(difference) <= allowed + 1e-12
        found = Comparison(table, row["quantity"], text, ours, allowed, good)
        self.comparisons.append(found)
        line = f"{text:>16}{found.shown:>20}{small(difference):>13}{small(allowed):>10}"
        print(f"  {row['quantity']:<{width}}{line}  {'ok' if good else 'MISSED'}")

    def compare_fit(self, table: str, fit: FittedModel) -> None:
        """Compare one fit with one table."""
        self.compare(table, lambda quantity: quantity_of(fit, quantity))


# ---------------------------------------------------------------------------------------------- the data sets
def show_cbpp(demo: Demo) -> FittedModel:
    """Four approximations to one likelihood."""
    data = rg.datasets.load("cbpp")
    heading("1. cbpp: contagious bovine pleuropneumonia, 15 herds in 4 periods")
    say("""The Laplace approximation (n_agq=1, the default) with everything converged fully. glmmTMB does the
        same; so does lme4 with tight tolerances. (The time of the first fit includes loading the kernels, and
        compiling them once after installation.)""")
    exact = demo.fit(CBPP, data, "cbpp", n_agq=1)
    print(f"\n{exact.summary()}")
    demo.compare_fit("cbpp-laplace-glmmtmb", exact)
    demo.compare_fit("cbpp-laplace-tight", exact)
    say("""The same in mode='lme4', which stops the inner iterations where lme4 does and so prints lme4's
        digits.""")
    demo.compare_fit("cbpp-laplace-lme4", demo.fit(CBPP, data, "cbpp", n_agq=1, mode="lme4"))
    say("""n_agq=0 takes beta from the joint penalised problem: quicker, and a little off.""")
    demo.compare_fit("cbpp-nagq0", demo.fit(CBPP, data, "cbpp", n_agq=0, mode="lme4"))
    say("""n_agq=25: adaptive Gauss-Hermite quadrature, in effect the exact likelihood. Its logLik can be set
        beside that of any other model; lme4's cannot, so the saturated model's part is taken off below.""")
    quadrature = demo.fit(CBPP, data, "cbpp", n_agq=25)
    print(f"\n{quadrature.summary()}")
    demo.compare_fit("cbpp-agq25", quadrature)
    return exact


def load_contraception() -> pd.DataFrame:
    """Contraception with age in units of two standard deviations and a two-level child factor."""
    data = rg.datasets.load("Contraception")
    children = (data["livch"] != "0").map({False: "N", True: "Y"})
    return data.assign(age_s=data["age"] / (2.0 * data["age"].std()), ch=children.astype("category"))


def show_contraception(demo: Demo) -> None:
    """Six models of one data set: what their comparison says."""
    data = load_contraception()
    heading("2. Contraception: use by 1934 women in 60 districts of Bangladesh, six models")
    say("""age_s is age / (2 sd(age)); ch says whether there are living children. First all six, converged
        fully; the summary is of the model with the smallest AIC.""")
    exact = demo.fit_all(CONTRACEPTION, data, "Contraception")
    print(f"\n{exact['cm6'].summary()}")
    demo.compare("contraception-tight", comparison_of_models(exact).__getitem__)
    say("""Then in mode='lme4', for the paper's table. (Fully converged, one of its digits moves: 5.826.)""")
    lme4 = demo.fit_all(CONTRACEPTION, data, "Contraception", mode="lme4")
    demo.compare("contraception-table1", comparison_of_models(lme4).__getitem__)


def show_verbagg(demo: Demo) -> None:
    """Crossed random effects."""
    data = rg.datasets.load("VerbAgg")
    heading("3. VerbAgg: verbal aggression, 316 persons crossed with 24 items")
    say("""n_agq=0 first: beta from the joint penalised problem.""")
    demo.compare_fit("verbagg-nagq0", demo.fit(VERBAGG, data, "VerbAgg", n_agq=0))
    say("""The Laplace approximation.""")
    fit = demo.fit(VERBAGG, data, "VerbAgg", n_agq=1)
    print(f"\n{fit.summary()}")
    demo.compare_fit("verbagg-laplace", fit)
    demo.compare_fit("verbagg-tight", fit)


def show_toenail(demo: Demo) -> FittedModel:
    """Where Laplace is not good enough."""
    data = rg.datasets.load("toenail")
    heading("4. toenail: 294 patients with about 6.5 yes-or-no answers each, where Laplace fails")
    say("""The Laplace approximation, which takes each patient's integrand for a normal density.""")
    fit = demo.fit(TOENAIL, data, "toenail", n_agq=1)
    demo.compare_fit("toenail-agq1", fit)
    say("""Adaptive Gauss-Hermite quadrature with 50 nodes.""")
    exact = demo.fit(TOENAIL, data, "toenail", n_agq=50)
    demo.compare_fit("toenail-agq50", exact)
    laplace, quadrature = fit.theta.iloc[0], exact.theta.iloc[0]
    print(f"\nStandard deviation between patients: {laplace:.2f} by Laplace, {quadrature:.2f} by quadrature.")
    print("Figure 3 shows why.")
    return fit


def show_models(demo: Demo) -> tuple[FittedModel, FittedModel]:
    """All four data sets; returns the fits that the pictures show, of cbpp and toenail."""
    cbpp = show_cbpp(demo)
    show_contraception(demo)
    show_verbagg(demo)
    return cbpp, show_toenail(demo)


# ----------------------------------------------------------------------------------------------- the pictures
def write_pictures(folder: Path, cbpp: FittedModel, toenail: FittedModel) -> list[Path]:
    """The paper's figures 1 to 3 and a caterpillar plot, as PNG."""
    import matplotlib

    matplotlib.use("Agg")  # pictures go to files: no display is needed
    from matplotlib import pyplot

    from refglmm import plots

    pictures = {
        "figure1_integrands": lambda: plots.plot_integrands(cbpp),
        "figure2_ratio": lambda: plots.plot_ratio(cbpp),
        "figure3_toenail": lambda: plots.plot_departures(toenail),
        "caterpillar": lambda: plots.plot_caterpillar(cbpp),
    }
    written = []
    for name, draw in pictures.items():
        figure = draw().flat[0].figure
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], dpi=150)
        pyplot.close(figure)
    return written


def main(arguments: list[str] | None = None) -> int:
    """Run the demo.

    Parameters
    ----------
    arguments : list of str, optional
        Command line; that of the process by default.

    Returns
    -------
    int
        0 if every figure was reproduced, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m refglmm.demo", description="Published models, fitted again.")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for the pictures")
    folder = parser.parse_args(arguments).out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot make the folder for the pictures: {error}")
    demo = Demo()
    cbpp, toenail = show_models(demo)
    written = write_pictures(folder, cbpp, toenail)

    heading(f"{demo.compared - len(demo.missed)} of {demo.compared} figures reproduced")
    for line in demo.missed:
        print(f"NOT reproduced: {line}")
    print(f"Pictures: {folder}/{', '.join(path.name for path in written)}")
    return 1 if demo.missed else 0


if __name__ == "__main__":
    sys.exit(main())
