"""The data of a fit with fitted values and residuals beside them: what pictures are drawn from.

Place in the reading order: in ``inference``, before the pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from refglmm.fit.residuals import fitted_array, residual_values

if TYPE_CHECKING:
    from refglmm.fitted import FittedModel


def fortify(fit: FittedModel) -> pd.DataFrame:
    """The variables of the model (rows used) and three columns, named as lme4 names them.

    ``.fitted``: conditional mean, response scale (ordinal: probability of the row's category); ``.resid``: Pearson
    residual; ``.scresid``: the same over sigma.
    """
    pearson = residual_values(fit, "pearson")
    return fit.model_frame().assign(
        **{".fitted": fitted_array(fit), ".resid": pearson, ".scresid": pearson / fit.sigma}
    )
