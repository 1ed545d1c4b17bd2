"""Response families: the log density of one observation and its derivatives in the linear predictor.

Place in the reading order: third sub-package, before ``covariance``. Read ``kernel`` (what the engines ask
for), ``special``, ``links``, ``base``, then one distribution a module, ``user`` and ``registry``.
"""

from refglmm.families.base import Family
from refglmm.families.bell import Bell
from refglmm.families.beta import Beta
from refglmm.families.betabinomial import BetaBinomial
from refglmm.families.binomial import Bernoulli, Binomial
from refglmm.families.censored_normal import CensoredNormal
from refglmm.families.compois import ConwayMaxwellPoisson
from refglmm.families.coupled import CoupledFamily
from refglmm.families.gamma import Gamma
from refglmm.families.gaussian import Gaussian
from refglmm.families.genpois import GeneralizedPoisson
from refglmm.families.inverse_gaussian import InverseGaussian
from refglmm.families.links import Link
from refglmm.families.lognormal import Lognormal, LognormalLog
from refglmm.families.nbinom1 import NegativeBinomial1
from refglmm.families.negative_binomial import NegativeBinomial
from refglmm.families.ordbeta import OrderedBeta
from refglmm.families.ordinal import Adjacent, Ordered, Sequential
from refglmm.families.poisson import Poisson
from refglmm.families.registry import FAMILIES, get_family
from refglmm.families.student import StudentT
from refglmm.families.truncated import (
    TruncatedConwayMaxwellPoisson,
    TruncatedGeneralizedPoisson,
    TruncatedNegativeBinomial1,
    TruncatedNegativeBinomial2,
    TruncatedPoisson,
)
from refglmm.families.tweedie import Tweedie
from refglmm.families.unit_lindley import UnitLindley
from refglmm.families.user import UserFamily

__all__ = [
    "FAMILIES",
    "Adjacent",
    "Bell",
    "Bernoulli",
    "Beta",
    "BetaBinomial",
    "Binomial",
    "CensoredNormal",
    "ConwayMaxwellPoisson",
    "CoupledFamily",
    "Family",
    "Gamma",
    "Gaussian",
    "GeneralizedPoisson",
    "InverseGaussian",
    "Link",
    "Lognormal",
    "LognormalLog",
    "NegativeBinomial",
    "NegativeBinomial1",
    "Ordered",
    "OrderedBeta",
    "Poisson",
    "Sequential",
    "StudentT",
    "TruncatedConwayMaxwellPoisson",
    "TruncatedGeneralizedPoisson",
    "TruncatedNegativeBinomial1",
    "TruncatedNegativeBinomial2",
    "TruncatedPoisson",
    "Tweedie",
    "UnitLindley",
    "UserFamily",
    "get_family",
]
