r"""Fixed effects that are not parameters themselves but made of others, and priors of several at once.

Place in the reading order: after ``scalars``, before ``target``. The kind of a target's slopes is a code:

======  ================================================================================================================
DIRECT  the scalars are the fixed effects
======  ================================================================================================================
"""

from __future__ import annotations

from refglmm._jit import inline

DIRECT = 0


@inline
def slopes(x, target, beta):
    """Fill the fixed effects from the natural values x of all scalars."""
    for j in range(beta.size):
        beta[j] = x[j]


@inline
def joint_prior(x, target, beta, d_beta, d_x):
    """Return the log density of priors that concern several scalars; add its slopes to d_beta and d_x."""
    return 0.0


@inline
def slopes_back(x, target, d_beta, d_x):
    """Add to d_x what the slopes in the fixed effects mean for the scalars."""
    for j in range(d_beta.size):
        d_x[j] += d_beta[j]
