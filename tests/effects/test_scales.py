"""Integrals over the random effects, ends of intervals at the edge of a link, and how tables are laid out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from refglmm.effects import tables
from refglmm.effects.scales import back_transformed, mean_interval
from refglmm.errors import NotAvailableError
from refglmm.families.links import LINKS, get_link
from refglmm.families.registry import get_family
from refglmm.fit.population import check_integrable, integrated, whole_line


@pytest.mark.parametrize(("s", "error"), [(0.0, 1e-15), (0.5, 1e-13), (2.0, 1e-13), (4.0, 1e-13), (10.0, 1e-13)])
def test_accuracy_of_a_logit_mean(s, error):
    inverse = get_link("logit").inverse
    for eta in (-3.0, 0.4, 6.0):

        def integrand(z, eta=eta):
            return stats.norm.pdf(z) * inverse(np.array(eta + s * z))

        # The integrand is steep at -eta / s.
        exact, _ = integrate.quad(
            integrand, -12, 12, points=[-eta / max(s, 1.0)], epsabs=1e-13, epsrel=1e-13, limit=200
        )
        found = integrated(inverse, np.array([[eta]]), np.array([[[s]]]))
        assert found[0, 0, 0] == pytest.approx(exact, abs=error)


def test_moments_and_pieces(monkeypatch):
    eta, s = np.linspace(-1, 1, 7), np.full(7, 0.8)
    log_normal = np.exp(eta + 0.32)
    for block in (4_000_000, 200):
        monkeypatch.setattr("refglmm.fit.population.BLOCK", block)
        first, second = integrated(np.exp, np.append(eta, eta)[None], np.append(s, s)[:, None, None])[0]
        np.testing.assert_allclose(first, np.tile(log_normal, 2), rtol=1e-13)
        np.testing.assert_allclose(second, np.tile(0.8 * log_normal, 2), rtol=1e-13)
    wide = integrated(np.exp, np.array([[0.0, 1.0]]), np.array([6.0, 0.0])[:, None, None])[0, 0]
    np.testing.assert_allclose(wide, [np.exp(18.0), np.e], rtol=1e-12)


def test_which_links_can_be_integrated():
    assert {name for name in LINKS if whole_line(get_link(name))} == {
        "identity",
        "log",
        "logit",
        "probit",
        "cloglog",
        "cauchit",
    }
    with pytest.raises(NotAvailableError, match=r"integrated out under the 1/mu\^2 link"):
        check_integrable(get_link("1/mu^2"))
    # exp(eta) is a probability for eta < 0 only
    with pytest.raises(NotAvailableError, match="under the log link"):
        check_integrable(get_family("binomial", "log").link)
    check_integrable(get_family("gamma", "identity").link)


@pytest.mark.parametrize(
    ("link", "eta", "expected"),
    [
        ("inverse", 0.5, (1 / 1.5, np.inf)),
        ("inverse", -0.5, (-np.inf, -1 / 1.5)),
        ("1/mu^2", 0.5, (1 / np.sqrt(1.5), np.inf)),
        ("sqrt", 0.5, (0.0, 2.25)),
        ("inverse", 2.0, (1 / 3, 1.0)),
        ("log", 0.5, (np.exp(-0.5), np.exp(1.5))),
    ],
)
def test_intervals_end_at_the_edge_of_the_link(link, eta, expected):
    eta = np.array([eta])
    ends = back_transformed(get_link(link), eta, eta - 1.0, eta + 1.0)
    np.testing.assert_allclose(np.concatenate(ends), expected, rtol=1e-12)


def test_interval_of_a_mean_is_that_of_its_link():
    link, eta, se = get_link("cloglog"), np.array([-1.0, 0.3]), np.array([0.2, 0.6])
    ours = mean_interval(link, link.inverse(eta), se * link.mu_eta(eta), 1.96)
    np.testing.assert_allclose(ours, (link.inverse(eta - 1.96 * se), link.inverse(eta + 1.96 * se)), rtol=1e-10)


# --- layout -------------------------------------------------------------------------------------------------


def test_estimates_share_the_decimals_of_the_smallest_standard_error():
    frame = pd.DataFrame({"a": ["u", "v"], "estimate": [123.456, -1e-14], "SE": [0.5, 0.0123], "df": [np.inf, 17.25]})
    assert tables.text((), frame, ()) == " a estimate     SE    df\n u 123.4560 0.5000   Inf\n v   0.0000 0.0123 17.25"


def test_small_and_missing_numbers():
    frame = pd.DataFrame(
        {"estimate": [3e-11, np.nan], "SE": [1e-11, np.nan], "df": [np.inf, np.nan], "p.value": [0.003, np.nan]}
    )
    header, rows = tables.cells(frame)
    assert header == ["estimate", "SE", "df", "p.value"]
    assert rows == [["3e-11", "1e-11", "Inf", "0.003"], ["nonEst", "nonEst", "", ""]]
    none = tables.text(("title",), frame[["estimate"]].iloc[:1], ("a note", ""))
    assert none == "title\n estimate\n    3e-11\n\na note"


def test_one_block_per_combination():
    frame = pd.DataFrame({"b": ["x", "x", "y"], "n": [1.0, 1.0, 2.5], "estimate": [1.0, 2.0, 3.0]})
    shown = tables.text((), frame, ("note",), ("b", "n"))
    assert shown.splitlines()[0] == "b = x, n = 1:"
    assert "b = y, n = 2.5:" in shown
    assert shown.endswith("\n\nnote")
