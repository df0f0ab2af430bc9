"""PerpetualData: the Backtrader feed over MarketData."""

from __future__ import annotations

import array
import logging
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.errors import DataError, SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.market.table import OPTIONAL, REQUIRED

__all__ = ["PerpetualData", "backtrader_times"]

_logger = logging.getLogger("ai_backtrader")

# Day 1 of Backtrader's calendar is 0001-01-01; 1970-01-01 is this one.
_DAY_OF_1970 = 719_163
_DAY_SECONDS = 86_400
_NO_TICK = "tick_datetime"  # Backtrader keeps the last price of every line but the time


def backtrader_times(times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Backtrader's day numbers of the times, shape (n,), equal to ``bt.date2num`` of each bit for bit.

    ``date2num`` adds day, hour, minute and second fractions with ``fsum``. For whole seconds the plain sum rounds to
    the same float: a sum is a multiple of 1/86400 and lies at least 8e-14 days away from the middle between two floats
    (2**-33 days apart), while the fractions' own rounding errors stay below 1e-15. Times with parts of a second have no
    such distance, and go through ``date2num`` itself.
    """
    nanos = times.astype("datetime64[ns]").astype(np.int64)
    seconds = nanos // 10**9
    days, rest = seconds // _DAY_SECONDS, seconds % _DAY_SECONDS
    numbers = (days + _DAY_OF_1970).astype(np.float64) + rest / _DAY_SECONDS
    for position in np.flatnonzero(nanos % 10**9):
        moment = pd.Timestamp(times[position]).to_pydatetime(warn=False)
        numbers[position] = bt.date2num(moment)
    return numbers


def _bar_seconds(feed: Any) -> int:
    """Bar length of any feed as far as it tells; a feed that does not is never the shorter one."""
    market_data = getattr(feed, "market_data", None)
    if market_data is not None:
        return int(market_data.bar_seconds)
    unit = {bt.TimeFrame.Seconds: 1, bt.TimeFrame.Minutes: 60, bt.TimeFrame.Days: _DAY_SECONDS}.get(feed._timeframe)
    return 7 * _DAY_SECONDS if unit is None else unit * (feed._compression or 1)


def _timeframe(bar_seconds: int) -> tuple[int, int]:
    # Backtrader's name of a bar length: a whole number of the largest unit that fits.
    frames = bt.TimeFrame
    days = bar_seconds / _DAY_SECONDS
    if 365 <= days <= 366:
        return frames.Years, 1
    if 28 <= days <= 31 and days != 28:
        return frames.Months, 1
    for seconds, frame in ((7 * _DAY_SECONDS, frames.Weeks), (_DAY_SECONDS, frames.Days), (60, frames.Minutes)):
        if bar_seconds % seconds == 0:
            return frame, bar_seconds // seconds
    return frames.Seconds, bar_seconds


class PerpetualData(bt.feed.DataBase):
    """Backtrader feed over :class:`~ai_backtrader.market.MarketData`, which it hands to Cerebro all at once.

    Feeds without the extra columns work too: their extra lines are NaN throughout. The time of a bar is its start, UTC.
    Beside feeds of shorter bars it is the start of the short bar in which it ends: Backtrader hands a bar out at its
    time, and a daily bar labelled by its start would be known a day early among hourly ones.
    Timeframe and compression follow the bar length and the name is the symbol, unless given.

    Params:
      - ``dataname``: MarketData; or a path (``.csv``, ``.csv.gz``, ``.parquet``) or DataFrame, loaded and validated
        when the feed is made, so that a faulty one never reaches a bar
      - ``name`` (default: the symbol): also the symbol of a DataFrame
      - ``loading`` (default: ``None``): options for loading a path or DataFrame, as a dict
        (``{"repair": "all", "time_zone": "Europe/Berlin"}``); see ``MarketData.from_frame``
      - ``timeframe``, ``compression`` (default: ``None``): those of the bar length
      - ``fromdate``, ``todate``, ``filters`` and the rest as in every Backtrader feed

    Lines: Backtrader's own (``openinterest`` is the open interest, 0 where there is none) and ``mark_open``,
    ``mark_high``, ``mark_low``, ``mark_close``, ``funding_rate``, ``open_interest``, ``long_short_ratio``,
    ``taker_buy_volume``.

    Backtrader's resampler and replayer build the seven standard lines only: in a resampled or replayed feed the extra
    lines are NaN (a warning says so), and funding is not charged.

    Attributes
    ----------
    market_data
        The MarketData behind the feed (all bars, whatever ``fromdate`` and ``todate`` leave out).
    """

    lines: Any = OPTIONAL  # the metaclass makes a Lines object of the names
    _plain = False  # True: the extra lines stay empty
    params = (("timeframe", None), ("compression", None), ("loading", None))

    def __init__(self) -> None:
        super().__init__()
        if self.p.tzinput is not None:
            raise SettingsError(
                "PerpetualData",
                ["tzinput must be left out: the times are UTC; say loading={'time_zone': …} for a file in local time"],
            )
        self.market_data = _market_data(self.p.dataname, name=self.p.name, loading=self.p.loading)
        # One source: nothing can be read past the validated copy.
        self.p.dataname = self._dataname = self.market_data
        self.p.name = self.p.name or self.market_data.symbol
        timeframe, compression = _timeframe(self.market_data.bar_seconds)
        if self.p.timeframe is None:
            self.p.timeframe = timeframe
            self.p.compression = compression if self.p.compression is None else self.p.compression
        elif self.p.compression is None:
            self.p.compression = compression if self.p.timeframe == timeframe else 1

    def start(self) -> None:
        """Rewind to before the first bar (Cerebro calls it before every run)."""
        super().start()
        self._position = -1
        self._columns = self._line_arrays()
        self._held: tuple[tuple[str, Any], ...] = ()

    def preload(self) -> None:
        """Put all bars from ``fromdate`` to ``todate`` into the lines at once."""
        # Filters and bound lines want single bars: Backtrader's own loop serves them.
        if self._filters or any(line.bindings for line in self.lines):
            super().preload()
            return
        times = self._columns["datetime"]
        first = int(np.searchsorted(times, self.fromdate, side="left"))
        last = int(np.searchsorted(times, self.todate, side="right"))
        for alias, values in self._columns.items():
            line = getattr(self.lines, alias)
            # Cerebro's lookahead has already asked for this many empty bars behind the last.
            content = np.concatenate((values[first:last], np.full(line.extension, np.nan)))
            line.array = array.array("d", content.tobytes())
        self.home()
        # Runs bar by bar ask again after the last preloaded bar: there is nothing more, and nothing to send to workers.
        self._position = len(times)
        self._columns = {}
        self._held = tuple((f"tick_{alias}", getattr(self.lines, alias)) for alias in self.getlinealiases())

    def advance(self, size: int = 1, datamaster: Any = None, ticks: bool = True) -> None:
        """Step to the next preloaded bar: what Backtrader does, without its three calls a line."""
        if datamaster is not None or not self._held:
            super().advance(size, datamaster, ticks)
            return
        for _, line in self._held:
            line._idx += size
            line.lencount += size
        if ticks:
            first = self._held[0][1]
            inside = first.lencount < len(first.array) - first.extension
            self.__dict__.update(
                {name: line.array[line._idx] if inside else None for name, line in self._held if name != _NO_TICK}
            )
            self.tick_last = self.tick_close if inside else None

    def _load(self) -> bool:
        self._position += 1
        if self._position >= len(self.market_data):
            return False
        for alias, values in self._columns.items():
            # Plain floats: with exactbars the lines keep the objects, and what is learnt from NumPy's is no JSON.
            getattr(self.lines, alias)[0] = values.item(self._position)
        return True

    def stop(self) -> None:
        """Let go of the arrays made for the run."""
        super().stop()
        self._columns = {}

    def resample(self, **kwargs: Any) -> None:
        """Resample as Backtrader does; the extra lines are NaN."""
        _leave_extra_lines_empty(self, self.market_data.symbol, "resampled")
        super().resample(**kwargs)

    def replay(self, **kwargs: Any) -> None:
        """Replay as Backtrader does; the extra lines are NaN."""
        _leave_extra_lines_empty(self, self.market_data.symbol, "replayed")
        super().replay(**kwargs)

    def clone(self, **kwargs: Any) -> _PerpetualClone:
        """Feed that follows this one, with the extra lines (Backtrader's own clone has the seven standard lines)."""
        return _PerpetualClone(dataname=self, **kwargs)

    def copyas(self, _dataname: str, **kwargs: Any) -> _PerpetualClone:
        """Clone under another name."""
        clone = self.clone(**kwargs)
        clone._dataname = clone._name = _dataname
        return clone

    def _line_arrays(self) -> dict[str, NDArray[np.float64]]:
        data = self.market_data
        held = data.columns()
        nothing = np.full(len(data), np.nan)
        arrays = {name: held[name] for name in REQUIRED}
        arrays |= {name: nothing if self._plain else held.get(name, nothing) for name in OPTIONAL}
        arrays["openinterest"] = (
            np.nan_to_num(held["open_interest"]) if "open_interest" in held else np.zeros(len(data))
        )
        late = data.bar_seconds - min((_bar_seconds(feed) for feed in self._beside()), default=data.bar_seconds)
        arrays["datetime"] = backtrader_times(data.times + np.timedelta64(max(0, late), "s"))
        return arrays

    def _beside(self) -> list[Any]:
        """The feeds of the run that are traded at their own bars."""
        environment = getattr(self, "_env", None)
        feeds = [] if environment is None else environment.datas
        return [feed for feed in feeds if not getattr(feed, "resampling", 0) and not getattr(feed, "replaying", 0)]


def _leave_extra_lines_empty(feed: Any, symbol: str, how: str) -> None:
    # Backtrader's resampler and replayer build the seven standard lines and leave the others empty or, worse, as they
    # were some bars ago: a liquidation on a stale mark price. So the extra lines of such feeds are NaN, and we say so.
    feed._plain = True
    _logger.warning(
        "%s: a %s feed has no mark price, funding or other extra lines; load bars of the length you trade to have them",
        symbol, how,
    )  # fmt: skip


class _PerpetualClone(bt.feed.DataClone):
    lines: Any = OPTIONAL
    _plain = False

    def resample(self, **kwargs: Any) -> None:
        """Resample as Backtrader does; the extra lines are NaN."""
        _leave_extra_lines_empty(self, self.data.market_data.symbol, "resampled")
        super().resample(**kwargs)

    def replay(self, **kwargs: Any) -> None:
        """Replay as Backtrader does; the extra lines are NaN."""
        _leave_extra_lines_empty(self, self.data.market_data.symbol, "replayed")
        super().replay(**kwargs)

    def _load(self) -> bool:
        loaded = bool(super()._load())
        if loaded and self._plain:
            for name in OPTIONAL:
                getattr(self.lines, name)[0] = np.nan
        return loaded


def _market_data(source: object, *, name: str, loading: dict[str, Any] | None) -> MarketData:
    options = dict(loading or {})
    if isinstance(source, MarketData):
        if options:
            raise DataError(
                "loading options for data that are loaded",
                feed=source.symbol, value=", ".join(options), mend="Give them to MarketData.from_csv or from_frame",
            )  # fmt: skip
        return source
    if isinstance(source, pd.DataFrame):
        return MarketData.from_frame(source, symbol=name or "data", **options)
    if isinstance(source, (str, Path)):
        load = MarketData.from_parquet if Path(source).suffix in (".parquet", ".pq") else MarketData.from_csv
        return load(source, symbol=name or None, **options)
    raise DataError(
        "no market data",
        feed=name or "PerpetualData", value=type(source).__name__,
        mend="Give dataname=MarketData, a path of a CSV or Parquet file, or a pandas DataFrame",
    )  # fmt: skip
