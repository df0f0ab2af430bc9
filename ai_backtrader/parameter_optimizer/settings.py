"""Settings of the optimizer, the question it is asked, and the fifteen parameters of the technical rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.parameter_optimizer.dimensions import Integer, Real
from ai_backtrader.parameter_optimizer.space import Less, Space
from ai_backtrader.values import Regime

__all__ = ["SURROGATES", "TECHNICAL_SPACE", "OptimizationConfig", "OptimizerSettings"]

SURROGATES = ("gp", "et", "rf", "random", "de")
"""Ways to propose: Gaussian process, extra trees, random forest, and two without a model: at random, evolution."""

TECHNICAL_SPACE = Space(
    [
        Integer("ema_fast", 5, 50, log=True),
        Integer("ema_slow", 20, 200, log=True),
        Integer("rsi_period", 5, 30),
        Real("rsi_overbought", 55.0, 90.0),
        Real("rsi_oversold", 10.0, 45.0),
        Integer("adx_period", 7, 30),
        Real("adx_threshold", 10.0, 40.0),
        Integer("atr_period", 7, 30),
        Real("atr_stop", 1.0, 5.0),
        Real("atr_target", 1.0, 10.0),
        Integer("macd_fast", 5, 20),
        Integer("macd_slow", 15, 50),
        Integer("macd_signal", 3, 15),
        Integer("bb_period", 10, 50),
        Real("bb_std", 1.0, 3.5),
    ],
    constraints=[Less("ema_fast", "ema_slow"), Less("macd_fast", "macd_slow"), Less("rsi_oversold", "rsi_overbought")],
)
"""EMA, RSI, ADX, ATR, MACD and Bollinger parameters: the default space."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """How a search is done.

    Attributes
    ----------
    surrogate
        ``"gp"``: Gaussian process, for dear evaluations and smooth objectives; the default. ``"et"``, ``"rf"``:
        forests, for many trials and jumpy objectives. ``"random"``, ``"de"``: random search and differential
        evolution, which cost nothing beside the evaluations.
    batch
        Trials proposed at once, after the first design; they can run side by side. None takes one for every 50 trials
        of the budget. The trial list depends on it, and not on the number of workers.
    n_initial
        Trials of the first design, spread evenly; None lets the space and the budget decide. They count as trials.
    """

    surrogate: str = "gp"
    batch: int | None = None
    n_initial: int | None = None

    def __post_init__(self) -> None:
        faults = Faults("OptimizerSettings")
        faults.one_of("surrogate", self.surrogate, SURROGATES)
        if self.batch is not None:
            faults.whole("batch", self.batch, low=1)
        if self.n_initial is not None:
            faults.whole("n_initial", self.n_initial, low=1)
        faults.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """One question to the optimizer.

    Attributes
    ----------
    symbol
        What is traded.
    regime
        The regime whose trades count; None for all. A label, in any case.
    n_trials
        Evaluations in all, the first design included.
    timeframe
        Bar length in words (``"1h"``); belongs to the cache's key.
    strategy
        Name of what is tuned; belongs to the cache's key.
    space
        What may be searched: a :class:`Space` or a dictionary for :meth:`Space.of`; None takes
        :data:`TECHNICAL_SPACE`.
    objective
        Name of the score in what the function returns, where it returns several named numbers.
    maximize
        Whether more is better.
    data_fingerprint
        Hash of the data that the function reads; with ``version`` it identifies what is searched.
    version
        Version of the function: change it whenever the same parameters would give another score.
    jobs, executor
        Processes that evaluate a function that is not async, and where (``"local"``, ``"dask"``, ``"ray"``). The
        answer does not depend on them.

    Notes
    -----
    The cache is asked only where both ``data_fingerprint`` and ``version`` are given: a function cannot be told from
    its later self.
    """

    symbol: str
    regime: Regime | str | None = None
    n_trials: int = 50
    timeframe: str = ""
    strategy: str = "technical"
    space: Space | Mapping[str, Any] | None = None
    objective: str = "score"
    maximize: bool = True
    data_fingerprint: str | None = None
    version: str | None = None
    jobs: int = 1
    executor: str = "local"

    def __post_init__(self) -> None:
        faults = Faults("OptimizationConfig")
        for name in ("symbol", "strategy", "objective"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                faults.add(f"{name} must be a text, got {getattr(self, name)!r}")
        given: Any = self.timeframe
        if not isinstance(given, str):
            faults.add(f"timeframe must be a text such as '1h', got {given!r}")
        for name in ("data_fingerprint", "version"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                faults.add(f"{name} must be a text or None, got {value!r}")
        faults.whole("n_trials", self.n_trials, low=1)
        faults.whole("jobs", self.jobs, low=1)
        maximize: Any = self.maximize
        if not isinstance(maximize, bool):
            faults.add(f"maximize must be True or False, got {maximize!r}")
        try:
            object.__setattr__(self, "regime", Regime.parse(self.regime))
        except SettingsError as error:
            faults.add(f"regime {error.faults[0]}")
        space: Any = self.space
        if space is not None and not isinstance(space, Space):
            if isinstance(space, (Mapping, list, tuple)):
                try:
                    object.__setattr__(self, "space", Space.of(space))
                except SettingsError as error:
                    faults.found.extend(f"space: {fault}" for fault in error.faults)
            else:
                faults.add(f"space must be a Space or a dictionary of ranges, got {space!r}")
        faults.raise_if_any()
