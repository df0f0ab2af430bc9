"""How the kernels are compiled: cached on disk, without Python's lock, without fast-math, float64 throughout."""

from __future__ import annotations

from numba import njit

__all__ = ["compiled", "inlined"]

compiled = njit(cache=True, nogil=True, error_model="numpy")
"""For functions that are called from several places."""

inlined = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
"""For the steps of the loop: calls with records cost as much as what they do."""
