r"""The exponential and log(1 + x) as plain arithmetic, which the compiler turns into vector instructions.

Place in the reading order: after ``kernel``. A call of the C library's exp or log1p takes 5 to 8 ns, and keeps the
loop around it scalar; most of a logistic or Poisson pass over the rows is spent there. Both functions below are
accurate to one or two units in the last place and free of branches.

With :math:`k = \lfloor x/\log 2 + \tfrac12 \rfloor` and :math:`r = x - k \log 2`, :math:`|r| \le 0.35`,

.. math:: e^x = 2^k \sum_{j=0}^{13} r^j / j!, \qquad
          \log(1 + x) = 2\,\mathrm{artanh}\,s = 2 s \sum_{j=0}^{16} s^{2j} / (2j + 1),\quad s = x / (2 + x) .

Source: Taylor's series; the splitting of log 2 into a short and a long part is Cody and Waite's (1980).
"""

from __future__ import annotations

import math

import numpy as np

from refglmm._jit import inline

#: Beyond these, exp(x) is zero or infinite in double precision.
_LOWEST, _HIGHEST = -746.0, 710.0
_PER_LOG_2 = 1.0 / math.log(2.0)
#: log 2 = short + long; the short part has 21 trailing zero bits, so that k times it is exact.
_LOG_2_SHORT, _LOG_2_LONG = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_E = tuple(1.0 / math.factorial(j) for j in range(14))
_A = tuple(1.0 / (2 * j + 1) for j in range(17))
#: Exponent bias and width of the mantissa of a double.
_BIAS, _MANTISSA = 1023, 52


@inline
def _power_of_two(k):
    """2^k for -1022 <= k <= 1023, put together from its bits."""
    return np.int64((k + _BIAS) << _MANTISSA).view(np.float64)


@inline
def exponential(x):
    """Return e^x; nan stays nan."""
    inside = x if x < _HIGHEST else _HIGHEST
    inside = inside if inside > _LOWEST else _LOWEST  # also true for nan
    whole = np.floor(inside * _PER_LOG_2 + 0.5)
    r = (inside - whole * _LOG_2_SHORT) - whole * _LOG_2_LONG
    r2 = r * r
    r4 = r2 * r2
    low = (_E[2] + _E[3] * r) + r2 * (_E[4] + _E[5] * r)
    middle = (_E[6] + _E[7] * r) + r2 * (_E[8] + _E[9] * r)
    high = (_E[10] + _E[11] * r) + r2 * (_E[12] + _E[13] * r)
    series = 1.0 + (r + r2 * (low + r4 * (middle + r4 * high)))
    k = np.int64(whole)
    half = k >> 1  # in two factors, so that subnormal numbers and infinity come out right
    value = series * _power_of_two(half) * _power_of_two(k - half)
    return value if x == x else x


@inline
def log1p_unit(x):
    """Return log(1 + x) for 0 <= x <= 1; nan stays nan."""
    s = x / (2.0 + x)
    z = s * s
    z2 = z * z
    z4 = z2 * z2
    low = (_A[1] + _A[2] * z) + z2 * (_A[3] + _A[4] * z)
    second = (_A[5] + _A[6] * z) + z2 * (_A[7] + _A[8] * z)
    third = (_A[9] + _A[10] * z) + z2 * (_A[11] + _A[12] * z)
    high = (_A[13] + _A[14] * z) + z2 * (_A[15] + _A[16] * z)
    return 2.0 * s + 2.0 * s * z * (low + z4 * (second + z4 * (third + z4 * high)))
