"""What a run is worth as evidence: how sure its Sharpe ratio is, and what the search before it cost."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.analyzers.recording import analysis_of, times_of
from ai_backtrader.checks import Faults

__all__ = ["Evidence", "evidence_figures", "noise_verdict"]

_FEW_TRADES = 30  # below, even the sign of the mean result is mostly luck (Tharp's limit for his SQN)


class Evidence(bt.Analyzer):
    """Whether a run is more than luck: Sharpe ratio with its uncertainty, deflated by the trials that led to it.

    Params:

      - ``n_trials`` (default: ``1``)

        **Every** set of parameters and rules that was tried on these data before this one was chosen, itself included.

      - ``trials_sharpe_std`` (default: ``None``)

        Deviation of their Sharpe ratios, **per bar**. ``None`` takes what trials without any edge show by chance.

      - ``benchmark`` (default: ``"buy_and_hold"``)

        What must be beaten: the first feed held, ``0.0``, or any annual Sharpe ratio.

      - ``confidence`` (default: ``0.95``)

        Of the interval, the minimum track record and the verdict.

      - ``resamples`` (default: ``1000``)

        Of the block bootstrap behind the interval; ``0`` leaves it out.

      - ``seed`` (default: ``0``)

        Of the bootstrap: the same run gives the same interval.

      - ``bars_per_year`` (default: ``None``)

        For annual figures; ``None`` measures them from the run's own times.

    ``get_analysis()`` gives a dictionary with dot access and plain numbers; what is undefined is NaN:

      - ``sharpe_ratio``, ``sharpe_low``, ``sharpe_high``: annual, with the bootstrap interval.
      - ``probabilistic_sharpe``: probability that the true Sharpe ratio is above 0; ``beats_benchmark``: that it is
        above the benchmark's. Bailey and Lopez de Prado (2012).
      - ``deflated_sharpe``: that it is above what the best of ``n_trials`` trials without edge is expected to show,
        ``expected_maximum`` (annual). Bailey and Lopez de Prado (2014).
      - ``minimum_track_record``: bars needed to be sure that it is above 0; infinite where it is not.
        ``minimum_backtest``: bars below which so many trials are expected to show as much without edge.
      - ``benchmark_sharpe`` (annual), ``excess_return``: compounded return less that of buy and hold.
      - ``bars``, ``trades``, ``skewness``, ``kurtosis``, ``bars_per_year``.
      - ``noise``: False where the deflated Sharpe ratio and the probability of beating the benchmark both reach the
        confidence; ``verdict``: the same in words.

    Positions are never asked for: the analyzer changes nothing in the run.
    """

    params = (
        ("n_trials", 1),
        ("trials_sharpe_std", None),
        ("benchmark", "buy_and_hold"),
        ("confidence", 0.95),
        ("resamples", 1000),
        ("seed", 0),
        ("bars_per_year", None),
    )

    def __init__(self) -> None:
        faults = Faults("Evidence")
        faults.number("n_trials", self.p.n_trials, low=1.0)
        if self.p.trials_sharpe_std is not None:
            faults.number("trials_sharpe_std", self.p.trials_sharpe_std, low=0.0)
        if self.p.benchmark != "buy_and_hold":
            before = len(faults.found)
            faults.number("benchmark", self.p.benchmark)
            if len(faults.found) > before:
                faults.found[-1] += "; or 'buy_and_hold'"
        faults.number("confidence", self.p.confidence, low=0.51, high=0.9999)
        faults.whole("resamples", self.p.resamples, low=0)
        faults.whole("seed", self.p.seed, low=0)
        if self.p.bars_per_year is not None:
            faults.number("bars_per_year", self.p.bars_per_year, above=0.0)
        faults.raise_if_any()
        self._numbers, self._values, self._closes = array("d"), array("d"), array("d")
        self._value = math.nan
        self._trades = 0

    def start(self) -> None:
        """Note the account as it is before the first bar."""
        self._start_value = float(self.strategy.broker.getvalue())
        self._clock, self._close = self.strategy.lines.datetime, self.data.lines.close
        self._first_feed_began = False

    def notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None:
        """Keep the account's value at this bar's close until :meth:`next` files it."""
        self._value = value

    def notify_trade(self, trade: Any) -> None:
        """Count closed trades."""
        self._trades += bool(trade.isclosed)

    def next(self) -> None:
        """File one bar."""
        self._numbers.append(self._clock[0])
        self._values.append(self._value)
        # A feed that has not begun answers [0] with its last bar when bars are preloaded: tomorrow's price.
        self._first_feed_began = self._first_feed_began or len(self.data) > 0
        self._closes.append(self._close[0] if self._first_feed_began else math.nan)

    @property
    def returns(self) -> NDArray[np.float64]:
        """Return of each bar of the account, shape (n,)."""
        return ev.bar_returns(np.array(self._values), start=self._start_value)

    @property
    def benchmark_returns(self) -> NDArray[np.float64]:
        """Return of each bar of the first feed, held from its first close on, shape (n,)."""
        closes = pd.Series(np.array(self._closes)).ffill().bfill().to_numpy()
        return np.concatenate(([0.0], closes[1:] / closes[:-1] - 1.0)) if closes.size else closes

    def stop(self) -> None:
        """Compute the analysis; let go of the run so that the analyzer pickles."""
        del self._clock, self._close
        year = self.p.bars_per_year
        self.rets = analysis_of(
            evidence_figures(
                self.returns,
                self.benchmark_returns,
                trades=self._trades,
                bars_per_year=ev.bars_per_year(times_of(self._numbers)) if year is None else float(year),
                n_trials=self.p.n_trials,
                trials_sharpe_std=self.p.trials_sharpe_std,
                benchmark=self.p.benchmark,
                confidence=self.p.confidence,
                resamples=self.p.resamples,
                seed=self.p.seed,
            )
        )


def evidence_figures(
    returns: NDArray[np.float64],
    market: NDArray[np.float64],
    *,
    trades: int,
    bars_per_year: float,
    n_trials: float = 1,
    trials_sharpe_std: float | None = None,
    benchmark: str | float = "buy_and_hold",
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """What :class:`Evidence` analyses, from plain arrays.

    Parameters
    ----------
    returns, market
        Of each bar, of the account and of the market held, shape (n,).
    trades
        Closed.
    bars_per_year, n_trials, trials_sharpe_std, benchmark, confidence, resamples, seed
        See the params of :class:`Evidence`.
    """
    annual = math.sqrt(bars_per_year)
    held = ev.sharpe_ratio(market, bars_per_year=1.0)
    against = (0.0 if math.isnan(held) else held) if benchmark == "buy_and_hold" else float(benchmark) / annual
    found = ev.sharpe_evidence(returns, n_trials=n_trials, trials_sharpe_std=trials_sharpe_std, confidence=confidence)
    beats = ev.sharpe_evidence(returns, benchmark=against, confidence=confidence).probabilistic
    low = high = math.nan
    if resamples and found.n_obs > 1 and not math.isnan(found.sharpe):
        interval = ev.block_bootstrap(
            returns,
            lambda sample: ev.sharpe_ratio(sample, bars_per_year=bars_per_year),
            rng=np.random.default_rng(seed),
            n_resamples=resamples,
            confidence=confidence,
        ).interval
        low, high = interval
    figures: dict[str, Any] = {
        "bars": int(returns.size),
        "trades": int(trades),
        "bars_per_year": bars_per_year,
        "n_trials": n_trials,
        "confidence": confidence,
        "sharpe_ratio": found.sharpe * annual,
        "sharpe_low": low,
        "sharpe_high": high,
        "skewness": found.skew,
        "kurtosis": found.kurtosis,
        "probabilistic_sharpe": found.probabilistic,
        "deflated_sharpe": found.deflated,
        "expected_maximum": found.expected_maximum * annual,
        "minimum_track_record": found.minimum_track_record,
        "minimum_backtest": found.minimum_backtest,
        "benchmark_sharpe": against * annual,
        "beats_benchmark": beats,
        "excess_return": ev.total_return(returns) - ev.total_return(market),
    }
    figures["noise"] = not (found.deflated >= confidence and beats >= confidence)
    figures["verdict"] = noise_verdict(figures)
    return figures


def noise_verdict(figures: Mapping[str, Any]) -> str:
    """Whether the run is more than noise, in plain words."""
    sharpe, confidence, trials = figures["sharpe_ratio"], figures["confidence"], figures["n_trials"]
    if not figures["bars"]:
        return "Nothing to judge: the run has no bars."
    if math.isnan(sharpe):
        return "Nothing to judge: the account never moved."
    if sharpe <= 0.0:
        return f"No sign of an edge: the Sharpe ratio is {sharpe:.2f}."
    few = f" {figures['trades']} closed trades: too few to tell." if figures["trades"] < _FEW_TRADES else ""
    if not figures["noise"]:
        return (
            f"More than noise: Sharpe ratio {sharpe:.2f}, deflated by {trials:,.0f} "
            f"{'trial' if trials == 1 else 'trials'} {figures['deflated_sharpe']:.2f}, above the benchmark's "
            f"{figures['benchmark_sharpe']:.2f} with probability {figures['beats_benchmark']:.2f}.{few}"
        )
    reasons = []
    if not figures["deflated_sharpe"] >= confidence:
        if trials > 1:
            reasons.append(
                f"the best of {trials:,.0f} trials without edge is expected to show {figures['expected_maximum']:.2f} "
                f"(deflated Sharpe ratio {figures['deflated_sharpe']:.2f})"
            )
        else:
            needed = figures["minimum_track_record"]
            reasons.append(
                f"{figures['bars']:,} bars are too few, {needed:,.0f} are needed"
                if math.isfinite(needed)
                else "no record is long enough"
            )
    if not figures["beats_benchmark"] >= confidence:
        reasons.append(
            f"it beats the benchmark's {figures['benchmark_sharpe']:.2f} only with probability "
            f"{figures['beats_benchmark']:.2f}"
        )
    return f"Cannot be told from noise: Sharpe ratio {sharpe:.2f}, but {' and '.join(reasons)}.{few}"
