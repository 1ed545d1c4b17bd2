"""Pictures of posterior draws: what the artists hold, from draws whose properties are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from scipy import stats

import refglmm as rg
from refglmm.bayes.draws import Draws
from refglmm.bayes.information import loo
from refglmm.errors import ArgumentError, RefglmmWarning
from refglmm.plots import chains, elbo, energy, forest, khat, pairs, ppc, rank
from refglmm.plots.style import PALETTE, VERMILION

CHAINS, DRAWS = 4, 400
NAMES = ("Intercept", "b[talk]", "b[perf]", "sd[group:Int]", "nu")


@pytest.fixture(scope="module")
def draws():
    """Chain 3 of sd never moves, chain 2 of b[talk] has another mean, nu has Cauchy tails."""
    rng = np.random.default_rng(11)
    values = rng.standard_normal((CHAINS, DRAWS, 5))
    values[:, :, 1] = 0.25 - 0.9 * values[:, :, 0] + 0.1 * values[:, :, 1]
    values[1, :, 1] += 3.0
    values[:, :, 3] = np.abs(values[:, :, 3])
    values[2, :, 3] = 0.4
    values[:, :, 4] = 10.0 + rng.standard_cauchy((CHAINS, DRAWS))
    energies = 100.0 + rng.standard_normal((CHAINS, DRAWS))
    energies[3] = 100.0 + np.cumsum(0.1 * rng.standard_normal(DRAWS))
    divergent = np.zeros((CHAINS, DRAWS), dtype=bool)
    divergent[0, [7, 50]] = divergent[3, 300] = True
    statistics = {"lp": -energies, "energy": energies, "divergent": divergent}
    return Draws(np.zeros((CHAINS, DRAWS, 0)), values, NAMES, statistics)


def titles(panels):
    return [panel.get_title(loc="left") for panel in panels]


def drawn(panels):
    """Layout and all artists, where warnings are errors."""
    np.ravel(panels)[0].figure.canvas.draw()


def legend_texts(panel):
    figure = panel.figure
    legends = figure.legends or [panel.get_legend()]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


# -- what they share ---------------------------------------------------------------------------------------------

OF_DRAWS = ("plot_dens", "plot_trace", "plot_acf", "plot_forest", "plot_pairs", "plot_rank", "plot_energy")


@pytest.mark.parametrize("name", OF_DRAWS)
def test_all_take_draws_and_results_that_have_them(draws, name):
    plot = getattr(rg.plots, name)
    drawn(plot(draws))
    plot(SimpleNamespace(draws=draws.select(["Intercept", "sd"])))
    for wrong in (np.zeros((4, 10, 2)), pd.DataFrame({"x": [1.0]}), None, "b"):
        with pytest.raises(ArgumentError, match=f"{name} takes Draws or a result that has draws.*not "):
            plot(wrong)


@pytest.mark.parametrize("name", OF_DRAWS[:-1])
def test_quantities_that_are_not_there(draws, name):
    with pytest.raises(ArgumentError, match=r"no quantity 'b\[talc\]'; did you mean b\[talk\]"):
        getattr(rg.plots, name)(draws, "b[talc]")


def test_all_are_public():
    for name in (*OF_DRAWS, "plot_elbo", "plot_ppc", "plot_rhat", "plot_khat"):
        assert name in rg.plots.__all__
        assert callable(getattr(rg.plots, name))


def test_draws_that_cannot_be_drawn():
    values = np.zeros((2, 30, 1))
    values[1, 4] = np.nan
    with pytest.raises(ArgumentError, match="x is not finite in chain 2, draw 5"):
        rg.plots.plot_trace(Draws(np.zeros((2, 30, 0)), values, ["x"]))
    with pytest.raises(ArgumentError, match="needs draws; there are none"):
        rg.plots.plot_trace(Draws(np.zeros((2, 0, 0)), np.zeros((2, 0, 1)), ["x"]))
    many = Draws(np.zeros((1, 9, 0)), np.ones((1, 9, 70)), [f"r[{k}]" for k in range(70)])
    with pytest.raises(ArgumentError, match=r"room for 60 quantities, but 70 are asked for; choose with pars="):
        rg.plots.plot_dens(many)


def test_density_is_a_density_with_the_mass_kept_inside():
    rng = np.random.default_rng(2)
    half_normal = np.abs(rng.standard_normal(4000))
    x, height = chains.density(half_normal)
    assert x[0] == half_normal.min()
    assert x[-1] == half_normal.max()
    assert np.trapezoid(height, x) == pytest.approx(1.0, abs=2e-3)
    # At zero an estimate without reflection would be half as high.
    assert height[0] == pytest.approx(stats.halfnorm.pdf(0.0), rel=0.06)
    literal = [
        np.mean(sum(stats.norm.pdf(place, centre, chains.bandwidth(half_normal)) for centre in mirrored(half_normal)))
        for place in x[::64]
    ]
    np.testing.assert_allclose(height[::64], literal, rtol=1e-10)


def mirrored(values):
    return values, 2.0 * values.min() - values, 2.0 * values.max() - values


def test_bandwidth_is_not_taken_in_by_one_far_draw():
    values = np.append(np.random.default_rng(3).standard_normal(999), 1e6)
    assert chains.bandwidth(values) == pytest.approx(0.9 * 1000**-0.2, rel=0.1)
    assert chains.bandwidth(np.ones(5)) == 0.0
    # A chain that hardly moves: its quartiles are equal, its standard deviation 0.3015 is not zero.
    assert chains.bandwidth(np.r_[np.zeros(90), np.ones(10)]) == pytest.approx(0.9 * 0.3015 * 100**-0.2, rel=1e-3)


def test_autocorrelation_is_the_textbook_sum():
    x = np.random.default_rng(4).standard_normal(50).cumsum()
    d = x - x.mean()
    literal = [1.0] + [np.sum(d[:-t] * d[t:]) / np.sum(d**2) for t in range(1, 21)]
    np.testing.assert_allclose(chains.autocorrelation(x, 20), literal, atol=1e-13)
    assert np.isnan(chains.autocorrelation(np.full(50, 0.1), 3)).all()


def test_shown_range():
    normal = np.random.default_rng(5).standard_normal(4000)
    assert chains.shown_range(normal) == (normal.min(), normal.max(), 0)
    low, high, outside = chains.shown_range(np.append(normal, [500.0, -900.0]))
    assert (low, outside) == (pytest.approx(normal.min(), abs=2.0), 2)
    assert high < 6.0
    assert chains.shown_range(np.full(9, 2.0)) == (2.0, 2.0, 0)


# -- densities and traces ----------------------------------------------------------------------------------------


def test_densities_of_chains(draws):
    panels = rg.plots.plot_dens(draws)
    assert titles(panels) == list(NAMES)
    assert legend_texts(panels[0]) == ["chain 1", "chain 2", "chain 3", "chain 4"]
    assert [to_hex(line.get_color()).upper() for line in panels[0].lines] == list(PALETTE[:4])
    means = [np.average(line.get_xdata(), weights=line.get_ydata()) for line in panels[1].lines]
    np.testing.assert_allclose(means, draws["b[talk]"].mean(axis=1), atol=0.03)
    stuck = panels[3].lines[2]
    assert list(stuck.get_xdata()) == [0.4, 0.4]
    assert panels[3].lines[0].get_xdata().min() >= 0.0
    outside = panels[4].get_title(loc="right")
    low, high, count = chains.shown_range(draws["nu"].ravel())
    assert outside == f"{count} of 1600 outside"
    assert low <= panels[4].lines[0].get_xdata().min()
    assert high >= panels[4].lines[0].get_xdata().max()
    assert panels[0].get_title(loc="right") == ""


def test_densities_pooled_and_in_greys(draws):
    panel = rg.plots.plot_dens(draws, "Intercept", pooled=True)[0]
    assert len(panel.lines) == 1
    np.testing.assert_allclose(panel.lines[0].get_xydata().T, chains.density(draws["Intercept"].ravel()))
    assert not panel.figure.legends
    grey = rg.plots.plot_dens(draws, "Intercept", mono=True)[0]
    rgb = [tuple(int(to_hex(line.get_color())[k : k + 2], 16) for k in (1, 3, 5)) for line in grey.lines]
    assert all(r == g == b for r, g, b in rgb)
    assert len({str(line._unscaled_dash_pattern) for line in grey.lines}) == 4


def test_axes_of_the_caller(draws):
    _, axes = pyplot.subplots(1, 2)
    assert list(rg.plots.plot_dens(draws, "b", ax=axes)) == list(axes)
    with pytest.raises(ArgumentError, match="ax holds 2 Axes, but there are 5 panels"):
        rg.plots.plot_trace(draws, ax=axes)


def test_traces_and_divergences(draws):
    panels = rg.plots.plot_trace(draws, ["b[talk]", "nu"])
    assert titles(panels) == ["b[talk]", "nu"]
    for chain, line in zip(draws["b[talk]"], panels[0].lines, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), chain)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, DRAWS + 1))
    assert [segment[0, 0] for segment in panels[0].collections[0].get_segments()] == [8.0, 51.0, 301.0]
    assert panels[0].figure.get_suptitle() == "Traces; 3 divergent (marked below)"
    assert np.ptp(panels[1].get_ylim()) < np.ptp(draws["nu"])
    plain = Draws(draws.positions, draws.values, NAMES)
    assert rg.plots.plot_trace(plain, 0)[0].figure.get_suptitle() == "Traces"


def test_one_chain_needs_no_legend(draws):
    single = Draws(draws.positions[:1], draws.values[:1], NAMES)
    for plot in (rg.plots.plot_dens, rg.plots.plot_trace, rg.plots.plot_acf):
        panels = plot(single)
        assert not panels[0].figure.legends
        drawn(panels)


def test_many_chains_have_different_colours():
    values = np.random.default_rng(1).standard_normal((9, 20, 1))
    panel = rg.plots.plot_trace(Draws(np.zeros((9, 20, 0)), values, ["x"]))[0]
    assert len({to_hex(line.get_color()) for line in panel.lines}) == 9


# -- autocorrelation ---------------------------------------------------------------------------------------------


def test_autocorrelations_of_one_quantity(draws):
    panels = rg.plots.plot_acf(draws, "sd[group:Int]", lags=12)
    assert titles(panels) == ["chain 1", "chain 2", "chain 3", "chain 4"]
    heights = [segment[1, 1] for segment in panels[1].collections[0].get_segments()]
    np.testing.assert_allclose(heights, chains.autocorrelation(draws["sd[group:Int]"][1], 12))
    assert not panels[2].collections
    assert panels[2].texts[0].get_text() == "constant"


def test_autocorrelations_of_several(draws):
    panels = rg.plots.plot_acf(draws, ["Intercept", "sd"], lags=10)
    assert titles(panels) == ["Intercept", "sd[group:Int]"]
    for c, line in enumerate(panels[0].lines[:CHAINS]):
        np.testing.assert_allclose(line.get_ydata(), chains.autocorrelation(draws["Intercept"][c], 10))
    assert panels[1].texts[0].get_text() == "constant: chain 3"
    band = panels[0].patches[0].get_extents().transformed(panels[0].transData.inverted())
    assert (band.y0, band.y1) == (pytest.approx(-0.098, abs=1e-4), pytest.approx(0.098, abs=1e-4))


def test_the_scale_holds_all_autocorrelations():
    zigzag = np.tile([1.0, -1.0], 30)
    values = np.stack([zigzag, np.random.default_rng(1).standard_normal(60)], axis=1)[None]
    panels = rg.plots.plot_acf(Draws(np.zeros((1, 60, 0)), values, ["z", "x"]), lags=100)
    assert panels[1].get_ylim()[0] < -0.98
    assert panels[0].get_xlim()[1] == 59.5  # 60 draws have 59 lags


def test_lags(draws):
    for lags in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="lags must be a whole number of at least 1"):
            rg.plots.plot_acf(draws, lags=lags)
    with pytest.raises(ArgumentError, match="at least 3 draws a chain; there are 2"):
        rg.plots.plot_acf(Draws(np.zeros((1, 2, 0)), np.zeros((1, 2, 1)), ["x"]))


# -- forest ------------------------------------------------------------------------------------------------------


def test_forest_intervals_and_points(draws):
    ax = rg.plots.plot_forest(draws, ["b", "Intercept"], prob=0.9)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b[talk]", "b[perf]", "Intercept"]
    thin, thick = ([s[:, 0] for s in c.get_segments()] for c in ax.collections[:2])
    frame = draws.to_frame(["b", "Intercept"])
    np.testing.assert_allclose(thin, frame.quantile([0.05, 0.95]).T)
    np.testing.assert_allclose(thick, frame.quantile([0.25, 0.75]).T)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), frame.median())
    assert list(ax.lines[1].get_xdata()) == [0.0, 0.0]
    low, high = ax.get_ylim()
    assert low > high  # the first on top
    np.testing.assert_allclose(rg.plots.plot_forest(draws, "b", point="mean").lines[0].get_xdata(), draws.mean("b"))


def test_marginal_mode():
    rng = np.random.default_rng(6)
    assert forest.point_of(rng.gamma(3.0, 1.0, 20000), "marginal_mode") == pytest.approx(2.0, abs=0.15)
    assert forest.point_of(5.0 + rng.standard_cauchy(20000), "marginal_mode") == pytest.approx(5.0, abs=0.2)
    assert forest.point_of(np.full(7, 2.5), "marginal_mode") == 2.5
    # Most draws equal, so that the inner quantiles are too.
    assert forest.point_of(np.r_[np.zeros(2000), 1.0], "marginal_mode") == pytest.approx(0.0, abs=0.01)


def test_forest_choices(draws):
    with pytest.raises(ArgumentError, match="unknown point 'mode'; choose from median, mean, marginal_mode"):
        rg.plots.plot_forest(draws, point="mode")
    for prob in (0.5, 1.0, "95"):
        with pytest.raises(ArgumentError, match=r"prob must lie between 0\.5 and 1"):
            rg.plots.plot_forest(draws, prob=prob)


# -- pairs -------------------------------------------------------------------------------------------------------


def test_pairs(draws):
    panels = rg.plots.plot_pairs(draws, ["Intercept", "b[talk]", "sd"])
    assert panels.shape == (3, 3)
    usual, diverged = panels[1, 0].lines
    assert to_hex(diverged.get_color()).upper() == VERMILION
    expected = [draws[name][draws.stats["divergent"]] for name in ("Intercept", "b[talk]")]
    np.testing.assert_array_equal(diverged.get_xydata().T, expected)
    assert len(usual.get_xdata()) <= pairs.MOST_POINTS
    assert not set(usual.get_xdata()) & set(diverged.get_xdata())
    rho = stats.spearmanr(draws["Intercept"].ravel(), draws["b[talk]"].ravel()).statistic
    assert float(panels[0, 1].texts[0].get_text().replace("−", "-")) == pytest.approx(rho, abs=0.0051)
    assert [panels[k, k].texts[0].get_text() for k in range(3)] == ["Intercept", "b[talk]", "sd[group:Int]"]
    x, height = chains.density(draws["Intercept"].ravel(), *chains.shown_range(draws["Intercept"].ravel())[:2])
    np.testing.assert_allclose(panels[0, 0].lines[0].get_xydata(), np.column_stack([x, height]))
    drawn(panels)


def test_rank_correlations_of_ties_and_constants():
    x = np.random.default_rng(8).integers(0, 4, (200, 2)).astype(float)
    r = pairs.rank_correlations(np.column_stack([x, np.ones(200)]))
    assert r[0, 1] == pytest.approx(stats.spearmanr(x[:, 0], x[:, 1]).statistic, abs=1e-12)
    assert np.isnan(r[2]).all()
    assert r[0, 0] == pytest.approx(1.0)


def test_a_constant_has_no_correlation(draws):
    values = np.concatenate([draws.values[:, :, :1], np.ones((CHAINS, DRAWS, 1))], axis=2)
    panels = rg.plots.plot_pairs(Draws(draws.positions, values, ["x", "one"]))
    assert panels[0, 1].texts[0].get_text() == "–"
    assert list(panels[1, 1].lines[0].get_xdata()) == [1.0, 1.0]
    drawn(panels)


def test_how_many_pairs(draws):
    eleven = Draws(np.zeros((1, 9, 0)), np.random.default_rng(0).random((1, 9, 11)), [f"x{k}" for k in range(11)])
    with pytest.raises(ArgumentError, match="room for 10 quantities, but 11 are asked for"):
        rg.plots.plot_pairs(eleven)
    with pytest.raises(ArgumentError, match="at least 2 quantities, not 1"):
        rg.plots.plot_pairs(draws, "sd")
    _, axes = pyplot.subplots(2, 3)
    with pytest.raises(ArgumentError, match="ax must be an array of 2 x 2 Axes"):
        rg.plots.plot_pairs(draws, "b", ax=axes)


# -- ranks -------------------------------------------------------------------------------------------------------


def test_rank_counts():
    values = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    np.testing.assert_array_equal(rank.rank_counts(values, 4), [[2, 2, 0, 0], [0, 0, 2, 2]])
    counts = rank.rank_counts(np.random.default_rng(1).standard_normal((4, 100)), 10)
    np.testing.assert_array_equal(counts.sum(axis=0), 40)
    np.testing.assert_array_equal(counts.sum(axis=1), 100)


def test_uniform_band_holds_independent_draws():
    rng = np.random.default_rng(9)
    low, high = rank.uniform_band(4, 200, 10)
    counts = np.array([rank.rank_counts(rng.standard_normal((4, 200)), 10) for _ in range(200)])
    inside = np.mean((counts >= low) & (counts <= high))
    assert 0.94 < inside < 0.985  # 95 per cent or, counts being whole numbers, a little more
    assert low < 20.0 < high


def test_ranks_of_chains(draws):
    panels = rg.plots.plot_rank(draws, ["b[talk]", "b[perf]"], bins=10)
    counts = rank.rank_counts(draws["b[talk]"], 10)
    for count, line in zip(counts, panels[0].lines, strict=False):
        np.testing.assert_array_equal(line.get_ydata()[:-1], count)
    assert counts[1, -1] > 100  # the chain with the larger mean
    assert panels[0].get_ylim() == panels[1].get_ylim() == (0.0, pytest.approx(rank.TALLEST * DRAWS / 10))


def test_ranks_need_chains_and_draws(draws):
    with pytest.raises(ArgumentError, match="draws are of one chain"):
        rg.plots.plot_rank(Draws(draws.positions[:1], draws.values[:1], NAMES))
    for bins in (1, 201, 2.5):
        with pytest.raises(ArgumentError, match=r"bins must be a whole number from 2 to 200"):
            rg.plots.plot_rank(draws, bins=bins)


# -- energy ------------------------------------------------------------------------------------------------------


def test_energy(draws):
    ax = rg.plots.plot_energy(draws)
    text = ax.texts[0].get_text().splitlines()
    e = draws.stats["energy"]
    literal = [sum((chain[s] - chain[s - 1]) ** 2 for s in range(1, DRAWS)) / (DRAWS * np.var(chain)) for chain in e]
    assert text[0] == "E-BFMI"
    assert text[1] == f"chain 1: {literal[0]:.2f}"
    assert text[4] == f"chain 4: {literal[3]:.2f}  low"
    np.testing.assert_allclose([energy.energy_fraction(chain) for chain in e], literal, rtol=1e-10)
    assert literal[0] == pytest.approx(2.0, abs=0.3)  # independent energies: their steps have twice the variance
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["energy, centred", "change of energy"]
    assert np.isnan(energy.energy_fraction(np.ones(5)))


def test_energy_needs_a_hamiltonian_sampler(draws):
    with pytest.raises(ArgumentError, match=r"no statistic 'energy', which a sampler reports \(there are: lp\)"):
        rg.plots.plot_energy(Draws(draws.positions, draws.values, NAMES, {"lp": draws.stats["lp"]}))
    with pytest.raises(ArgumentError, match="finite energies of at least 3 draws"):
        rg.plots.plot_energy(Draws(np.zeros((1, 2, 0)), np.ones((1, 2, 1)), ["x"], {"energy": np.ones((1, 2))}))


# -- ELBO --------------------------------------------------------------------------------------------------------


def test_elbo_traces():
    rng = np.random.default_rng(3)
    runs = [-400.0 - 1e5 * np.exp(-np.arange(n) / 10) + rng.standard_normal(n) for n in (500, 400)]
    ax = rg.plots.plot_elbo(runs)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), runs[0])
    np.testing.assert_array_equal(ax.lines[2].get_xdata(), np.arange(1, 401))
    assert legend_texts(ax) == ["run 1", "run 2"]
    low, high = ax.get_ylim()
    assert low > -430.0  # the first steps do not flatten the rest
    assert high > max(map(np.max, runs))
    assert legend_texts(rg.plots.plot_elbo({"mean-field": runs[0], "full": runs[1]})) == ["mean-field", "full"]
    tail = rg.plots.plot_elbo(runs[0], tail=50)
    np.testing.assert_array_equal(tail.lines[0].get_xdata(), np.arange(451, 501))
    assert tail.get_legend() is None
    assert len(rg.plots.plot_elbo(np.array([runs[0], runs[0]])).lines) == 4


def test_running_median():
    middle, median = elbo.running_median(np.array([5.0, 1.0, 9.0, 2.0, 3.0, 100.0]))
    assert list(middle) == [3.0, 4.0]
    assert list(median) == [3.0, 3.0]
    assert elbo.running_median(np.arange(1000.0))[1].size == 961


@pytest.mark.parametrize("wrong", [[], None, [[1.0]], "elbo", np.zeros((2, 2, 2)), {"a": ["x", "y"]}])
def test_elbo_of_nothing(wrong):
    with pytest.raises(ArgumentError, match="plot_elbo takes the ELBO of each iteration"):
        rg.plots.plot_elbo(wrong)


def test_elbo_that_is_not_finite():
    trace = np.r_[-np.inf, np.nan, np.linspace(-9.0, -1.0, 40)]
    drawn(rg.plots.plot_elbo(trace))
    with pytest.raises(ArgumentError, match="the ELBO of run 2 is nowhere finite"):
        rg.plots.plot_elbo([trace, np.full(9, np.nan)])
    with pytest.raises(ArgumentError, match="tail must be a whole number of at least 2, not 1"):
        rg.plots.plot_elbo(trace, tail=1)


# -- predictive checks -------------------------------------------------------------------------------------------


def test_bars_count_each_value():
    y = np.array([0, 0, 1, 3, 3, 3])
    y_rep = np.array([[0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 3], [0, 0, 1, 1, 3, 3]])
    ax = rg.plots.plot_ppc(y, y_rep)
    assert [bar.get_height() for bar in ax.patches] == [2, 1, 0, 3]
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx([0, 1, 2, 3])
    middle = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(middle.get_ydata(), [2.0, 2.0, 0.0, 1.0])
    ends = [s[:, 1] for s in ax.collections[0].get_segments()]
    np.testing.assert_allclose(ends[0], np.quantile([5, 0, 2], [0.05, 0.95]))
    assert legend_texts(ax) == ["responses", "replicates: median, 90 % interval"]


def test_densities_of_replicates():
    rng = np.random.default_rng(1)
    y, y_rep = rng.standard_normal(80), rng.standard_normal((4, 60, 80))
    ax = rg.plots.plot_ppc(y, y_rep)
    assert len(ax.lines) == ppc.CURVES + 1
    assert len(rg.plots.plot_ppc(np.round(y), y_rep).lines) == ppc.CURVES + 1  # scores that a normal model replicates
    ends = ax.get_xlim()
    np.testing.assert_allclose(ax.lines[-1].get_xydata().T, chains.density(y, *ends))
    np.testing.assert_allclose(ax.lines[0].get_xydata().T, chains.density(y_rep[0, 0], *ends))
    assert sorted(legend_texts(ax)) == ["replicates", "responses"]


def test_distribution_functions_of_replicates():
    rng = np.random.default_rng(1)
    y, y_rep = rng.integers(0, 500, 50), rng.integers(0, 500, (7, 50))
    ax = rg.plots.plot_ppc(y, y_rep, "ecdf")
    assert len(ax.lines) == 8
    np.testing.assert_array_equal(ax.lines[-1].get_xdata(), np.sort(y))
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), np.arange(1, 51) / 50)
    assert len(rg.plots.plot_ppc(y, y_rep).lines) == 8  # too many values for bars: densities
    with pytest.raises(ArgumentError, match="more than 60 different values are too many for bars"):
        rg.plots.plot_ppc(y, y_rep, "bars")


def test_a_statistic_among_those_of_the_replicates():
    y = np.array([0.0, 1.0, 5.0])
    y_rep = np.array([[0.0, 0.0, 4.0], [1.0, 1.0, 6.0], [0.0, 0.0, 5.0], [2.0, 2.0, 2.0]])
    ax = rg.plots.plot_ppc(y, y_rep, "stat", stat="max")
    assert list(ax.lines[0].get_xdata()) == [5.0, 5.0]
    assert sum(bar.get_height() for bar in ax.patches) == 4
    assert ax.get_title(loc="left").endswith("0.375")  # one above, one equal, of four
    assert list(rg.plots.plot_ppc(y, y_rep, "stat", stat="zeros").lines[0].get_xdata()) == pytest.approx([1 / 3] * 2)
    sd = rg.plots.plot_ppc(y, y_rep, "stat", stat="sd")
    assert sd.lines[0].get_xdata()[0] == pytest.approx(np.std(y, ddof=1))
    assert rg.plots.plot_ppc(y, y_rep, "stat", stat=np.ptp).get_xlabel() == "ptp"


@pytest.mark.parametrize(
    ("y", "y_rep", "options", "message"),
    [
        ([1.0, 2.0], [[1.0, 2.0, 3.0]], {}, r"y_rep must be of shape \(draws, 2\).*not \(1, 3\)"),
        ([1.0, 2.0], [1.0, 2.0], {}, r"y_rep must be of shape \(draws, 2\)"),
        ([[1.0]], [[1.0]], {}, r"y must be of shape \(n,\), not \(1, 1\)"),
        ([], np.zeros((3, 0)), {}, r"y must be of shape \(n,\)"),
        (["a"], [[1.0]], {}, "must hold numbers"),
        ([1.0], [[np.nan]], {}, "y_rep has 1 values that are not finite"),
        ([1.5], [[1.0]], {"kind": "bars"}, "bars are for responses that are whole numbers"),
        ([1.0], [[1.5]], {"kind": "bars"}, "bars are for responses that are whole numbers"),
        ([1.0], [[1.0]], {"kind": "hist"}, "unknown kind 'hist'; choose from dens, ecdf, bars, stat"),
        ([1.0], [[1.0]], {"kind": "stat", "stat": "var"}, "unknown stat 'var'; choose from mean, sd"),
        ([1.0], [[1.0]], {"kind": "stat", "stat": 3}, "stat must be a name or a function"),
    ],
)
def test_checks_that_cannot_be_drawn(y, y_rep, options, message):
    with pytest.raises(ArgumentError, match=message):
        rg.plots.plot_ppc(y, y_rep, **options)


# -- diagnostics -------------------------------------------------------------------------------------------------


def test_rhat_and_sizes():
    table = pd.DataFrame(
        {"mean": 0.0, "rhat": [1.0, 1.002, 1.3, 1.02], "ess_bulk": [900.0, 800.0, 50.0, 390.0], "ess_tail": 700.0},
        index=["a", "b", "c", "d"],
    )
    panels = rg.plots.plot_rhat(table)
    assert titles(panels) == ["2 of 4 above 1.01", "2 of 4 below 400", "0 of 4 below 400"]
    assert panels[0].texts[0].get_text() == "c: 1.3\nd: 1.02"
    assert panels[1].texts[0].get_text() == "c: 50\nd: 390"
    assert sum(bar.get_height() for bar in panels[0].patches) == 4
    assert [line.get_xdata()[0] for line in panels[0].lines] == [1.01, 1.05]
    assert [line.get_xdata()[0] for line in panels[2].lines] == [400.0]
    assert panels[1].get_xlabel() == "effective sample size (bulk)"
    drawn(panels)


def test_rhat_as_numbers():
    panels = rg.plots.plot_rhat([1.0, np.nan, 1.004], ess=[500.0, 600.0, 700.0])
    assert titles(panels) == ["0 of 3 above 1.01, 1 not finite", "0 of 3 below 400"]
    assert len(rg.plots.plot_rhat([1.0])) == 1
    for wrong, message in (
        ((pd.DataFrame({"mean": [1.0]}),), "the table has no column 'rhat'; it has mean"),
        ((pd.DataFrame({"rhat": [1.0]}), [3.0]), "ess is for R-hat as an array"),
        (([1.0, 1.0], [3.0]), "2 values of R-hat and 1 of ess"),
        (([np.nan],), "rhat holds no finite number"),
        ((["x"],), "a summary table or R-hat as numbers"),
    ):
        with pytest.raises(ArgumentError, match=message):
            rg.plots.plot_rhat(*wrong)


def test_pareto_k():
    k = pd.Series([0.1, 0.75, -0.2, 1.2, np.inf], index=["r1", "r2", "r3", "r4", "r5"])
    ax = rg.plots.plot_khat(k)
    good, bad = ax.lines[:2]
    assert list(good.get_ydata()) == [0.1, -0.2]
    assert list(bad.get_xdata()) == [1, 3, 4]
    assert list(bad.get_ydata()[:2]) == [0.75, 1.2]
    assert 1.2 < bad.get_ydata()[2] < 2.0
    texts = {text.get_text() for text in ax.texts}
    assert {"r2", "r4", "r5 (infinite)", "0.7", "1"} <= texts
    assert ax.get_title(loc="left") == "Pareto k: 3 of 5 above 0.7"
    drawn(ax)


def test_pareto_k_of_a_result():
    log_lik = np.random.default_rng(2).standard_normal((2, 100, 4)) * [0.1, 0.1, 0.2, 6.0]
    with pytest.warns(RefglmmWarning):
        result = loo(log_lik, labels=list("abcd"))
    ax = rg.plots.plot_khat(result)
    bad = result.khat > result.threshold
    assert bad[3]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), result.khat[bad])
    assert "d" in {text.get_text() for text in ax.texts}
    assert f"{result.threshold:.2g}" in {text.get_text() for text in ax.texts}


def test_pareto_k_of_few_draws():
    assert khat.threshold(None) == khat.threshold(4000) == 0.7
    assert khat.threshold(100) == pytest.approx(0.5)
    ax = rg.plots.plot_khat([0.6, 0.4], n_draws=100)
    assert ax.get_title(loc="left") == "Pareto k: 1 of 2 above 0.5"
    for wrong, options, message in (
        ([], {}, "takes one Pareto k an observation"),
        ([0.1, np.nan], {}, "1 of 2 are nan"),
        (["x"], {}, "takes one Pareto k an observation"),
        ([0.1], {"n_draws": 10}, "n_draws must be at least 11, not 10"),
    ):
        with pytest.raises(ArgumentError, match=message):
            rg.plots.plot_khat(wrong, **options)
