"""The integrand against scipy.stats, its integral against the likelihoods, and what the pictures show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot
from scipy import stats
from scipy.integrate import quad_vec

import refglmm as rg
from refglmm.errors import ArgumentError, NotAvailableError
from refglmm.plots.integrands import (
    MAX_PANELS,
    RATIO_MAX,
    WIDE,
    IntegrandProfile,
    integrand_profile,
    plot_departures,
    plot_integrands,
    plot_ratio,
    skewness,
    spread_groups,
)

Z = np.array([-4.0, -1.5, -0.3, 0.0, 0.7, 2.5])


def sums_by_level(values, labels, levels):
    return np.array([values[np.asarray(labels) == level].sum() for level in levels])


def assert_is_log_integrand(profile, log_density_given_u, labels):
    """g_j(u) from a density of scipy.stats, at every z of the profile."""
    at = {level: row for row, level in enumerate(profile.levels)}
    row = np.array([at[str(label)] for label in labels])
    for column, z in enumerate(profile.z):
        u = profile.mode + profile.scale * z
        wanted = sums_by_level(log_density_given_u(u[row]), labels, profile.levels) - 0.5 * u**2
        found = profile.log_height + profile.log_relative[:, column]
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-11)


def test_binomial_integrand_is_that_of_scipy(cbpp):
    data = rg.datasets.load("cbpp")
    fixed = cbpp.model_matrix().to_numpy() @ cbpp.beta

    def log_density(u):
        p = 1.0 / (1.0 + np.exp(-(fixed + cbpp.theta.iloc[0] * u)))
        return stats.binom.logpmf(data["incidence"], data["size"], p)

    assert_is_log_integrand(integrand_profile(cbpp, Z), log_density, data["herd"])


def test_poisson_integrand_with_offset_and_random_slope(counts, count_data):
    fixed = counts.fixef.iloc[0] + counts.fixef.iloc[1] * count_data["x"] + np.log(count_data["exposure"])

    def log_density(u):
        return stats.poisson.logpmf(count_data["y"], np.exp(fixed + counts.theta.iloc[0] * u * count_data["x"]))

    assert_is_log_integrand(integrand_profile(counts, Z), log_density, count_data["g"])


def test_gamma_integrand_uses_the_estimated_dispersion(positive, positive_data):
    phi = positive.phi.iloc[0]

    def log_density(u):
        mean = np.exp(positive.fixef.iloc[0] + positive.theta.iloc[0] * u)
        return stats.gamma.logpdf(positive_data["y"], 1.0 / phi, scale=mean * phi)

    assert_is_log_integrand(integrand_profile(positive, Z), log_density, positive_data["g"])


@pytest.mark.parametrize("name", ["cbpp", "counts", "positive", "toenail"])
def test_height_and_scale_are_the_laplace_approximation(name, request):
    fit = request.getfixturevalue(name)
    profile = integrand_profile(fit, Z)
    assert np.sum(profile.log_height + np.log(profile.scale)) == pytest.approx(fit.loglik, abs=1e-9)


def test_the_integrals_multiply_to_the_likelihood_of_quadrature():
    data = rg.datasets.load("cbpp")
    fit = rg.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial", n_agq=40)

    def integrand(z):
        return integrand_profile(fit, [z]).density[:, 0]

    area, _ = quad_vec(integrand, -12.0, 12.0, epsabs=1e-13)
    profile = integrand_profile(fit, [0.0])
    total = np.sum(profile.log_height + np.log(profile.scale) + np.log(area))
    assert total == pytest.approx(fit.loglik, abs=1e-9)


@pytest.mark.parametrize("name", ["cbpp", "counts", "positive"])
def test_z_is_measured_from_the_mode_in_units_of_the_curvature(name, request):
    h = 1e-3
    profile = integrand_profile(request.getfixturevalue(name), [-2 * h, -h, 0.0, h, 2 * h])
    g = profile.log_relative
    slope = (g[:, 0] - 8 * g[:, 1] + 8 * g[:, 3] - g[:, 4]) / (12 * h)
    curvature = (-g[:, 0] + 16 * g[:, 1] - 30 * g[:, 2] + 16 * g[:, 3] - g[:, 4]) / (12 * h**2)
    np.testing.assert_allclose(slope, 0.0, atol=1e-8)
    np.testing.assert_allclose(curvature, -1.0, atol=1e-6)


def test_without_variance_the_integrand_is_normal(cbpp):
    # theta = 0 exactly, and the mode that belongs to it
    optimum = replace(cbpp.optimum, par=np.zeros(1))
    fit = replace(cbpp, optimum=optimum, conditional=replace(cbpp.conditional, u=np.zeros(15)))
    profile = integrand_profile(fit, Z)
    np.testing.assert_allclose(profile.ratio, 1.0, rtol=1e-13)
    np.testing.assert_allclose(profile.density, np.tile(stats.norm.pdf(Z), (15, 1)), rtol=1e-13)


def made_profile(log_relative, z, levels):
    q = len(levels)
    return IntegrandProfile("g", tuple(levels), z, log_relative, np.zeros(q), np.zeros(q), np.ones(q))


def test_skewness_is_that_of_a_gamma_density():
    z = np.linspace(-6.0, 55.0, 12201)
    shapes = np.array([9.0, 16.0, 4.0])
    with np.errstate(divide="ignore"):
        log_relative = np.array([stats.gamma.logpdf(z, shape, loc=-5.0) for shape in shapes])
    found = skewness(made_profile(log_relative, z, "abc"))
    np.testing.assert_allclose(found, 2.0 / np.sqrt(shapes), rtol=1e-4)


def test_spread_groups_go_from_left_to_right_skewed():
    z = np.linspace(-8.0, 8.0, 1601)
    skews = [0.5, -0.9, 0.02, 0.9, -0.5, 0.85]
    densities = [stats.pearson3.logpdf(z, skew) for skew in skews]
    assert spread_groups(made_profile(np.array(densities), z, "abcdef"), 3) == ("b", "c", "d")
    assert spread_groups(made_profile(np.array(densities[:2]), z, "ab"), 5) == ("b", "a")


def test_toenail_is_skewed_both_ways_and_cbpp_is_not(toenail, cbpp):
    skew = skewness(integrand_profile(toenail, WIDE))
    assert skew.min() < -0.5
    assert skew.max() > 0.5
    assert np.abs(skewness(integrand_profile(cbpp, WIDE))).max() < 0.25


# ------------------------------------------------------------------------------------------------- pictures
def curve(ax):
    return ax.get_lines()[0].get_xydata()


def test_each_herd_has_a_panel_with_its_integrand_and_the_normal_density(cbpp):
    panels = plot_integrands(cbpp)
    assert [ax.get_title(loc="left") for ax in panels] == [f"herd {j}" for j in range(1, 16)]
    profile = integrand_profile(cbpp, curve(panels[0])[:, 0])
    for row, ax in enumerate(panels):
        integrand, normal = ax.get_lines()
        np.testing.assert_array_equal(integrand.get_ydata(), profile.density[row])
        np.testing.assert_allclose(normal.get_ydata(), stats.norm.pdf(profile.z), rtol=1e-12)


def test_ratio_panels_show_t_and_the_line_at_one(cbpp):
    panels = plot_ratio(cbpp, groups=["14", 3])
    profile = integrand_profile(cbpp, curve(panels[0])[:, 0])
    for ax, level in zip(panels, ("14", "3"), strict=True):
        t, one = ax.get_lines()
        np.testing.assert_array_equal(t.get_ydata(), profile.ratio[profile.levels.index(level)])
        assert set(one.get_ydata()) == {1.0}
        assert ax.get_ylim()[0] == 0.0
        assert profile.ratio[[13, 2]].max() < ax.get_ylim()[1] < RATIO_MAX


def test_a_new_figure_has_title_labels_and_one_legend(cbpp):
    for draw in (plot_integrands, plot_ratio):
        panels = draw(cbpp)
        figure = panels[0].figure
        assert "herd" in figure.get_suptitle()
        assert len(figure.legends) == 1
        assert not any(ax.get_legend() for ax in panels)
        assert [bool(ax.get_ylabel()) for ax in panels] == [j % 5 == 0 for j in range(15)]
        assert [bool(ax.get_xlabel()) for ax in panels] == [j >= 10 for j in range(15)]


def test_given_axes_are_drawn_on_and_no_figure_is_made(cbpp):
    figure, ax = pyplot.subplots()
    before = dict(pyplot.rcParams)
    panels = plot_ratio(cbpp, groups=["7"], ax=ax)
    assert panels.tolist() == [ax]
    assert pyplot.get_fignums() == [figure.number]
    assert ax.get_legend() is not None
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert dict(pyplot.rcParams) == before
    with pytest.raises(ArgumentError, match="ax holds 1 Axes, but there are 2 panels"):
        plot_integrands(cbpp, groups=["7", "8"], ax=ax)


def test_departures_show_the_same_groups_above_and_below(toenail):
    grid = plot_departures(toenail)
    assert grid.shape == (2, 5)
    titles = [ax.get_title(loc="left") for ax in grid[0]]
    profile = integrand_profile(toenail, curve(grid[0, 0])[:, 0])
    for column, title in enumerate(titles):
        row = profile.levels.index(title.removeprefix("patientID "))
        np.testing.assert_array_equal(curve(grid[0, column])[:, 1], profile.density[row])
        np.testing.assert_array_equal(curve(grid[1, column])[:, 1], profile.ratio[row])
    skew = skewness(integrand_profile(toenail, WIDE))
    drawn = [skew[profile.levels.index(title.removeprefix("patientID "))] for title in titles]
    assert drawn == sorted(drawn)
    assert (drawn[0], drawn[-1]) == (skew.min(), skew.max())
    assert len(grid[0, 0].figure.legends[0].get_texts()) == 6
    assert plot_departures(toenail, groups=["45"]).shape == (2, 1)


def test_too_many_or_unknown_groups_are_refused(toenail, cbpp):
    with pytest.raises(ArgumentError, match=f"294 levels, more than the {MAX_PANELS} panels"):
        plot_integrands(toenail)
    with pytest.raises(ArgumentError, match="no level 'x' of herd"):
        plot_ratio(cbpp, groups=["1", "x"])
    for nothing in ("12", []):
        with pytest.raises(ArgumentError, match="groups must be a non-empty list of levels of herd"):
            plot_ratio(cbpp, groups=nothing)


def test_models_without_one_dimensional_integrals_are_refused(sleepstudy, count_data):
    for draw in (plot_integrands, plot_ratio, plot_departures):
        with pytest.raises(NotAvailableError, match="linear mixed model is normal"):
            draw(sleepstudy)
    two = rg.glmer("y ~ 1 + (1 + x | g)", count_data, "poisson")
    with pytest.raises(NotAvailableError, match=r"has 1 term\(s\) with 2 column\(s\)") as refused:
        integrand_profile(two, Z)
    assert refused.value.facts["columns"] == [2]


def test_lme4_mode_of_a_scale_family_is_refused(positive_data):
    # lme4's walk of a scale family is ragged; without derivatives it passes no verdict on itself
    options = {"link": "log", "mode": "lme4", "control": {"derivatives": False}}
    fit = rg.glmer("y ~ 1 + (1 | g)", positive_data, "gamma", **options)
    with pytest.raises(NotAvailableError, match="mode='exact'"):
        plot_integrands(fit)
