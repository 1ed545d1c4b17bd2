"""Families by name: every spelling, every refusal."""

from __future__ import annotations

import subprocess
import sys

import pytest

from refglmm import families as fam
from refglmm.errors import FamilyError
from refglmm.families import FAMILIES, get_family
from refglmm.families.registry import read_zero_part

SPELLINGS = {
    fam.Binomial(): ["binomial", "Binomial", " binomial ", "binomial()", "binomial(logit)"],
    fam.Binomial("probit"): ["binomial(probit)", 'binomial(link = "probit")', "binomial(link='probit')"],
    fam.Bernoulli(): ["bernoulli", "Bernoulli"],
    fam.Poisson(): ["poisson", "Poisson"],
    fam.Gamma(): ["gamma", "Gamma", "Gamma()"],
    fam.Gamma("log"): ['Gamma(link="log")', "Gamma(log)", "Gamma.fam"],
    fam.Beta(): ["beta", "beta.fam", "beta_family"],
    fam.Beta("probit"): ["beta_family(link = 'probit')"],
    fam.OrderedBeta(): ["ordbeta", "ordered_beta"],
    fam.UnitLindley(): ["unit.lindley", "UnitLindley"],
    fam.StudentT(): ["student_t", "t_family", "student", "t"],
    fam.StudentT(df=4.0): ["students.t(df = 4)", "student_t(4)"],
    fam.Lognormal(): ["lognormal", "lognormal(link='log')"],
    fam.LognormalLog(): ["lognormal_log"],
    fam.Tweedie(p=1.5): ["tweedie(p=1.5)", "tweedie(1.5)"],
    fam.CensoredNormal(): ["censored.normal", "tobit"],
    fam.CensoredNormal(lower=0.0): ["tobit(lower=0)"],
    fam.InverseGaussian(): ["inverse_gaussian", "inverse.gaussian", "InverseGaussian", "inverse gaussian"],
    fam.InverseGaussian("inverse"): ["inverse.gaussian(inverse)"],
    fam.Gaussian(): ["gaussian", "normal", "Gaussian"],
    fam.NegativeBinomial(): [
        "negative_binomial",
        "nbinom2",
        "neg_binomial",
        "negbin",
        "NegativeBinomial",
        "nb",
    ],
    fam.NegativeBinomial(size=2.5): [
        "negative.binomial(2.5)",
        "Negative Binomial(2.5)",
        "nbinom2(size=2.5)",
        "negative.binomial(theta = 2.5)",
    ],
}


@pytest.mark.parametrize(("family", "text"), [(f, text) for f, texts in SPELLINGS.items() for text in texts])
def test_spellings(family, text):
    assert get_family(text) == family


def test_every_family_is_found_by_its_own_name():
    for name, cls in FAMILIES.items():
        assert cls.name == name
        assert type(get_family(name)) is cls
        assert type(get_family(cls)) is cls


def test_link_beside_the_name():
    assert get_family("binomial", "cauchit") == fam.Binomial("cauchit")
    assert get_family(fam.Gamma, "log") == fam.Gamma("log")
    assert get_family("Gamma(log)", "log") == fam.Gamma("log")
    probit = fam.Binomial("probit")
    assert get_family(probit) is probit
    assert get_family(probit, "probit") is probit
    assert get_family("binomial", probit.link) == probit


@pytest.mark.parametrize("name", ["quasi", "quasibinomial", "quasipoisson", "quasi-poisson"])
def test_quasi_families_have_no_likelihood(name):
    with pytest.raises(FamilyError, match=f"'{name}' has no likelihood"):
        get_family(name)


@pytest.mark.parametrize(
    ("text", "message", "near"),
    [
        ("posson", "did you mean poisson", ["poisson", "compois"]),
        ("binomal", "did you mean binomial", None),
        ("wishart", "unknown family 'wishart'; There are binomial, bernoulli", []),
    ],
)
def test_unknown_names_list_near_ones(text, message, near):
    with pytest.raises(FamilyError, match=message) as caught:
        get_family(text)
    assert near is None or caught.value.facts["near"] == near


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), "a family is a name or a family object, not int"),
        (("binomial(",), "cannot read the family"),
        (("Gamma(3)",), "Gamma takes no such argument"),
        (("binomial(identity)",), "has no link 'identity'"),
        (("binomial(probit)", "logit"), "two links"),
        ((fam.Binomial("probit"), "logit"), "has its link already"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(FamilyError, match=message):
        get_family(*arguments)


def test_importing_the_families_compiles_nothing_and_loads_no_heavy_module():
    script = (
        "import sys, numba.core.dispatcher as d\n"
        "calls = []\n"
        "d.Dispatcher.compile = lambda *a: calls.append(a)\n"
        "import refglmm.families as f\n"
        "f.get_family('nbinom2').observe\n"
        "assert not calls\n"
        "heavy = [m for m in ('scipy.stats', 'pandas', 'matplotlib') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=str(_root()))


def _root():
    import pathlib

    return pathlib.Path(fam.__file__).parents[2]


def test_a_hurdle_lognormal_goes_by_the_moments_of_log_y():
    """As in GLMMadaptive and brms; without a hurdle the name means the mean of y, as in glmmTMB."""
    assert read_zero_part("hurdle.lognormal", "~ x") == ("lognormal_log", "~ x")
    assert read_zero_part("hurdle.gamma") == ("gamma", "~1")
