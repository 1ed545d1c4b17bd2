"""One entry for intervals of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from refglmm.errors import ArgumentError
from refglmm.inference.confint import interval_table


def test_parameters_by_name_number_and_kind(cbpp):
    every = cbpp.confint(method="wald")
    assert list(cbpp.confint("theta_", method="wald").index) == ["sd_(Intercept)|herd"]
    assert list(cbpp.confint("beta_", method="wald").index) == list(cbpp.fixef.index)
    assert cbpp.confint(["period3", 0], method="wald").equals(every.iloc[[3, 0]])
    assert list(cbpp.confint(["beta_", "period2"], method="wald").index) == list(cbpp.fixef.index)


def test_the_profile_is_the_default_and_reaches_the_level(cbpp):
    assert cbpp.confint("period2").equals(cbpp.profile("period2", alpha=0.01).confint())
    assert cbpp.confint("period2", level=0.9999).notna().all(axis=None)


def test_boot(cbpp):
    frame = cbpp.confint("beta_", method="boot", nsim=60, seed=1, level=0.9, boot_type="normal")
    assert frame.equals(cbpp.bootstrap(nsim=60, seed=1).confint(list(cbpp.fixef.index), level=0.9, type="normal"))
    own = cbpp.confint("stat", method="boot", stat=lambda fit: fit.beta[0], nsim=60, seed=1, level=0.9)
    assert list(own.index) == ["stat"]


def test_unknown_methods_and_arguments(cbpp):
    with pytest.raises(ArgumentError, match="unknown method 'bayes' of intervals; choose from profile, wald, boot"):
        cbpp.confint(method="bayes")
    with pytest.raises(ArgumentError, match="method='wald' takes no argument 'nsim'"):
        cbpp.confint(method="wald", nsim=3)
    with pytest.raises(ArgumentError, match="method='profile' takes no argument 'nsim'"):
        cbpp.confint(nsim=3)
    with pytest.raises(ArgumentError, match="method='boot' takes no argument 'alpha'"):
        cbpp.confint(method="boot", alpha=0.01)


def test_a_table_of_methods_and_models(cbpp, cbpp_lme4):
    table = interval_table({"exact": cbpp, "lme4": cbpp_lme4}, "theta_", methods=("wald", "profile"))
    assert list(table.columns) == ["model", "parameter", "method", "estimate", "lower", "upper"]
    assert list(table["model"]) == ["exact", "exact", "lme4", "lme4"]
    assert list(table["method"]) == ["wald", "profile"] * 2
    np.testing.assert_allclose(table["estimate"][:2], cbpp.par.iloc[0])
    np.testing.assert_allclose(table.loc[1, ["lower", "upper"]].to_numpy(float), cbpp.confint(0).to_numpy()[0])
    boot = interval_table(cbpp, 0, methods=("profile", "boot"), nsim=60, seed=2, level=0.8, progress=False)
    assert list(boot["method"]) == ["profile", "boot"]


def test_the_method_may_be_written_as_in_lme4(cbpp):
    assert cbpp.confint(method="Wald").equals(cbpp.confint(method="wald"))


def test_one_fit_and_one_method_need_no_list(cbpp):
    table = interval_table(cbpp, "period2", methods="wald")
    assert table["method"].tolist() == ["wald"]
    with pytest.raises(ArgumentError, match="a fit or a mapping from names to fits, not int"):
        interval_table({"a": 3})
