from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import erfc

from refglmm.fit.summary import Summary, correlation, header_lines, title, zapped
from refglmm.fit.varcorr import TermVarCorr, VarCorr


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"n_agq": 0}, "(Adaptive Gauss-Hermite Quadrature, nAGQ = 0)"),
        ({}, "(Laplace Approximation)"),
        ({"n_agq": 25}, "(Adaptive Gauss-Hermite Quadrature, nAGQ = 25)"),
    ],
)
def test_title_names_the_method(poisson, changes, expected):
    assert title(poisson(**changes).fit) == f"Generalized linear mixed model fit by maximum likelihood {expected}"


def test_title_of_linear_models(linear):
    assert title(linear(True).fit) == "Linear mixed model fit by REML"
    assert title(linear(False).fit) == "Linear mixed model fit by maximum likelihood"


def test_header_repeats_weights_offset_and_subset(poisson):
    fit = poisson(call={"weights": "w", "offset": np.ones(60)}).fit
    assert header_lines(fit)[1:] == [
        " Family: poisson  ( log )",
        "Formula: y ~ x + (x | subject) + (1 | item)",
        "   Data: made_up",
        "Weights: w",
        " Offset: (given as an array)",
    ]


def test_long_formulas_wrap(poisson):
    expanded = "y ~ " + " + ".join(f"variable{i}" for i in range(20)) + " + (1 | g)"
    fit = poisson(formula=SimpleNamespace(expanded=expanded)).fit
    lines = header_lines(fit)
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(line.strip() for line in lines[2:-1]) == f"Formula: {expanded}"


def test_wald_statistics(poisson, linear):
    case = poisson()
    table = case.fit.summary().coefficients
    z = case.beta / case.fit.se.to_numpy()
    np.testing.assert_allclose(table["z value"], z, rtol=1e-14)
    np.testing.assert_allclose(table["Pr(>|z|)"], erfc(np.abs(z) / np.sqrt(2)), rtol=1e-12)
    assert list(linear(True).fit.summary().coefficients.columns) == ["Estimate", "Std. Error", "t value"]


def test_quantiles_are_of_scaled_pearson_residuals(linear):
    case = linear(True)
    r = np.sqrt(case.weights) * (case.y - case.mode.mu) / case.fit.sigma
    quantiles = case.fit.summary().residual_quantiles
    assert quantiles["Median"] == pytest.approx(np.median(r))
    assert quantiles["Max"] == r.max()


def cbpp_summary():
    """Figures of cbpp as lme4 1.1-31 prints them, put in by hand."""
    names = ["(Intercept)", "period2", "period3", "period4"]
    corr = np.eye(4)
    corr[np.tril_indices(4, -1)] = [-0.363, -0.340, 0.280, -0.260, 0.213, 0.198]
    columns = {
        "Estimate": [-1.39834, -0.99193, -1.12822, -1.5797454],
        "Std. Error": [0.23121, 0.3031506, 0.32283, 0.42205],
        "z value": [-6.0479, -3.2721, -3.4948, -3.7430],
        "Pr(>|z|)": [1.4672e-09, 0.0010676, 0.00047446, 0.00018184],
    }
    one, sd = np.eye(1), np.array([0.64207])
    criteria, quantiles = (
        ["AIC", "BIC", "logLik", "-2*log(L)", "df.resid"],
        ["Min", "1Q", "Median", "3Q", "Max"],
    )
    return Summary(
        header=("Title", "   Data: cbpp"),
        criteria=dict(zip(criteria, [194.05313, 204.17989, -92.02657, 184.05313, 51], strict=True)),
        residual_quantiles=pd.Series([-2.38163, -0.78892, -0.20263, 0.51421, 2.87909], quantiles),
        varcorr=VarCorr((TermVarCorr("herd", "herd", ("(Intercept)",), "us", one * sd**2, sd, one),), None),
        size="Number of obs: 56, groups:  herd, 15",
        phi=pd.Series(dtype=float),
        coefficients=pd.DataFrame(columns, index=names),
        correlation=pd.DataFrame(corr, index=names, columns=names),
        notes=(),
        show_correlation=True,
    )  # fmt: skip


