"""How market data are read and what is refused: the options of the loaders, checked once."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypedDict

from ai_backtrader.checks import Faults
from ai_backtrader.market.table import OPTIONAL, REQUIRED

__all__ = ["REPAIRS", "LoadOptions", "LoadSettings"]

REPAIRS = (
    "text_to_nan",
    "drop_nan",
    "drop_nonpositive",
    "reverse",
    "sort",
    "drop_duplicates",
    "clip_ohlc",
    "clip_volume",
    "drop_optional",
    "drop_spikes",
)


class LoadOptions(TypedDict, total=False):
    """Keyword arguments of the loaders; their meaning and defaults: :class:`LoadSettings`."""

    columns: Mapping[str, str]
    time_zone: str | None
    time_unit: str | None
    time_format: str | None
    bar_seconds: int | None
    repair: str | tuple[str, ...] | list[str]
    separator: str
    min_bars: int
    max_funding_rate: float
    spike_factor: float
    jump_factor: float
    earliest: str
    latest: str


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """Options of :meth:`MarketData.from_frame`, ``from_csv`` and ``from_parquet``.

    Parameters
    ----------
    columns
        Canonical name → name in the source, for columns that are called otherwise
        (``{"open_interest": "open_interest_usd"}``, ``{"datetime": "my time"}``). Canonical names themselves are found
        in any case.
    time_zone
        Zone in which naive times are read: ``"UTC"`` or an IANA name; None makes naive times an error.
        Times with an offset are converted to UTC whatever this says.
    time_unit
        ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``: unit of epoch numbers. None accepts numbers whose unit is certain.
    time_format
        ``strptime`` format of text times; None reads ISO 8601 only, because 01.02.2017 is two different days.
    bar_seconds
        Nominal bar length; None takes the most common step.
    repair
        Name or names of repairs, or ``"all"``; each does only what its name says and is listed in the report:
        ``text_to_nan`` empties cells that are no number · ``drop_nan`` drops bars without a time or with NaN or inf
        among open, high, low, close, volume · ``drop_nonpositive`` drops bars with a price of zero or below ·
        ``reverse`` turns descending times round · ``sort`` orders by time · ``drop_duplicates`` keeps the first bar of
        each time · ``clip_ohlc`` widens high and low to contain open and close (and the same for the mark) ·
        ``clip_volume`` lifts negative volume to 0 and puts taker-buy volume between 0 and volume ·
        ``drop_optional`` empties impossible optional values · ``drop_spikes`` drops bars whose close jumps and comes
        back.
    separator
        Separator of a CSV file.
    min_bars
        Fewer bars are refused.
    max_funding_rate
        Largest absolute funding rate of one bar, as a fraction.
    spike_factor
        A close that moves by more than this factor within one bar and is back with the next (the move of both bars
        together less than half of it in logarithms) is refused. The largest one-bar move of five years of hourly
        crypto and twenty of daily stocks is a factor of 1.41.
    jump_factor
        A close that moves by more than this factor, or a high or low that far from its own close, is refused.
    earliest, latest
        ISO dates: bars must start from ``earliest`` to before ``latest``. No clock is asked, so that the same file
        loads the same for ever.

    Raises
    ------
    SettingsError
        If an option is wrong; all faults together.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    time_zone: str | None = "UTC"
    time_unit: str | None = None
    time_format: str | None = None
    bar_seconds: int | None = None
    repair: str | tuple[str, ...] | list[str] = ()
    separator: str = ","
    min_bars: int = 2
    max_funding_rate: float = 0.10
    spike_factor: float = 5.0
    jump_factor: float = 20.0
    earliest: str = "1970-01-01"
    latest: str = "2100-01-01"

    def __post_init__(self) -> None:
        faults = Faults("LoadSettings")
        columns: object = self.columns
        if isinstance(columns, Mapping):
            faults.known_keys("columns", columns, ("datetime", *REQUIRED, *OPTIONAL))
            object.__setattr__(self, "columns", MappingProxyType(dict(columns)))
        else:
            faults.add(f"columns must map canonical names to names in the source, got {columns!r}")
        if self.time_zone is not None and not _is_zone(self.time_zone):
            faults.add(f"time_zone must be None or an IANA name such as 'Europe/Berlin', got {self.time_zone!r}")
        faults.one_of("time_unit", self.time_unit, (None, "s", "ms", "us", "ns"))
        if self.bar_seconds is not None:
            faults.whole("bar_seconds", self.bar_seconds, low=1)
        for name in self.repair if isinstance(self.repair, (tuple, list)) else (self.repair,):
            faults.one_of("repair", name, (*REPAIRS, "all"))
        if not isinstance(self.separator, str) or len(self.separator) != 1:
            faults.add(f"separator must be one character, got {self.separator!r}")
        faults.whole("min_bars", self.min_bars, low=1)
        faults.number("max_funding_rate", self.max_funding_rate, above=0.0)
        faults.number("spike_factor", self.spike_factor, above=1.0)
        faults.number("jump_factor", self.jump_factor, above=1.0)
        for name in ("earliest", "latest"):
            text = getattr(self, name)
            if not isinstance(text, str) or not _is_date(text):
                faults.add(f"{name} must be an ISO date from 1678-01-01 to 2261-12-31, got {text!r}")
        if not faults.found and self.earliest >= self.latest:
            faults.add(f"earliest must lie before latest, got {self.earliest!r} and {self.latest!r}")
        faults.raise_if_any()

    @property
    def repairs(self) -> tuple[str, ...]:
        """Names of the repairs asked for, in the order in which they run."""
        asked = self.repair if isinstance(self.repair, (tuple, list)) else (self.repair,)
        return REPAIRS if "all" in asked else tuple(name for name in REPAIRS if name in asked)


def _is_zone(name: object) -> bool:
    try:
        zoneinfo.ZoneInfo(str(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return isinstance(name, str)


def _is_date(text: str) -> bool:
    # The bounds are those of datetime64[ns].
    try:
        return 1678 <= datetime.date.fromisoformat(text).year <= 2261
    except ValueError:
        return False
