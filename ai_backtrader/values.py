"""Frozen values that several rooms share: actions, directions, regimes, the leverage decision."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from ai_backtrader.errors import SettingsError

__all__ = ["Action", "Direction", "FrozenMapping", "LeverageDecision", "Regime", "SelectionStep"]

K = TypeVar("K")
V = TypeVar("V")


class FrozenMapping(dict[K, V]):
    """A dictionary that cannot be changed: what a frozen value holds (a ``MappingProxyType`` does not pickle)."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a frozen mapping cannot be changed; make a dict of it")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMapping, (dict(self),)


class Direction(enum.StrEnum):
    """Side of a position."""

    LONG = "LONG"
    SHORT = "SHORT"
    FLAT = "FLAT"

    @property
    def sign(self) -> int:
        """+1 for LONG, -1 for SHORT, 0 for FLAT."""
        return {"LONG": 1, "SHORT": -1, "FLAT": 0}[self.value]

    @classmethod
    def parse(cls, text: str) -> Direction:
        """Direction from LONG/SHORT/FLAT or BUY/SELL/HOLD, in any case."""
        return Action.parse(text).direction


class Action(enum.StrEnum):
    """What to do at the next bar's open."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL, 0 for HOLD."""
        return {"BUY": 1, "SELL": -1, "HOLD": 0}[self.value]

    @property
    def direction(self) -> Direction:
        """The position that the action wants."""
        return (Direction.FLAT, Direction.LONG, Direction.SHORT)[self.sign]

    @classmethod
    def from_sign(cls, sign: float) -> Action:
        """BUY above zero, SELL below, HOLD at zero or NaN."""
        return cls.BUY if sign > 0 else cls.SELL if sign < 0 else cls.HOLD

    @classmethod
    def parse(cls, text: str) -> Action:
        """Action from BUY/SELL/HOLD or LONG/SHORT/FLAT, in any case.

        Raises
        ------
        SettingsError
            If the text is none of the six words.
        """
        action = _ACTIONS.get(text.strip().upper()) if isinstance(text, str) else None
        if action is None:
            raise SettingsError("Action", [f"expected BUY, SELL, HOLD, LONG, SHORT or FLAT, got {text!r}"])
        return action


_ACTIONS: dict[str, Action] = {action.value: action for action in Action} | {
    "LONG": Action.BUY, "SHORT": Action.SELL, "FLAT": Action.HOLD,
}  # fmt: skip


class Regime(enum.StrEnum):
    """Trend label of the market; high volatility is a flag beside it, because every trend can be violent."""

    STRONG_BULL = "strong_bull"
    BULL = "bull"
    SIDEWAYS = "sideways"
    BEAR = "bear"
    STRONG_BEAR = "strong_bear"

    @classmethod
    def parse(cls, label: Regime | str | None) -> Regime | None:
        """Regime from its label in any case; None stays None (unknown).

        Raises
        ------
        SettingsError
            If the text is no label.
        """
        if label is None or isinstance(label, cls):
            return label
        try:
            return cls(str(label).strip().lower())
        except ValueError:
            known = ", ".join(cls)
            raise SettingsError("Regime", [f"must be one of {known} or None, got {label!r}"]) from None

    @property
    def sign(self) -> int:
        """+1 for the bull labels, -1 for the bear labels, 0 sideways."""
        return {"strong_bull": 1, "bull": 1, "sideways": 0, "bear": -1, "strong_bear": -1}[self.value]


@dataclass(frozen=True, kw_only=True)
class SelectionStep:
    """One box of the leverage selection flow: what went in, what came out, why."""

    name: str
    before: float
    after: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class LeverageDecision:
    """What the leverage manager decided and how it got there.

    Attributes
    ----------
    direction
        LONG, SHORT or FLAT.
    recommended_leverage
        Multiple of the margin posted (3.0).
    position_size_pct
        Margin as a **fraction** of equity: 0.08 at 3x is 8 % margin, 24 % notional. 0 means no trade.
    confidence
        0 to 1.
    reasoning
        One readable sentence.
    risk_metrics
        Named figures; money ends in ``_usd``, fractions in ``_pct``.
    steps
        The selection flow, one step a box of the design, in order.
    warnings
        What the user should know before trading this.
    missing
        Indicator names that were needed and not given (neutral values stood in).
    """

    direction: Direction
    recommended_leverage: float
    position_size_pct: float
    confidence: float
    reasoning: str
    risk_metrics: Mapping[str, float] = field(default_factory=FrozenMapping)
    steps: tuple[SelectionStep, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "risk_metrics", FrozenMapping(self.risk_metrics))
