"""The trading environments as the compiled training loop takes them."""

from __future__ import annotations

from typing import Final

from ai_backtrader.rl import env_kernels
from ai_backtrader.rl.trainer import EnvironmentKernels

__all__ = ["TRADING_FIELDS", "TRADING_KERNELS"]

TRADING_KERNELS: Final = EnvironmentKernels(
    name="trading",
    observe=env_kernels.observe,
    mask=env_kernels.mask,
    step=env_kernels.step,
    reset=env_kernels.reset,
    draw=env_kernels.draw,
)
"""Functions over :class:`~ai_backtrader.rl.EnvArrays`, of the basic and the leverage environment alike."""

TRADING_FIELDS: Final = ("lanes",)
"""What steps change: the ``episode_fields`` of a :class:`~ai_backtrader.rl.Trainer`."""
