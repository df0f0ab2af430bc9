"""Whole numbers from a numpy Generator, drawn one at a time without the cost of its arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["below"]

_SPAN = 1 << 32
_LOW = _SPAN - 1
# Unlike the generator's own interface, called without letting go of Python's lock: a call takes less than that.
_NEXT = ctypes.PYFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)

_source: tuple[Any, Callable[[int], int], int] = (None, int, 0)


def _source_of(bit_generator: Any) -> tuple[Any, Callable[[int], int], int]:
    global _source  # the generator used last: making its interface costs more than a draw
    interface = bit_generator.ctypes
    address = ctypes.cast(interface.next_uint32, ctypes.c_void_p).value
    if address is None:
        raise AssertionError("numpy's bit generators have a function for the next number")
    _source = (bit_generator, _NEXT(address), interface.state_address)
    return _source


def below(rng: np.random.Generator, count: int) -> int:
    """``int(rng.integers(count))``: the same number, which leaves the generator in the same state.

    Lemire's method with 32 bits, as numpy has it, for ``1 <= count < 2**32``. A generator is for one thread at a time.
    """
    if count <= 1:
        return int(rng.integers(count))  # draws nothing, or says what is wrong
    bit_generator = rng.bit_generator
    known, draw, state = _source
    if known is not bit_generator:
        _, draw, state = _source_of(bit_generator)
    product = draw(state) * count
    if product & _LOW < count:
        least = (_SPAN - count) % count
        while product & _LOW < least:
            product = draw(state) * count
    return product >> 32
