"""A posterior fit as plain JSON types.

Place in the reading order: after ``fits`` and ``diagnose``. Schema 1, all keys always present; numbers that are not
finite are null:

=================  ==========================================================================================
key                value
=================  ==========================================================================================
schema             1
versions           python, numpy, scipy, pandas and refglmm versions
model              formula, family, link, data, prior
method             "map", "nuts", "vb" or "laplace_draws", with what it was told in ``settings``
size               nobs, ngroups {factor: levels}, n_fixed, q
evidence           log_posterior and log_marginal of a mode, elbo of a variational fit, else null
summary            list of {name, ...}, one for each reported quantity: the columns of ``fit.summary()``
random             list of {grp, var1, var2, kind, estimate, se, lower, upper}
ranef              list of {grp, level, term, ...}
diagnosis          status, checks [{name, status, found, advice}], recommendations
=================  ==========================================================================================

The draws themselves are saved by :meth:`.Draws.save` and :meth:`.Draws.to_csv`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refglmm.fit.arrays import plain
from refglmm.fit.serialise import versions

if TYPE_CHECKING:
    from refglmm.bayes.after import AfterFit

SCHEMA = 1


def _method(fit: Any) -> dict[str, Any]:
    """How the fit was made, and the evidence that this way of fitting gives."""
    from refglmm.bayes.fits import MCMCFit, VBFit
    from refglmm.bayes.map_fit import MAPFit

    if isinstance(fit, MAPFit):
        settings = {"joint": fit.mode.joint, "se_method": fit.se_method, "prob": fit.prob}
        evidence = {"log_posterior": fit.log_posterior, "log_marginal": fit.log_marginal, "elbo": None}
        return {"method": "map", "settings": settings, "evidence": evidence}
    name = "nuts" if isinstance(fit, MCMCFit) else "vb" if isinstance(fit, VBFit) else "laplace_draws"
    settings = {"chains": fit.draws.n_chains, "draws": fit.draws.n_draws, **fit.draws.metadata}
    evidence = {"log_posterior": None, "log_marginal": None, "elbo": getattr(fit, "elbo", None)}
    return {"method": name, "settings": settings, "evidence": evidence}


def to_dict(fit: AfterFit) -> dict[str, Any]:
    """The fit in the schema of this module's docstring."""
    effects: Any = fit.ranef()  # type: ignore[attr-defined]
    table: Any = fit.summary()  # type: ignore[attr-defined]
    model = fit.model
    return plain(
        {
            "schema": SCHEMA,
            "versions": versions(),
            "model": {
                "formula": fit.formula.expanded,
                "family": fit.family.name,
                "link": fit.family.link.name,
                "data": model.data_name,
                "prior": repr(fit.posterior.priors.prior),
            },
            **_method(fit),
            "size": {
                "nobs": model.frame.n,
                "ngroups": {term.group: len(term.levels) for term in fit.design.terms},
                "n_fixed": model.problem.p,
                "q": model.problem.q,
            },
            "summary": [{"name": name, **row} for name, row in table.to_dict(orient="index").items()],
            "random": fit.varcorr().table.to_dict(orient="records"),
            "ranef": [
                {"grp": group, "level": level, "term": term, **row}
                for group, frame in effects.items()
                for (level, term), row in frame.to_dict(orient="index").items()
            ],
            "diagnosis": _diagnosis(fit),
        }
    )


def _diagnosis(fit: AfterFit) -> dict[str, Any]:
    found = fit.diagnose()
    return {"status": found.status, "checks": found.checks, "recommendations": found.recommendations}
