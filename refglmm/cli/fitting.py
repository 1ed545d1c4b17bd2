"""``refglmm fit``: a formula and a file to estimates.

Place in the reading order: after ``page``. A model is made, fitted by the method that was asked for, and reported;
the exit code tells a certified optimum from one that is not.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

import refglmm as rg
from refglmm.cli.arguments import Exit
from refglmm.cli.page import Report, check_outputs, deliver, preformatted
from refglmm.cli.reading import read_asked
from refglmm.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

    from refglmm.bayes.after import AfterFit
    from refglmm.bayes.diagnose import Diagnosis
    from refglmm.fitted import FittedModel

LIKELIHOOD, POSTERIOR = ("laplace", "agq"), ("map", "nuts", "advi")
#: Options that have a meaning for some methods only.
BELONGS = {
    "n_agq": LIKELIHOOD,
    "reml": LIKELIHOOD,
    "mode": LIKELIHOOD,
    "se": LIKELIHOOD,
    "prior": POSTERIOR,
    "y_range": POSTERIOR,
    "seed": POSTERIOR,
    "draws": ("nuts", "advi"),
    "warmup": ("nuts",),
    "chains": ("nuts",),
}
PRIORS = {"flat": "prior_flat", "normal": "prior_normal", "weak": "prior_weak"}
#: The command line gives the same numbers each time, unless told otherwise.
SEED = 1


def run(options: Namespace) -> int:
    """Fit, report, and say by the exit code whether the fit can be relied on."""
    method = chosen_method(options)
    check_outputs(options)
    data, name = read_asked(options)
    model = make_model(options, method, data, name)
    if method in LIKELIHOOD:
        fit = model.fit(**likelihood_settings(options, method))
        report, doubtful = likelihood_report(fit), _is_doubtful(fit)
    else:
        posterior = posterior_fit(model, options, method)
        diagnosis = posterior.diagnose()
        report, doubtful = posterior_report(posterior, diagnosis), diagnosis.status == "problem"
    deliver(report, options)
    return Exit.DOUBTFUL if doubtful else Exit.FINE


# ------------------------------------------------------------------------------------------ what was asked for
def chosen_method(options: Namespace) -> str:
    """The method; options that have no part in it are refused.

    Raises
    ------
    ArgumentError
        Naming the option and the methods that it belongs to.
    """
    method: str = options.method or ("laplace" if options.n_agq in (None, 0, 1) else "agq")
    for option, methods in BELONGS.items():
        if getattr(options, option) is not None and method not in methods:
            raise ArgumentError(
                f"--{option.replace('_', '-')} belongs to --method {' or '.join(methods)}, not {method}"
            )
    if options.method == "laplace" and options.n_agq not in (None, 0, 1):
        raise ArgumentError(f"--n-agq {options.n_agq} is quadrature: leave --method laplace out")
    return method


def make_model(options: Namespace, method: str, data: pd.DataFrame, name: str) -> rg.GLMM:
    """The model; arguments that were not given keep the library's defaults."""
    names = ("link", "weights", "offset", "subset", "zi", "dispersion", "mode")
    given = {key: getattr(options, key) for key in names if getattr(options, key) is not None}
    if options.factor:
        given["factors"] = options.factor
    if method in POSTERIOR:
        given["prior"] = getattr(rg, PRIORS[options.prior or "flat"])()
        given["y_range"] = None if options.y_range is None else tuple(options.y_range)
    return rg.GLMM(options.formula, data, options.family, data_name=name, **given)


def likelihood_settings(options: Namespace, method: str) -> dict[str, Any]:
    """Arguments of :meth:`.GLMM.fit`."""
    points = options.n_agq if options.n_agq is not None else "auto" if method == "agq" else 1
    given = {key: getattr(options, key) for key in ("reml", "se") if getattr(options, key) is not None}
    return {"n_agq": points, **given}


def posterior_fit(model: rg.GLMM, options: Namespace, method: str) -> AfterFit:
    """Fit by the posterior mode, by chains, or by a Gaussian."""
    seed = SEED if options.seed is None else options.seed
    if method == "map":
        return model.optimize(seed=seed)
    progress = False if options.quiet else None
    if method == "nuts":
        asked = {"sampling": options.draws, "warmup": options.warmup, "chains": options.chains}
        given = {key: value for key, value in asked.items() if value is not None}
        return model.sample(seed=seed, progress=progress, **given)
    draws = {} if options.draws is None else {"draws": options.draws}
    return model.variational(seed=seed, progress=progress, **draws)


# ----------------------------------------------------------------------------------------------------- results
def _is_doubtful(fit: FittedModel) -> bool:
    """A singular fit is an optimum like any other; what is not certified is not."""
    return not fit.convergence.converged or bool(fit.convergence.messages)


def likelihood_report(fit: FittedModel) -> Report:
    """Summary and certificate."""
    summary = fit.summary()
    effects = fit.ranef().as_frame().set_index("grp")
    sections = {
        "Summary": summary._repr_html_(),
        "Certificate of the optimum": preformatted(str(fit.convergence)),
        "Random effects": _frame_html(effects),
    }
    return Report(_title(fit), f"{summary}\n\n{fit.convergence}", sections, fit.to_dict())


def posterior_report(fit: AfterFit, diagnosis: Diagnosis) -> Report:
    """Summary and diagnosis."""
    from refglmm.bayes.serialise import to_dict

    sections = {
        "Posterior": fit._repr_html_(),
        "Diagnosis": diagnosis._repr_html_(),
        "Standard deviations and correlations": fit.varcorr()._repr_html_(),
        "Priors": _frame_html(fit.model.prior_summary()),
    }
    return Report(_title(fit), f"{fit}\n\n{diagnosis}", sections, to_dict(fit))


def _title(fit: Any) -> str:
    return f"{fit.formula.text}, {fit.family.display}"


#: Levels of random effects on a page; JSON holds all of them.
MOST_ROWS = 500


def _frame_html(frame: pd.DataFrame) -> str:
    from refglmm.fit.html import html_lines, html_table
    from refglmm.fit.rformat import format_numbers

    shown = frame.iloc[:MOST_ROWS]
    columns = [
        format_numbers(values.to_numpy(), 4) if values.dtype.kind == "f" else [str(v) for v in values]
        for _, values in shown.items()
    ]
    rows = [[str(label), *cells] for label, *cells in zip(shown.index, *columns, strict=True)]
    left = len(frame) - len(shown)
    return html_table([str(frame.index.name or ""), *map(str, frame.columns)], rows) + html_lines(
        [f"... and {left} more"] if left else []
    )