def test_layout_is_that_of_lme4():
    """print(summary(glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial))).

    From lme4 1.1-31; lme4 2.x heads the fourth criterion "-2*log(L)" instead of "deviance".
    """
    assert str(cbpp_summary()).splitlines() == [
        "Title",
        "   Data: cbpp",
        "",
        "      AIC       BIC    logLik -2*log(L)  df.resid",
        "    194.1     204.2     -92.0     184.1        51",
        "",
        "Scaled residuals: ",
        "    Min      1Q  Median      3Q     Max",
        "-2.3816 -0.7889 -0.2026  0.5142  2.8791",
        "",
        "Random effects:",
        " Groups Name        Variance Std.Dev.",
        " herd   (Intercept) 0.4123   0.6421",
        "Number of obs: 56, groups:  herd, 15",
        "",
        "Fixed effects:",
        "            Estimate Std. Error z value Pr(>|z|)",
        "(Intercept)  -1.3983     0.2312  -6.048 1.47e-09 ***",
        "period2      -0.9919     0.3032  -3.272 0.001068 **",
        "period3      -1.1282     0.3228  -3.495 0.000474 ***",
        "period4      -1.5797     0.4220  -3.743 0.000182 ***",
        "---",
        "Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1",
        "",
        "Correlation of Fixed Effects:",
        "        (Intr) perid2 perid3",
        "period2 -0.363",
        "period3 -0.340  0.280",
        "period4 -0.260  0.213  0.198",
    ]


def test_html_escapes_and_holds_the_tables():
    html = cbpp_summary()._repr_html_()
    assert "Pr(&gt;|z|)" in html
    assert html.count("<table>") == 3
    assert "-0.9919" in html


def test_a_reml_fit_shows_its_criterion_only(linear):
    text = str(linear(True).fit.summary())
    assert "REML criterion at convergence: 181.2" in text
    assert "AIC" not in text
    assert "AIC" in str(linear(False).fit.summary())


def test_correlation_is_shown_up_to_twelve_coefficients(linear):
    fit = linear(True).fit
    assert "Correlation of Fixed Effects" in str(fit.summary())
    assert "Correlation of" not in str(fit.summary(correlation=False))
    many = cbpp_summary()
    names = [f"x{i}" for i in range(13)]
    changed = {**vars(many), "correlation": pd.DataFrame(np.eye(13), names, names), "show_correlation": False}
    assert "not shown (p = 13 > 12)" in str(Summary(**changed))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-3.95356, 0.02312, 5.17926], [-3.9536, 0.0231, 5.1793]),
        ([0.06292, 2.97959], [0.06292, 2.97959]),
        ([0.0], [0.0]),
    ],
)
def test_residual_quantiles_are_rounded_relative_to_the_largest(values, expected):
    """As lme4 1.1-31 under R 4.2 prints them for sleepstudy and Penicillin."""
    assert zapped(pd.Series(values)).tolist() == expected


def test_correlation_of_a_covariance_matrix():
    covariance = pd.DataFrame([[4.0, 3.0], [3.0, 9.0]])
    np.testing.assert_allclose(correlation(covariance), [[1.0, 0.5], [0.5, 1.0]])


def test_what_is_wrong_is_said_at_the_end(poisson):
    fit = poisson(certificate_changes={"singular": True, "boundary": ("g.(Intercept)",)}).fit
    assert str(fit.summary()).splitlines()[-2:] == [
        "boundary (singular) fit: g.(Intercept)",
        "standard errors hold the boundary parameters fixed: g.(Intercept)",
    ]
    fit = poisson(certificate_changes={"converged": False, "messages": ("gradient of x is 3",)}).fit
    assert fit.summary().notes == ("gradient of x is 3",)
    fit = poisson(certificate_changes={"converged": False}).fit
    assert fit.summary().notes[0].startswith("not certified as an optimum: predicted decrease 1e-12")
    assert poisson().fit.summary().notes == ()


def test_shape_parameters_are_shown(poisson):
    summary = Summary(**{**vars(cbpp_summary()), "phi": pd.Series({"size": 2.34567})})
    assert "Shape: size = 2.346" in str(summary)


def test_dict_holds_plain_numbers(poisson):
    out = poisson().fit.summary().to_dict()
    assert out["criteria"]["df.resid"] == 57
    assert set(out["coefficients"]) == {"(Intercept)", "x"}
    assert out["coefficients"]["x"]["Estimate"] == 0.2
