"""The kind of object that is tried depends on what is installed: DataTree, InferenceData, or neither."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np
import pytest

from refglmm.bayes import arviz_export
from refglmm.bayes.arviz_export import grouped, to_arviz
from refglmm.bayes.draws import Draws
from refglmm.errors import ArgumentError, NotAvailableError

NAMES = ("Intercept", "b[talk]", "b[perf]", "sd[group:Int]", "lp")
CHAINS, DRAWS, ROWS = 4, 50, 12


def has_old_arviz():
    try:
        return int(version("arviz").split(".")[0]) < 1
    except PackageNotFoundError:
        return False


def has_arviz_base():
    return find_spec("arviz_base") is not None


KINDS = [
    pytest.param("datatree", marks=pytest.mark.skipif(not has_arviz_base(), reason="needs arviz-base")),
    pytest.param("inferencedata", marks=pytest.mark.skipif(not has_old_arviz(), reason="needs arviz 0.x")),
]


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(4)
    shape = (CHAINS, DRAWS)
    stats = {
        "lp": rng.standard_normal(shape),
        "accept": rng.random(shape),
        "treedepth": rng.integers(1, 5, shape),
        "n_leapfrog": rng.integers(1, 32, shape),
        "divergent": rng.random(shape) < 0.1,
        "energy": rng.standard_normal(shape),
    }
    metadata = {"model": "sat ~ talk", "seed": 3, "exact": True, "versions": {"numpy": "2"}}
    draws = Draws(np.zeros((*shape, 2)), rng.standard_normal((*shape, 5)), NAMES, stats, metadata)
    return draws, {
        "log_lik": rng.standard_normal((*shape, ROWS)) - 2.0,
        "posterior_predictive": rng.standard_normal((CHAINS * DRAWS, ROWS)),
        "observed": rng.standard_normal(ROWS),
        "random_effects": {"r_group": rng.standard_normal((*shape, 3))},
    }


def exported(draws, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ArviZ 0.x announces 1.0 when it is imported
        return draws.to_arviz(**options)


def test_labels_with_a_common_base_are_one_variable(parts):
    draws, _ = parts
    variables, coords, dims = grouped(draws)
    assert list(variables) == ["Intercept", "b", "sd"]  # lp is a statistic of the sampler
    assert coords == {"b_dim": ["talk", "perf"], "sd_dim": ["group:Int"]}
    assert dims == {"b": ["b_dim"], "sd": ["sd_dim"]}
    np.testing.assert_array_equal(variables["b"], draws.values[:, :, 1:3])
    assert variables["Intercept"].shape == (CHAINS, DRAWS)
    assert variables["sd"].shape == (CHAINS, DRAWS, 1)


def test_lp_is_a_variable_where_no_sampler_reports_it(parts):
    draws, _ = parts
    assert "lp" in grouped(Draws(draws.positions, draws.values, NAMES))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_groups_variables_and_coordinates(parts, kind):
    draws, more = parts
    named = {"coords": {"group": list("uvw")}, "dims": {"r_group": ["group"]}}
    idata = exported(draws, **more, **named, response="sat", kind=kind)
    posterior = idata["posterior"]
    assert set(posterior.data_vars) == {"Intercept", "b", "sd", "r_group"}
    assert all(posterior[name].dtype == np.float64 for name in posterior.data_vars)
    np.testing.assert_array_equal(posterior["b"].sel(b_dim="perf").values, draws["b[perf]"])
    np.testing.assert_array_equal(posterior["r_group"].sel(group="v").values, more["random_effects"]["r_group"][..., 1])
    stats = idata["sample_stats"]
    assert set(stats.data_vars) == {"lp", "acceptance_rate", "tree_depth", "n_steps", "diverging", "energy"}
    np.testing.assert_array_equal(stats["diverging"].values, draws.stats["divergent"])
    assert stats["diverging"].dtype == bool
    np.testing.assert_array_equal(idata["log_likelihood"]["sat"].values, more["log_lik"])
    replicates = idata["posterior_predictive"]["sat"].values
    np.testing.assert_array_equal(replicates.reshape(-1, ROWS), more["posterior_predictive"])
    np.testing.assert_array_equal(idata["observed_data"]["sat"].values, more["observed"])
    for group in ("log_likelihood", "posterior_predictive", "observed_data"):
        assert idata[group]["sat"].dims[-1] == "obs_id"
    assert posterior.attrs["inference_library"] == "refglmm"
    assert posterior.attrs["versions"] == '{"numpy": "2"}'
    assert posterior.attrs["exact"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_groups_that_were_given(parts, kind):
    draws, _ = parts
    idata = exported(Draws(draws.positions, draws.values, NAMES), kind=kind)
    assert set(idata.children if kind == "datatree" else idata.groups()) == {"posterior"}


@pytest.mark.parametrize("kind", KINDS)
def test_responses_of_several_lengths_have_dimensions_of_their_own(parts, kind):
    draws, more = parts
    idata = exported(draws, log_lik=more["log_lik"], observed=np.zeros(7), response="sat", kind=kind)
    assert idata["log_likelihood"]["sat"].shape == (CHAINS, DRAWS, ROWS)
    assert idata["observed_data"]["sat"].shape == (7,)


@pytest.mark.skipif(not has_old_arviz(), reason="needs arviz 0.x")
def test_the_functions_of_old_arviz_take_it(parts):
    draws, more = parts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arviz = import_module("arviz")
        idata = to_arviz(draws, **more)
        table = arviz.summary(idata, round_to=12)
        assert arviz.loo(idata).n_data_points == ROWS
    assert list(table.index[:4]) == ["Intercept", "b[talk]", "b[perf]", "sd[group:Int]"]
    np.testing.assert_allclose(table["mean"].iloc[:4], draws.mean().iloc[:4], atol=1e-11)


@pytest.mark.skipif(has_old_arviz() or not has_arviz_base(), reason="needs arviz-base without arviz 0.x")
def test_auto_is_a_data_tree_where_no_old_arviz_is(parts):
    draws, _ = parts
    assert type(to_arviz(draws)).__name__ == "DataTree"


def test_arrays_of_the_wrong_size(parts, monkeypatch):
    draws, _ = parts
    monkeypatch.setattr(arviz_export, "_maker", lambda kind: None)
    with pytest.raises(ArgumentError, match=r"log_lik is of shape \(4, 49, 12\); it must start with \(4, 50\)"):
        to_arviz(draws, log_lik=np.zeros((4, 49, 12)))
    with pytest.raises(ArgumentError, match="random_effects is of shape"):
        to_arviz(draws, random_effects={"r": np.zeros(3)})


def test_kinds_that_are_not_there(parts, monkeypatch):
    draws, _ = parts
    with pytest.raises(ArgumentError, match="unknown kind 'tree' of ArviZ object; choose from auto"):
        to_arviz(draws, kind="tree")
    monkeypatch.setattr(arviz_export, "_old_arviz", lambda: False)
    monkeypatch.setattr(arviz_export, "find_spec", lambda name: None)
    with pytest.raises(NotAvailableError, match="pip install arviz-base"):
        to_arviz(draws)
    with pytest.raises(NotAvailableError, match=r"needs arviz below 1\.0"):
        to_arviz(draws, kind="inferencedata")
