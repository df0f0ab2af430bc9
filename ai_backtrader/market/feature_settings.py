"""What about the features can be chosen, and the spans that follow from the length of a bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ai_backtrader.checks import Faults
from ai_backtrader.market.feature_kernels import WARM_UP

__all__ = ["FeatureSettings", "FeatureSpans", "feature_spans"]


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """What about the features can be chosen.

    Attributes
    ----------
    change_unit
        Unit of the spans 1, 4 and 24: ``"hours"``, ``"bars"``, or ``"auto"``, bars where a bar is longer than an hour.
    high_volatility_ratio
        Volatility ratio above which ``high_volatility`` is 1.
    """

    change_unit: str = "auto"
    high_volatility_ratio: float = 1.5

    def __post_init__(self) -> None:
        faults = Faults("FeatureSettings")
        faults.one_of("change_unit", self.change_unit, ("auto", "hours", "bars"))
        faults.number("high_volatility_ratio", self.high_volatility_ratio, above=0.0)
        faults.raise_if_any()


class FeatureSpans(NamedTuple):
    """Bars of the spans 1, 4 and 24, and the index of the first ready bar."""

    hour: int
    four_hours: int
    day: int
    ready_from: int


def feature_spans(bar_seconds: float, settings: FeatureSettings | None = None) -> FeatureSpans:
    """Bars of the spans 1, 4 and 24 (hours or bars), and the index of the first ready bar.

    Parameters
    ----------
    bar_seconds
        Nominal length of a bar, in seconds.
    settings
        None means the defaults.

    Raises
    ------
    SettingsError
        If ``bar_seconds`` is not a positive number.

    Examples
    --------
    >>> feature_spans(3600)
    FeatureSpans(hour=1, four_hours=4, day=24, ready_from=120)
    >>> feature_spans(300).ready_from
    288
    """
    faults = Faults("feature_spans")
    faults.number("bar_seconds", bar_seconds, above=0.0)
    faults.raise_if_any()
    unit = (settings or FeatureSettings()).change_unit
    in_bars = unit == "bars" or (unit == "auto" and bar_seconds > 3600)
    hour, four, day = (hours if in_bars else max(1, round(hours * 3600 / bar_seconds)) for hours in (1, 4, 24))
    return FeatureSpans(hour, four, day, max(WARM_UP, day))
