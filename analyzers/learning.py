"""How the online learner judged a run: health of the strategies, drift of their markets, searches on the way."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Any, NamedTuple

import backtrader as bt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.analyzers.recording import analysis_of, feed_names, times_of
from ai_backtrader.online_learner import DriftEvent, DriftMonitor, HealthState

__all__ = ["Learning"]


class _Change(NamedTuple):
    time: float
    strategy: str
    state: str
    reason: str


class Learning(bt.Analyzer):
    """What the engine's online learner thought, bar by bar; empty on a strategy without an engine.

    Health is read at every bar's close and kept where it changes. The drift alarms are those of the learner's own
    detectors over the bars of the run, all of them: of the requests for a new search, which they become, the learner
    keeps one until it is taken.

    ``get_analysis()`` gives ``health``: by strategy ``state`` at the end, ``trades``, ``changes`` (count), ``healthy``,
    ``degraded`` and ``probation`` (shares of the bars since its first trade) and ``reason``; ``alarms`` (count by
    series: momentum, volatility, volume), ``requests`` (still waiting) and ``searches``, ``put_forward``, ``passed``
    (of the strategy's ``adaptations``).
    """

    def start(self) -> None:
        """Find the learner and the feeds."""
        self._learner = getattr(getattr(self.strategy, "engine", None), "online_learner", None)
        self._names = feed_names(self.datas)
        self._bars = [(array("d"), array("d"), array("d")) for _ in self.datas]
        self._changes: list[_Change] = []
        self._counts: dict[str, Counter[str]] = {}
        self._latest: dict[str, tuple[str, str]] = {}
        self._alarms: list[tuple[int, DriftEvent]] = []
        self._last = float("nan")

    def next(self) -> None:
        """Read bars and health."""
        if self._learner is None:
            return
        for feed, (times, closes, volumes) in zip(self.datas, self._bars, strict=True):
            if len(feed) > len(times):  # a slow feed stands still on most bars
                times.append(feed.datetime[0])
                closes.append(feed.close[0])
                volumes.append(feed.volume[0])
        self._last = self.strategy.datetime[0]
        for name in self._learner.strategies():
            health = self._learner.health(name)
            told = (str(health.state), health.reason)
            if self._latest.get(name) != told:
                if name not in self._latest or self._latest[name][0] != told[0]:
                    self._changes.append(_Change(self._last, name, *told))
                self._latest[name] = told
            self._counts.setdefault(name, Counter())[told[0]] += 1

    def prenext(self) -> None:
        """Read from the first bar on: so does the learner."""
        self.next()

    def health(self) -> pd.DataFrame:
        """Changes of health, the first of each strategy included: time (UTC), strategy, state, reason."""
        frame = pd.DataFrame(self._changes, columns=_Change._fields)
        frame["time"] = times_of(array("d", [change.time for change in self._changes]))
        return frame

    def alarms(self) -> pd.DataFrame:
        """Drift alarms of the markets: time (UTC), symbol, series, detectors."""
        rows = [
            (self._times(place)[event.bar], event.symbol, event.series, ", ".join(event.detectors))
            for place, event in self._alarms
        ]
        return pd.DataFrame(rows, columns=["time", "symbol", "series", "detectors"])

    @property
    def last(self) -> np.datetime64:
        """Time of the last bar (UTC)."""
        moment: np.datetime64 = times_of(array("d", [self._last]))[0]
        return moment

    def _times(self, place: int) -> NDArray[np.datetime64]:
        return times_of(self._bars[place][0])

    def stop(self) -> None:
        """Find the alarms and sum up; let go of the run so that the analyzer pickles."""
        learner, searches = self._learner, getattr(self.strategy, "adaptations", ())
        self._learner = None
        if learner is None:
            self.rets = analysis_of({})
            return
        for place, (name, (_, closes, volumes)) in enumerate(zip(self._names, self._bars, strict=True)):
            monitor = DriftMonitor(name, learner.settings.drift)
            self._alarms += [(place, event) for event in monitor.scan(np.array(closes), np.array(volumes))]
        self.rets = analysis_of(
            {
                "health": {name: self._health_of(name, learner.health(name)) for name in learner.strategies()},
                "alarms": dict(Counter(event.series for _, event in self._alarms).most_common()),
                "requests": len(learner.requests()),
                "searches": len(searches),
                "put_forward": sum(search.put_forward for search in searches),
                "passed": sum(search.passed for search in searches),
            }
        )

    def _health_of(self, name: str, health: Any) -> dict[str, object]:
        counts = self._counts.get(name, Counter())
        bars = max(1, counts.total())
        return {
            "state": str(health.state),
            "trades": health.n_trades,
            "changes": max(0, sum(change.strategy == name for change in self._changes) - 1),
            **{str(state).lower(): counts[str(state)] / bars for state in HealthState},
            "reason": health.reason,
        }
