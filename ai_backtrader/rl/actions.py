"""The two action spaces, and what each action does to a position, as the kernels read it."""

from __future__ import annotations

import enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults

__all__ = [
    "CLOSES",
    "HALVES",
    "HOLDS",
    "STEPS",
    "TARGETS",
    "BasicAction",
    "LeverageAction",
    "action_table",
    "basic_action_table",
]

# What an action does (column 0 of a table); columns 1 and 2 are the side (+1, -1, 0) and the leverage.
HOLDS: Final = 0
"""Nothing."""
TARGETS: Final = 1
"""Hold that side at that leverage: open, resize, or turn round."""
STEPS: Final = 2
"""One step towards that side: open when flat, close when the position is on the other side."""
CLOSES: Final = 3
"""Close the position."""
HALVES: Final = 4
"""Close half of the position, which gives back half of the margin."""


class BasicAction(enum.IntEnum):
    """Actions of the basic agent, at leverage 1."""

    HOLD = 0
    BUY = 1
    SELL = 2


class LeverageAction(enum.IntEnum):
    """Actions of the leverage agent.

    ``LONG_kX`` and ``SHORT_kX`` set a target. Flat, they open at leverage k. In a position on the same side at the same
    leverage they do nothing (also after a REDUCE_HALF: the position stays reduced). At another leverage they close and
    open again at the same open, since a position keeps its leverage until it is flat; on the other side likewise.
    CLOSE and REDUCE_HALF do nothing when flat, and are masked then.
    """

    HOLD = 0
    LONG_1X = 1
    LONG_3X = 2
    LONG_5X = 3
    LONG_10X = 4
    SHORT_1X = 5
    SHORT_3X = 6
    SHORT_5X = 7
    SHORT_10X = 8
    CLOSE = 9
    REDUCE_HALF = 10

    @property
    def side(self) -> int:
        """+1 for the long actions, -1 for the short ones, 0 for the rest."""
        return 1 if 1 <= self <= 4 else -1 if 5 <= self <= 8 else 0

    @property
    def leverage(self) -> float:
        """Multiple that the action asks for; 0 for those that open nothing."""
        return _MULTIPLES[(self - 1) % 4] if self.side else 0.0

    @classmethod
    def parse(cls, action: LeverageAction | int | str) -> LeverageAction:
        """Action from itself, its number or its name in any case.

        Raises
        ------
        SettingsError
            If it is none of the eleven.
        """
        if isinstance(action, str) and action.strip().upper() in cls.__members__:
            return cls[action.strip().upper()]
        faults = Faults("LeverageAction")
        if isinstance(action, str):
            faults.add(f"action must be one of {', '.join(cls.__members__)}, got {action!r}")
        else:
            faults.whole("action", action, low=0, high=len(cls) - 1)
        faults.raise_if_any()
        return cls(int(action))


_MULTIPLES = (1.0, 3.0, 5.0, 10.0)


def action_table() -> NDArray[np.float64]:
    """Kind, side and leverage of the eleven actions, shape (11, 3)."""
    kinds = {LeverageAction.HOLD: HOLDS, LeverageAction.CLOSE: CLOSES, LeverageAction.REDUCE_HALF: HALVES}
    return np.array([(kinds.get(action, TARGETS), action.side, action.leverage) for action in LeverageAction])


def basic_action_table(*, turn_round: bool) -> NDArray[np.float64]:
    """Kind, side and leverage of the three actions, shape (3, 3).

    Parameters
    ----------
    turn_round
        True: BUY in a short position closes it and opens a long one, as SELL does the other way. False: it only closes,
        so that the agent can also be flat; the next BUY opens.
    """
    kind = TARGETS if turn_round else STEPS
    return np.array([(HOLDS, 0.0, 0.0), (kind, 1.0, 1.0), (kind, -1.0, 1.0)])
