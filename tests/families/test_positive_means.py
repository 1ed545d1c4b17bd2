"""The links of counts: mean and log mean belong together; outside the domain nothing is finite."""

from __future__ import annotations

import numpy as np
import pytest

from refglmm.families import jet, positive_means


@pytest.mark.parametrize("name", ["by_log", "by_sqrt", "by_identity"])
def test_the_logarithm_is_that_of_the_mean(name):
    mean, log_mean = getattr(positive_means, name)(jet.first_variable(0.7))
    np.testing.assert_allclose(jet.log_of(mean), log_mean, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ["by_sqrt", "by_identity"])
def test_outside(name):
    with np.errstate(invalid="ignore"):
        mean, log_mean = getattr(positive_means, name)(jet.first_variable(-0.7))
    assert np.isnan(mean[0])
    assert np.isnan(log_mean[0])
