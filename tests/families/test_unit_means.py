"""Jets of a probability, of its complement and of their logarithms, against the links and 40-digit numbers."""

from __future__ import annotations

import numpy as np
import pytest
from families.densities import difference

from refglmm._jit import kernel
from refglmm.families import unit_means
from refglmm.families.jet import F1, F11, F111, F, first_variable
from refglmm.families.links import get_link

MEANS = {name: getattr(unit_means, f"{name}_mean_of") for name in ("logit", "probit", "cloglog", "cauchit", "log")}
ETAS = {name: (-2.5, -0.3) if name == "log" else (-2.5, 0.4, 1.7) for name in MEANS}


def jets(name, eta):
    return np.array(MEANS[name](first_variable(eta)))


@pytest.mark.parametrize("name", MEANS)
def test_values_and_derivatives(name):
    for eta in ETAS[name]:
        p = float(get_link(name).inverse(np.array([eta]))[0])
        given = jets(name, eta)
        np.testing.assert_allclose(given[:, F], [p, 1.0 - p, np.log(p), np.log1p(-p)], rtol=1e-13)
        slope = difference(lambda x: jets(name, x), eta, 1e-2)
        for order, below in ((F1, F), (F11, F1), (F111, F11)):
            np.testing.assert_allclose(given[:, order], slope[:, below], rtol=1e-8, atol=1e-10)


# mpmath 1.4.1, 40 digits: log p, log q
TAILS = {
    ("logit", -40.0): (-40.0, -4.248354255291589e-18),
    ("logit", 40.0): (-4.248354255291589e-18, -40.0),
    ("probit", -12.0): (-75.4106730015688, -1.776482112077679e-33),
    ("probit", 12.0): (-1.776482112077679e-33, -75.4106730015688),
    ("cloglog", -40.0): (-40.0, -4.248354255291589e-18),
    ("cloglog", 3.0): (-1.8921786966284627e-09, -20.085536923187668),
    ("cauchit", -1e6): (-14.960240443814008, -3.1830993684428716e-07),
    ("log", -1e-9): (-1e-9, -20.723265837446412),
}


@pytest.mark.parametrize(("name", "eta"), TAILS)
def test_tails(name, eta):
    given = jets(name, eta)
    np.testing.assert_allclose(given[2:, F], TAILS[name, eta], rtol=1e-13)
    assert np.all(np.isfinite(given))


def test_log_link_ends_at_zero():
    assert np.isnan(jets("log", 0.1)[3, F])


def test_kernels_compile():
    mean_of = unit_means.probit_mean_of
    compiled = kernel(lambda x: mean_of(first_variable(x)))
    np.testing.assert_allclose(compiled(0.4), jets("probit", 0.4), rtol=1e-14)
