"""``result.plot()``: each result names a function of ``plots`` that draws it."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import matplotlib as mpl
import numpy as np
import pytest

import refglmm as rg
from refglmm import inference
from refglmm.errors import ArgumentError
from refglmm.inference.picture import Pictured

mpl.use("Agg")

from matplotlib import pyplot

for module in pkgutil.iter_modules(inference.__path__):
    import_module(f"refglmm.inference.{module.name}")
RESULTS = {kind.__name__: kind for kind in Pictured.__subclasses__()}


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


def test_these_results_have_pictures():
    assert set(RESULTS) == {"Bootstrap", "CheckReport", "Influence", "Profile", "SimulatedResiduals"}


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_the_function_named_takes_the_result(name):
    module, function = RESULTS[name].picture.split(".")
    draw = getattr(rg.plots, function)
    assert draw is getattr(import_module(f"refglmm.plots.{module}"), function)
    first = next(iter(inspect.signature(draw).parameters.values()))
    assert first.annotation == name


def test_plot_is_the_function_of_plots(cbpp):
    profile = cbpp.profile("theta_")
    (ax,) = profile.plot(absolute=True)
    assert ax.get_title(loc="left") == "sd_(Intercept)|herd"
    (zeta,) = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) > 10]
    assert zeta.min() >= 0.0


def test_a_bootstrap_shows_its_replicates_and_interval(cbpp):
    result = cbpp.bootstrap(nsim=60, seed=1)
    panels = result.plot(["period2", "(Intercept)"], level=0.8)
    panels[0].figure.canvas.draw()
    assert [ax.get_title(loc="left") for ax in panels] == ["period2", "(Intercept)"]
    ax = panels[0]
    bars = [p for p in ax.patches if p.get_height() != 1.0 and p.get_facecolor()[:3] == mpl.colors.to_rgb("#0072B2")]
    assert sum(bar.get_height() for bar in bars) == 60
    assert ax.lines[0].get_xdata()[0] == cbpp.fixef["period2"]
    band = next(patch for patch in ax.patches if patch not in bars)
    low, high = result.confint("period2", level=0.8).iloc[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((low, high))
    (single,) = result.plot("period3", type="normal", ax=pyplot.subplots()[1])
    assert single.get_title(loc="left") == "period3"


def test_a_bootstrap_without_replicates_has_no_picture(cbpp):
    def fails(fit):
        if fit is not cbpp:
            raise ValueError("no")
        return {"one": 1.0}

    result = cbpp.bootstrap(fails, nsim=2, seed=1)
    assert np.isnan(result.replicates.to_numpy()).all()
    with pytest.raises(ArgumentError, match="all of them failed"):
        result.plot()
