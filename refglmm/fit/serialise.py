"""A fit as plain JSON types.

Place in the reading order: in ``fit``, after ``summary``. Schema 1, all keys always present; numbers that
are not finite are null:

=================  ==========================================================================================
key                value
=================  ==========================================================================================
schema             1
versions           python, numpy, scipy, pandas and refglmm versions
model              title, formula, family, link, data, mode, is_lmm, reml, n_agq
size               nobs, ngroups {factor: levels}, n_fixed, q
criteria           aic, bic, loglik, minus_two_loglik, deviance, df, df_resid, reml_criterion (REML only)
fixed              list of {name, estimate, std_error, statistic, p_value (null for linear models)}
dropped            names of rank-deficient columns
vcov               {kind, note, names, matrix}
random             list of {grp, var1, var2, vcov, sdcor} (long form of VarCorr)
ranef              list of {grp, term, level, condval, condsd}
theta, par, phi    {name: value}
sigma              residual standard deviation, null for families without a scale
certificate        fields of the certificate
stages             list of the optimiser runs
=================  ==========================================================================================
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from refglmm.fit import criteria, getme
from refglmm.fit.arrays import plain
from refglmm.fit.parts import ALL, all_names, several
from refglmm.fit.summary import coefficient_table, title
from refglmm.fit.vcov import whole_covariance

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel

SCHEMA = 1


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages behind the fit (None: not installed as a distribution)."""
    out: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("refglmm", "numpy", "scipy", "pandas"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = None
    return out


def _model(fit: FittedModel) -> dict[str, Any]:
    return {
        "title": title(fit),
        "formula": fit.formula.expanded,
        "family": fit.family.name,
        "link": fit.family.link.name,
        "data": fit.data_name,
        "mode": fit.mode_name,
        "is_lmm": fit.is_lmm,
        "reml": fit.reml,
        "n_agq": fit.n_agq,
    }


def _criteria(fit: FittedModel) -> dict[str, Any]:
    return {
        "aic": fit.aic,
        "bic": fit.bic,
        "loglik": fit.loglik,
        "minus_two_loglik": fit.minus_two_loglik,
        "penalized_loglik": fit.penalized_loglik if fit.penalty is not None else None,
        "deviance": None if several(fit) else fit.deviance,
        "reml_criterion": criteria.reml_criterion(fit) if fit.reml else None,
        "df": fit.df,
        "df_resid": fit.df_resid,
    }


def _fixed(fit: FittedModel) -> list[dict[str, Any]]:
    return [
        {
            "name": row[0],
            "estimate": row[1],
            "std_error": row[2],
            "statistic": row[3],
            "p_value": row[4] if len(row) > 4 else None,
        }
        for row in coefficient_table(fit, ALL).itertuples(name=None)
    ]


def to_dict(fit: FittedModel) -> dict[str, Any]:
    """The fit in the schema of this module's docstring."""
    covariance = whole_covariance(fit)
    return plain(
        {
            "schema": SCHEMA,
            "versions": versions(),
            "model": _model(fit),
            "size": {
                "nobs": fit.nobs,
                "ngroups": fit.ngroups,
                "n_fixed": len(fit.optimum.beta),
                "q": len(fit.conditional.u),
            },
            "criteria": _criteria(fit),
            "fixed": _fixed(fit),
            "dropped": fit.design.dropped,
            "vcov": {
                "kind": covariance.kind,
                "note": covariance.note,
                "names": all_names(fit),
                "matrix": covariance.matrix,
            },
            "random": fit.varcorr.as_frame().to_dict(orient="records"),
            "ranef": fit.ranef().as_frame().to_dict(orient="records"),
            "theta": fit.theta,
            "par": getme.par(fit),
            "phi": fit.phi,
            "sigma": fit.sigma if fit.has_scale else None,
            "certificate": fit.optimum.certificate,
            "stages": fit.optimum.stages,
        }
    )


def to_json(fit: FittedModel, *, indent: int | None = None) -> str:
    """The fit as JSON text; strict JSON, no NaN."""
    return json.dumps(to_dict(fit), indent=indent, allow_nan=False)
