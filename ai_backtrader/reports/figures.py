"""Analyses as plain mappings, JSON values and words: what tables and plots share."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

__all__ = [
    "analyses",
    "bars_as_time",
    "known",
    "money",
    "multiple",
    "number",
    "percent",
    "return_risk",
    "to_json",
    "verdict",
]

MISSING = "–"
_FEW_TRADES = 30  # below, even the sign of the mean result is mostly luck (Tharp's limit for his SQN)


def analyses(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The mappings of a result: analyzers give their analysis, mappings stay, anything else is left out.

    Parameters
    ----------
    result
        ``performance``, ``liquidations``, ``decisions`` (analyzers or their analyses; all but the first may be missing)
        and further mappings, for example ``run``, the card that says what was run.
    """
    found = {name: part.get_analysis() if hasattr(part, "get_analysis") else part for name, part in result.items()}
    return {name: part for name, part in found.items() if isinstance(part, Mapping)}


def to_json(result: Mapping[str, Any]) -> dict[str, Any]:
    """One dictionary that ``json.dumps(..., allow_nan=False)`` takes, from the mappings of a result.

    NaN and infinite numbers become None, times become ISO 8601 with ``Z`` (UTC), NumPy numbers plain ones.
    """
    return {name: _json_value(part) for name, part in analyses(result).items()} | {
        "verdict": verdict(analyses(result)["performance"])
    }


def _json_value(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.isoformat() + "Z"
    if hasattr(value, "item"):
        return _json_value(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise TypeError(f"a report holds numbers, text, times, lists and mappings, got {type(value).__name__}: {value!r}")


def verdict(performance: Mapping[str, Any]) -> str:
    """Whether the run beat buy and hold, by return and by Sharpe ratio, in plain words."""
    market = performance["buy_and_hold"]
    if not performance["bars"]:
        return "Nothing to judge: the run has no bars."
    if not performance["trades"] and not performance["trades_open"]:
        return f"Nothing to judge: no trade was made. Buy and hold returned {percent(market['total_return'])}."
    pairs = [
        (name, performance[key], market[key], form)
        for name, key, form in (("return", "total_return", percent), ("Sharpe ratio", "sharpe_ratio", number))
        if not math.isnan(performance[key]) and not math.isnan(market[key])
    ]
    figures = ", ".join(f"{name} {form(own)} against {form(other)}" for name, own, other, form in pairs)
    better = [name for name, own, other, _ in pairs if own > other]
    worse = [name for name, own, other, _ in pairs if not own > other]
    if better and worse:
        words = f"Beats buy and hold by {better[0]}, not by {worse[0]}"
    else:
        words = "Beats buy and hold" if better else "Does not beat buy and hold"
    if better and performance["total_return"] < 0.0:
        words = f"Loses money. {words}"
    few = performance["trades"]
    luck = f" {few} closed {'trade' if few == 1 else 'trades'}: too few to tell skill from luck."
    return f"{words}: {figures}." + (luck if few < _FEW_TRADES else "")


def withheld(paper: Mapping[str, Any]) -> str:
    """What became of the trades that sizing or health withheld, in plain words."""
    return (
        f"From {paper['first']:%Y-%m-%d} on, {paper['trades']:,} trades were withheld, because those before showed no"
        f" edge; followed on paper, {percent(paper['win_rate'], signed=False)} of them won."
    )


# -------------------------------------------------------------------------------------------------------------- words


def percent(fraction: float, *, signed: bool = True) -> str:
    """A fraction as a percentage: ``+12.35 %``."""
    return _text(100.0 * fraction, "+,.2f" if signed else ",.2f", " %")


def money(amount: float) -> str:
    """An amount with thousands separated: ``12,345.67``."""
    return _text(amount, ",.2f")


def number(value: float) -> str:
    """A ratio with two decimals."""
    return _text(value, ",.2f")


def multiple(value: float) -> str:
    """A multiple: ``2.50x``."""
    return _text(value, ",.2f", "x")


def _text(value: float, form: str, unit: str = "") -> str:
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = format(value, form)
    # What rounds to nothing has no sign.
    return (text if any(digit in "123456789" for digit in text) else text.lstrip("+-")) + unit


def bars_as_time(bars: float, bars_per_year: float) -> str:
    """A number of bars with the calendar time it took: ``1,234 bars (51 days)``."""
    if math.isnan(bars):
        return MISSING
    text = f"{bars:,.0f} {'bar' if bars == 1 else 'bars'}" if bars == round(bars) else f"{bars:,.1f} bars"
    if math.isnan(bars_per_year):
        return text
    days = bars / bars_per_year * 365.25
    if days >= 2:
        return f"{text} ({days:,.0f} days)"
    hours = days * 24
    return f"{text} ({hours:,.0f} h)" if hours >= 2 else f"{text} ({hours * 60:,.0f} min)"


def known(value: float | None) -> float:
    """A figure that came from JSON, where None stands for NaN."""
    return math.nan if value is None else value


def return_risk(figures: Mapping[str, Any]) -> tuple[str, str, str]:
    """Total return (percent), Sharpe ratio and largest drawdown (percent) of a kept result, in words."""
    return (
        percent(known(figures["total_return"])),
        number(known(figures["sharpe_ratio"])),
        percent(known(figures["max_drawdown"]), signed=False),
    )
