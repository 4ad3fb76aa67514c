"""Functions of one number for compiled loops, in polynomials: libm's are called number by number, where these
go into wide registers, 8 or 16 numbers at a time.

NaN goes through all of them. Knows nothing of what they are taken of.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.compiled import compiled

#: erf by Abramowitz and Stegun's formula 7.1.28: at most 3e-7 from it. What has no exp in it goes into wide
#: registers: 0.33 ns a number, where 7.1.26 takes 3.6.
_B1: Final = np.float32(0.0705230784)
_B2: Final = np.float32(0.0422820123)
_B3: Final = np.float32(0.0092705272)
_B4: Final = np.float32(0.0001520143)
_B5: Final = np.float32(0.0002765672)
_B6: Final = np.float32(0.0000430638)
#: 2^r for |r| <= 1/2 by its Taylor series: at most 1.5e-7 from it, in parts of it.
_E1: Final = np.float32(0.6931471806)
_E2: Final = np.float32(0.2402265070)
_E3: Final = np.float32(0.0555041087)
_E4: Final = np.float32(0.0096181291)
_E5: Final = np.float32(0.0013333558)
_E6: Final = np.float32(0.0001540353)
_LOG2_E: Final = np.float32(1.4426950409)
#: 2 to the power of less would not be a normal number.
_LEAST: Final = np.float32(-126)
_BIAS: Final = np.int32(127)
_MANTISSA: Final = np.int32(23)
_ROOT_HALF: Final = np.float32(0.7071067811865476)
_HALF: Final = np.float32(0.5)
_ZERO: Final = np.float32(0)
_ONE: Final = np.float32(1)
_TWO: Final = np.float32(2)
_SIGN: Final = np.int32(31)
_REST: Final = np.int32(0x7FFFFFFF)
#: `ordered` gives no less.
NO_FLOAT: Final = np.int32(-0x80000000)
#: log((1 + s) / (1 - s)) by its series in s, for |s| <= 0.172: at most 1e-9 from it, in parts of it.
_L3: Final = 2 / 3
_L5: Final = 2 / 5
_L7: Final = 2 / 7
_L9: Final = 2 / 9
_LN_2: Final = 0.6931471805599453
#: A double's bits: those of the root of a half, those between it and 1, the mantissa's, and where it ends.
_ROOT_BITS: Final = np.int64(0x3FE6A09E667F3BCD)
_UP_TO_ONE: Final = np.int64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_WIDE_REST: Final = np.int64((1 << 52) - 1)
_WIDE_MANTISSA: Final = np.int64(52)
_WIDE_BIAS: Final = np.int64(1023)


@compiled
def gelu_of(v: np.float32) -> np.float32:
    """GELU (Hendrycks and Gimpel 2016), the exact one."""
    z = np.abs(v) * _ROOT_HALF
    p = _ONE + z * (_B1 + z * (_B2 + z * (_B3 + z * (_B4 + z * (_B5 + z * _B6)))))
    p *= p
    p *= p
    p *= p
    p *= p
    chance: np.float32 = _HALF * (_ONE / p if v < 0 else _TWO - _ONE / p)
    return v * chance


@compiled
def exp_of(x: np.float32) -> np.float32:
    """e^x of x <= 0, at most 4e-6 of it from it."""
    return exp2_of(x * _LOG2_E)


@compiled
def exp2_of(x: np.float32) -> np.float32:
    """2^x of x <= 0, at most 3e-7 of it from it; 2^-126 of what is less."""
    x = _LEAST if x < _LEAST else x
    whole = np.floor(x + _HALF)
    r = x - whole
    part = _ONE + r * (_E1 + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * _E6)))))
    out: np.float32 = part * np.int32((np.int32(whole) + _BIAS) << _MANTISSA).view(np.float32)
    return out


@compiled
def log1p_of(x: np.float32) -> np.float32:
    """log(1 + x) of x >= 0, at most 1e-16 or 1e-7 of it from it; NaN of infinity."""
    # 1 + x = 2^k (1 + f), with 1 + f from the root of a half to the root of two; as doubles, since a float
    # has no room for a small x beside the 1.
    bits = np.float64(1.0 + np.float64(x)).view(np.int64) + _UP_TO_ONE
    k = (bits >> _WIDE_MANTISSA) - _WIDE_BIAS
    f = np.int64((bits & _WIDE_REST) + _ROOT_BITS).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    log = np.float64(k) * _LN_2 + s * (2.0 + z * (_L3 + z * (_L5 + z * (_L7 + z * _L9))))
    return np.float32(log) + x * _ZERO


@compiled
def ordered(x: np.float32) -> np.int32:
    """A number that is larger where x is, NaN beyond the infinities: what is largest of floats is found one
    by one, as NaN has no place among them, of integers in wide registers (six times as fast).
    """
    bits = np.float32(x).view(np.int32)
    return np.int32(bits ^ ((bits >> _SIGN) & _REST))


@compiled
def unordered(order: np.int32) -> np.float32:
    """What it was made of."""
    return np.int32(order ^ ((order >> _SIGN) & _REST)).view(np.float32)
