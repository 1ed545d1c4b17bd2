"""Agreement with R's emmeans (1.8.4-1 on lme4 1.1-31, lmerTest 3.1-3, pbkrtest 0.5.2), see golden_emmeans.R.

Linear models to 1e-6 (both optimise to about 1e-8). Generalized ones in mode "lme4", whose Hessian by differences
limits standard errors to about 1e-5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import refglmm as rg

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
OURS = {
    "ratio": "estimate",
    "odds.ratio": "estimate",
    "lower.CL": "lower",
    "upper.CL": "upper",
    "t.ratio": "stat",
    "z.ratio": "stat",
    "se": "SE",
    "t": "stat",
    "p": "p.value",
}
pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def golden():
    return pd.read_csv(Path(__file__).with_name("golden_emmeans.csv"))


@pytest.fixture(scope="module")
def agree(golden):
    def compare(key, table, rtol, **others):
        theirs = golden[golden["key"] == key].drop(columns="key").dropna(axis=1, how="all").reset_index(drop=True)
        ours = table.rename(columns=OURS)
        assert len(theirs) == len(ours) > 0
        for name in theirs:
            tolerance = others.get(name.replace(".", "_"), rtol)
            np.testing.assert_allclose(
                ours[name], theirs[name], rtol=tolerance, atol=tolerance, err_msg=f"{key} {name}"
            )

    return compare


@pytest.fixture(scope="module")
def cbpp_lme4():
    return rg.glmer(CBPP, rg.datasets.load("cbpp"), "binomial", mode="lme4")


@pytest.fixture(scope="module")
def counts_lme4(made):
    return rg.glmer("k ~ a + x + offset(log(w)) + (1 | g)", made, "poisson", mode="lme4")


@pytest.mark.parametrize("weights", ["equal", "proportional", "outer", "cells"])
def test_weights_of_unbalanced_factors(linear, agree, weights):
    agree(f"weights {weights}", linear.lsmeans("b", weights=weights).table, 1e-6)
    agree(f"weights two {weights}", linear.lsmeans("a * b", weights=weights).table, 1e-6)


def test_values_of_covariates_and_comparisons_within(linear, agree):
    agree("at", linear.lsmeans("b | x", at={"x": [2, 4], "a": ["p", "q"]}).table, 1e-6)
    agree("at pairs", linear.lsmeans("b | x", at={"x": [2, 4]}).contrasts().table, 1e-6)


def test_kenward_roger_changes_standard_errors_and_degrees_of_freedom(linear, agree):
    means = linear.lsmeans("b", ddf="kenward-roger")
    agree("kr", means.table, 1e-6)
    agree("kr pairs", means.contrasts().table, 1e-6)


def test_simple_slopes_are_emtrends(linear, agree):
    agree("trend", linear.simple_effects("x:b").table, 1e-6)


def test_inestimable_means_are_the_same_ones(curved, agree):
    agree("rank", curved.lsmeans("a * b").table, 1e-6)
    agree("rank average", curved.lsmeans("a").table, 1e-6)
    agree("rank cells", curved.lsmeans("a", weights="cells").table, 1e-6)


def test_simple_main_effects(cake, agree):
    agree("cake simple", cake.lsmeans("recipe:temperature").simple("recipe").table, 1e-6)


def test_binomial_means_and_contrasts(cbpp_lme4, agree):
    means, response = cbpp_lme4.lsmeans("period"), cbpp_lme4.lsmeans("period", type="response")
    agree("cbpp", means.table, 3e-5)
    agree("cbpp response", response.table, 3e-5)
    agree("cbpp pairs", means.contrasts().table, 1e-4)
    agree("cbpp odds ratios", response.contrasts().table, 1e-4)
    agree("cbpp eff", means.contrasts("eff").table, 1e-4)
    agree("cbpp poly", means.contrasts("poly").table, 1e-4)
    agree("cbpp holm", means.contrasts(adjust="holm").table, 1e-4)
    agree("cbpp sidak", means.contrasts(adjust="sidak").table, 1e-4)
    agree("cbpp differences", response.contrasts(adjust="none", differences=True).table, 1e-4)
    agree("cbpp simultaneous", means.confint(adjust="sidak"), 3e-5)


def test_offsets_stand_at_their_mean_or_where_asked(counts_lme4, agree):
    agree("offset", counts_lme4.lsmeans("a").table, 1e-4)
    agree("offset zero", counts_lme4.lsmeans("a", offset=0, type="response").table, 1e-4)
    agree("offset ratios", counts_lme4.lsmeans("a", type="response").contrasts().table, 1e-4)
