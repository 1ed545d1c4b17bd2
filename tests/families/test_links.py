"""Links: round trips, derivatives, and lme4's guards."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from families.instances import MEANS, NODES, contour

from refglmm.errors import FamilyError
from refglmm.families.links import EPS, LINKS, Link, get_link

PROBABILITY = ("logit", "probit", "cloglog", "cauchit")
every_link = pytest.mark.parametrize("link", LINKS.values(), ids=list(LINKS))


def predictors(link):
    eta = np.array([0.02, 0.3, 1.0, 2.5])
    return eta if link.name in ("sqrt", "1/mu^2") else np.r_[-eta, eta]


@every_link
def test_link_undoes_the_inverse(link):
    eta = predictors(link)
    np.testing.assert_allclose(link.link(link.inverse(eta)), eta, rtol=1e-12)


@every_link
def test_mean_and_its_derivative(link):
    for eta in predictors(link):
        mu, mu_eta = np.real(contour(MEANS[link.name], eta, min(0.4, abs(eta) / 2), 1))
        assert link.inverse(np.array([eta]))[0] == pytest.approx(mu, rel=1e-13)
        assert link.mu_eta(np.array([eta]))[0] == pytest.approx(mu_eta, rel=1e-12)
    assert NODES > 32


@every_link
def test_new_arrays_and_no_warnings_at_the_ends(link):
    eta = np.array([-1e4, -700.0, 0.0, 700.0, 1e4])
    kept = eta.copy()
    for function in (link.inverse, link.mu_eta, link.inverse_clamped, link.mu_eta_clamped):
        assert not np.shares_memory(function(eta), eta)
    assert not np.shares_memory(link.link(eta), eta) or link.name == "logit"
    np.testing.assert_array_equal(eta, kept)


@every_link
def test_valid_eta(link):
    eta = np.array([-1.0, 0.0, 1.0, np.inf, np.nan])
    positive_only, no_zero = link.name in ("sqrt", "1/mu^2"), link.name == "inverse"
    wanted = [not positive_only, not (positive_only or no_zero), True, False, False]
    assert link.valid_eta(eta).tolist() == wanted


@pytest.mark.parametrize("name", PROBABILITY)
def test_probabilities_keep_their_tails(name):
    link = LINKS[name]
    far = {"logit": -700.0, "probit": -37.0, "cloglog": -700.0, "cauchit": -1e15}[name]
    mu = link.inverse(np.array([far]))
    assert 0.0 < mu[0] < 1e-14
    assert link.link(mu)[0] == pytest.approx(far, rel=1e-12)


E40, E31 = 2.2204460492503131e-16, 3.4424771084698599e-14
GUARDED = {
    "logit": ([E40, E31, 0.2689414213699951, 1 - EPS], [EPS, 3.44247710846974e-14, 0.19661193324148185, EPS]),
    "probit": (
        [0.0, 2.6952500812005002e-211, 0.15865525393145707, 1 - EPS],
        [0.0, 8.3639516e-210, 0.24197072, 0.0],
    ),
    "cloglog": (
        [EPS, 3.4424771084698e-14, 0.30779937244465, 1 - EPS],
        [EPS, 3.4424771e-14, 0.254646380, EPS],
    ),
}


@pytest.mark.golden
@pytest.mark.parametrize("name", GUARDED)
def test_guards_are_lme4s(name):
    # glmFamily$new(family = binomial(name))$linkInv and $muEta at these eta; lme4 1.1-31, R 4.2.2
    link, eta = LINKS[name], np.array([-40.0, -31.0, -1.0, 40.0])
    mu, mu_eta = GUARDED[name]
    np.testing.assert_allclose(link.inverse_clamped(eta), mu, rtol=2e-12, atol=0)
    np.testing.assert_allclose(link.mu_eta_clamped(eta), mu_eta, rtol=2e-8, atol=1e-300)


@pytest.mark.parametrize("name", PROBABILITY)
def test_guards_touch_only_the_ends(name):
    link, eta = LINKS[name], np.array([-1e17, -6.0, -1.0, 0.4, 3.0, 1e17])
    mu, mu_eta = link.inverse_clamped(eta), link.mu_eta_clamped(eta)
    assert mu.max() == 1.0 - EPS
    np.testing.assert_array_equal(mu[1:5], link.inverse(eta[1:5]))
    np.testing.assert_array_equal(mu_eta[1:5], link.mu_eta(eta[1:5]))
    two_sided = name in ("logit", "cloglog")
    assert (mu.min() == EPS) == two_sided
    assert (mu_eta[-1] == EPS) == two_sided
    assert (link.mu_eta_clamped is link.mu_eta) == (not two_sided)


def test_clamped_log_and_unclamped_rest():
    assert LINKS["log"].inverse_clamped(np.array([-1e4]))[0] == EPS
    assert LINKS["log"].mu_eta_clamped(np.array([-1e4]))[0] == EPS
    for name in ("identity", "inverse", "sqrt", "1/mu^2"):
        assert LINKS[name].inverse_clamped is LINKS[name].inverse
        assert LINKS[name].mu_eta_clamped is LINKS[name].mu_eta


def test_links_are_frozen_and_travel_between_processes():
    for link in LINKS.values():
        assert pickle.loads(pickle.dumps(link)) == link
    with pytest.raises(AttributeError):
        LINKS["log"].name = "other"
    own = Link("exp", np.log, np.exp, np.exp, np.isfinite)
    assert own.inverse_clamped is np.exp


def test_unknown_link_lists_the_links_there_are():
    assert get_link("probit") is LINKS["probit"]
    with pytest.raises(FamilyError, match="unknown link 'loglog'; there are identity, log, inverse") as caught:
        get_link("loglog")
    assert caught.value.facts["link"] == "loglog"
