"""Response families: the log density of one observation and its derivatives in the linear predictor.

Place in the reading order: third sub-package, before ``covariance``. Read ``kernel`` (what the engines ask
for), ``special``, ``links``, ``base``, then one distribution a module, ``user`` and ``registry``.
"""

from refglmm.families.base import Family
from refglmm.families.binomial import Bernoulli, Binomial
from refglmm.families.coupled import CoupledFamily
from refglmm.families.gamma import Gamma
from refglmm.families.gaussian import Gaussian
from refglmm.families.inverse_gaussian import InverseGaussian
from refglmm.families.links import Link
from refglmm.families.negative_binomial import NegativeBinomial
from refglmm.families.poisson import Poisson
from refglmm.families.registry import FAMILIES, get_family
from refglmm.families.user import UserFamily

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Binomial",
    "CoupledFamily",
    "Family",
    "Gamma",
    "Gaussian",
    "InverseGaussian",
    "Link",
    "NegativeBinomial",
    "Poisson",
    "UserFamily",
    "get_family",
]
