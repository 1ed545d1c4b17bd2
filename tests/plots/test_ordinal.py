"""Pictures of ordinal fits."""

from __future__ import annotations

import numpy as np
import pytest

import refglmm as rg
from refglmm.errors import ArgumentError


@pytest.fixture(scope="module")
def fit():
    return rg.glmer("rating ~ temp + contact + (1 | judge)", rg.datasets.load("wine"), "ordered")


def test_probabilities_are_drawn(fit):
    """A point for each category at each temperature, at its predicted probability; bars stay within (0, 1)."""
    (panel,) = fit.plot_predictions("temp", at={"contact": "no"})
    new = {"temp": ["cold", "warm"], "contact": ["no", "no"]}
    p = fit.predict(new, type="prob", re_form=False).to_numpy()
    drawn = np.array([line.get_ydata() for line in panel.lines if line.get_marker() not in ("", "None", "_")])
    np.testing.assert_allclose(drawn.astype(float), p.T, atol=1e-12)
    ends = np.concatenate([c.get_segments() for c in panel.collections])[:, :, 1]
    assert np.all((ends > 0.0) & (ends < 1.0))
    assert panel.get_ylabel() == "probability of rating"
    with pytest.raises(ArgumentError, match="the curves of an ordinal model are the probabilities of its categories"):
        fit.plot_predictions("temp", colour="contact")
    (latent,) = fit.plot_predictions("temp", type="link", colour="contact", groups=True)
    assert latent.get_ylabel() == "linear predictor (log-odds)"
