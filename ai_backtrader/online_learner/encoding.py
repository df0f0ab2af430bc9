"""Arrays as values that JSON holds, without loss."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError

__all__ = ["pack", "unpack"]


def pack(array: NDArray[Any]) -> dict[str, Any]:
    """Shape and little-endian bytes (base64): exact for every value, NaN included."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return {
        "dtype": little.dtype.str,
        "shape": list(array.shape),
        "bytes": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def unpack(
    state: Mapping[str, Any], *, shape: tuple[int, ...], subject: str, dtype: type[np.generic] = np.float64
) -> NDArray[Any]:
    """Array of a packed state; raise SettingsError unless it has this shape and type."""
    try:
        raw = base64.b64decode(state["bytes"], validate=True)
        given = np.dtype(state["dtype"])
        if tuple(state["shape"]) == shape and given == np.dtype(dtype).newbyteorder("<"):
            return np.frombuffer(raw, dtype=given).reshape(shape).astype(dtype)
        found = f"{given} of shape {tuple(state['shape'])}"
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        found = f"{type(error).__name__}: {error}"
    wanted = f"{np.dtype(dtype)} of shape {shape}"
    raise SettingsError(
        subject,
        [f"state must hold {wanted}, got {found}; load it into an object with the settings that it was kept of"],
    )
