"""How the kernels are compiled: cached on disk, without Python's lock, without fast-math, float64 throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

__all__ = ["compiled", "inlined"]

F = TypeVar("F", bound=Callable[..., Any])

compiled = njit(cache=True, nogil=True, error_model="numpy")
"""For functions that are called from several places."""

# Numba counts the references to an array wherever it is handed on, by atomic operations that took a fifth of a run's
# time. Steps of the loop neither keep nor return an array, so they need not count; with this option (Numba has it for
# itself, and its types do not know it) a step that makes an array, or a copy of one, does not compile.
_UNCOUNTED: dict[str, Any] = {"_nrt": False}

inlined: Callable[[F], F] = njit(cache=True, nogil=True, error_model="numpy", forceinline=True, **_UNCOUNTED)
"""For the steps of the loop: calls with records cost as much as what they do."""
