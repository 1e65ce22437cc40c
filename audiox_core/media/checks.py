"""What callers hand in, checked before any work begins: numbers within bounds, arrays as tensors."""

from __future__ import annotations

import operator
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, MediaError

# No film is longer (seconds; three years): beyond it the clocks of containers overflow.
LONGEST = 100_000_000
# Sample rates in Hz. Below, a second of sound would become hours, or its filter longer than itself.
LOWEST_RATE, HIGHEST_RATE = 10, 1_000_000
# Samples of one sound: 6.7 hours at 44.1 kHz.
MOST_SAMPLES = 1 << 30


Number = int | float | Fraction


def shown(value: object) -> str:
    """How messages write a value: short, whatever it is."""
    try:
        text = str(value) if isinstance(value, (Real, Fraction)) else repr(value)
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def exact(number: Number) -> Fraction:
    """The number somebody wrote: 0.45 is 9/20, not the nearest binary fraction."""
    return number if isinstance(number, Fraction) else Fraction(number).limit_denominator(1_000_000)


def real(
    value: object, what: str, mend: str, least: Number, most: Number, error: type[Exception] = InputError
) -> Number:
    """`value` as int, float or Fraction if it is a number in least..most, else `error`: "`what`=value`mend`"."""
    if not isinstance(value, Real):
        raise InputError(f"{what}={shown(value)} is not a number. Give a number.")
    number: Number = value if isinstance(value, (int, float, Fraction)) else float(value)
    if not least <= number <= most:  # NaN is neither
        raise error(f"{what}={shown(value)}{mend}")
    return number


def whole(value: object, what: str, least: int, most: int) -> int:
    """`value` as int; InputError unless it is a whole number in least..most."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{what}={shown(value)} is not a whole number. Give one from {least} to {most}.") from None
    if not least <= number <= most:
        raise InputError(f"{what}={shown(value)}. Give a whole number from {least} to {most}.")
    return number


def check_start(name: str, start: object, error: type[Exception] = MediaError) -> Number:
    """A time in a file, in seconds; `error` unless it is finite, 0 or more and no longer than any film."""
    mend = f" s. Give seconds from the beginning, 0 or more (at most {LONGEST})."
    return real(start, f"{name}: start", mend, 0, LONGEST, error)


def check_seconds(name: str, seconds: object) -> Number:
    """A length in seconds; MediaError unless it is above 0 and no longer than any film."""
    number = real(seconds, f"{name}: seconds", f". Give a length above 0 (at most {LONGEST}).", 0, LONGEST, MediaError)
    if number == 0:
        raise MediaError(f"{name}: seconds={shown(seconds)}. Give a length above 0.")
    return number


def check_rate(rate: object, what: str = "sample rate") -> int:
    """Samples a second; InputError unless it is a whole number of them that sounds are stored at."""
    try:
        number = operator.index(rate)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if not LOWEST_RATE <= number <= HIGHEST_RATE:
        raise InputError(
            f"{what} {shown(rate)}. Give a whole number of samples a second from {LOWEST_RATE} to {HIGHEST_RATE}."
        )
    return number


def tensor_of(value: Any, what: str) -> Tensor:
    """A tensor, or a numpy array as one (shared where that is possible); InputError for anything else."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray):
        raise InputError(f"{what}: {type(value).__name__} is not an array. Give a tensor or a numpy array.")
    plain = value.dtype.isnative and value.flags.writeable and all(step >= 0 for step in value.strides)
    try:
        return torch.from_numpy(value if plain else np.array(value, value.dtype.newbyteorder("=")))
    except TypeError as error:
        raise InputError(f"{what}: numpy's {value.dtype} is not a number type of torch. Give float32.") from error
