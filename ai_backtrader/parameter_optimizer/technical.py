"""Families: what turns parameters into rules, and the engine's technical strategy with its 15 parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.rules import RISK_LIMITS, Gene, Operator, RiskParameters, Section, Series, StrategyChromosome

__all__ = ["Family", "TechnicalFamily", "technical_rules"]

Family = Callable[[Mapping[str, Any]], StrategyChromosome]
"""A strategy with its numbers left open: takes parameters, gives the rules. A pure function."""

_NAMES = (
    "ema_fast", "ema_slow", "rsi_period", "rsi_overbought", "rsi_oversold", "adx_period", "adx_threshold",
    "atr_period", "atr_stop", "atr_target", "macd_fast", "macd_slow", "macd_signal", "bb_period", "bb_std",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TechnicalFamily:
    """The engine's technical strategy: follows a trend that EMA, MACD and ADX agree on, and chases no extreme.

    Long where the fast EMA lies above the slow one, the MACD above its signal, the RSI below overbought and the close
    below the upper Bollinger band; short the other way round; both only while the ADX is above its threshold. Stop
    and target lie multiples of the ATR from the close of the decision, and the opposite entry reverses.

    Parameters
    ----------
    position_size
        Margin as a share of equity; a little below 1, so that an order at the next open can still be paid.
    leverage
        Multiple of the margin posted.
    short
        Whether it trades short as well as long.

    Examples
    --------
    >>> rules = TechnicalFamily()({
    ...     "ema_fast": 12, "ema_slow": 26, "rsi_period": 14, "rsi_overbought": 70, "rsi_oversold": 30,
    ...     "adx_period": 14, "adx_threshold": 20, "atr_period": 14, "atr_stop": 2.0, "atr_target": 4.0,
    ...     "macd_fast": 12, "macd_slow": 26, "macd_signal": 9, "bb_period": 20, "bb_std": 2.0,
    ... })
    >>> print(rules.describe())
    Long when EMA(12) > EMA(26) and MACD(12, 26, 9) > MACDSignal(12, 26, 9) and PercentB(20, 2) < 1 and RSI(14) < 70
    Short when EMA(12) < EMA(26) and MACD(12, 26, 9) < MACDSignal(12, 26, 9) and PercentB(20, 2) > 0 and RSI(14) > 30
    Only if ADX(14) > 20
    Risk: 95% of equity at 1x, stop 2 ATR(14), target 4 ATR(14), reverses
    """

    position_size: float = 0.95
    leverage: float = 1.0
    short: bool = True

    def __post_init__(self) -> None:
        faults = Faults("TechnicalFamily")
        for name in ("position_size", "leverage"):
            limits = RISK_LIMITS[name]
            faults.number(name, getattr(self, name), low=limits.low, high=limits.high)
        faults.one_of("short", self.short, (True, False))
        faults.raise_if_any()

    @property
    def name(self) -> str:
        """``"technical"``."""
        return "technical"

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the settings, and of rules made with them."""
        content = {"settings": asdict(self), "rules": self(_PLAIN).to_json()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __call__(self, parameters: Mapping[str, Any]) -> StrategyChromosome:
        """Rules of the 15 parameters.

        Raises
        ------
        SettingsError
            If parameters are missing, unknown, out of range or in conflict.
        """
        missing = [name for name in _NAMES if name not in parameters]
        faults = Faults("TechnicalFamily")
        faults.known_keys("parameters", parameters, _NAMES)
        if missing:
            faults.add(f"parameters lack {', '.join(missing)}")
        faults.raise_if_any()
        p = parameters
        for low, high in (("ema_fast", "ema_slow"), ("macd_fast", "macd_slow"), ("rsi_oversold", "rsi_overbought")):
            if not p[low] < p[high]:
                faults.add(f"{low} must be below {high}, got {p[low]!r} and {p[high]!r}")
        faults.raise_if_any()
        fast, slow = Series("ema", (p["ema_fast"],)), Series("ema", (p["ema_slow"],))
        periods = (p["macd_fast"], p["macd_slow"], p["macd_signal"])
        macd, signal = Series("macd_line", periods), Series("macd_signal", periods)
        rsi, band = Series("rsi", (p["rsi_period"],)), Series("percent_b", (p["bb_period"], float(p["bb_std"])))
        above, below = Operator.ABOVE, Operator.BELOW
        return StrategyChromosome(
            entry_long=Section(
                (
                    Gene(fast, above, slow),
                    Gene(macd, above, signal),
                    Gene(rsi, below, float(p["rsi_overbought"])),
                    Gene(band, below, 1.0),
                )
            ),
            entry_short=Section(
                (
                    Gene(fast, below, slow),
                    Gene(macd, below, signal),
                    Gene(rsi, above, float(p["rsi_oversold"])),
                    Gene(band, above, 0.0),
                )
                if self.short
                else ()
            ),
            filters=Section((Gene(Series("adx", (p["adx_period"],)), above, float(p["adx_threshold"])),)),
            risk=RiskParameters(
                position_size=self.position_size,
                leverage=self.leverage,
                stop_atr=float(p["atr_stop"]),
                take_profit_atr=float(p["atr_target"]),
                atr_period=p["atr_period"],
            ),
        )


_PLAIN: Mapping[str, Any] = dict(
    zip(_NAMES, (12, 26, 14, 70, 30, 14, 20, 14, 2.0, 4.0, 12, 26, 9, 20, 2.0), strict=True)
)

technical_rules = TechnicalFamily()
"""The family with its defaults."""


def family_rules(family: Family, parameters: Mapping[str, Any]) -> StrategyChromosome:
    """Rules of a family, checked to be rules.

    Raises
    ------
    SettingsError
        If the family gives something else.
    """
    given: object = family(parameters)
    if not isinstance(given, StrategyChromosome):
        raise SettingsError(
            "family", [f"must give a StrategyChromosome, got {type(given).__name__} for {parameters!r}"]
        )
    return given
