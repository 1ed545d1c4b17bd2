"""Other ways to estimate a GLMM, written to be followed: what they do, step by step, and what they miss.

Place in the reading order: after ``model``. :func:`pql` (penalised quasi-likelihood), :func:`mcem` (Monte Carlo EM),
and :func:`bias_study` / :func:`plot_bias`, which set them beside Laplace and adaptive quadrature. They return a
:class:`TeachingFit`: estimates, the way to them, a picture. It carries no certificate, because there is no likelihood
(PQL) or only a noisy one (Monte Carlo) that it could be issued for; to analyse data, use ``glmer`` or ``mixed_model``.
"""

from __future__ import annotations

from refglmm.teaching.bias import BiasStudy, bias_study, plot_bias
from refglmm.teaching.mcem import mcem
from refglmm.teaching.pql import pql
from refglmm.teaching.result import TeachingFit

__all__ = ["BiasStudy", "TeachingFit", "bias_study", "mcem", "plot_bias", "pql"]
