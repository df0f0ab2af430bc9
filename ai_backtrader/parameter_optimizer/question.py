"""Question: everything that the answer of a search depends on, and the key of it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ai_backtrader.evidence import TrialKey
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer.evaluation import (
    FEWEST_REGIME_TRADES,
    Backtests,
    Borders,
    Evaluation,
    Evaluator,
    Slices,
    content_digest,
    fingerprint_of,
)
from ai_backtrader.parameter_optimizer.judging import part_of
from ai_backtrader.parameter_optimizer.objectives import Objective, Outcome
from ai_backtrader.parameter_optimizer.result import Part
from ai_backtrader.parameter_optimizer.search import Search
from ai_backtrader.parameter_optimizer.space import Space
from ai_backtrader.values import Regime

__all__ = ["Question", "code_version", "objective_of", "timeframe_of"]

_ROOMS = ("market", "rules", "simulation", "evidence", "parameter_optimizer")


def objective_of(given: str | Callable[[Outcome], float] | Objective, regime: Regime | None = None) -> Objective:
    """The objective of a name or function; in a regime ten trades are the least, unless it says otherwise."""
    if isinstance(given, Objective):
        return given
    return Objective(measure=given, fewest_trades=1 if regime is None else FEWEST_REGIME_TRADES)


def timeframe_of(data: MarketData) -> str:
    """Bar length in words: ``"15m"``, ``"1h"``, ``"1d"``."""
    for seconds, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if data.bar_seconds % seconds == 0:
            return f"{data.bar_seconds // seconds}{unit}"
    return f"{data.bar_seconds}s"


@functools.cache
def code_version() -> str:
    """Version of the package with a hash of the code that an answer depends on: other code, other answers."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((root / room).glob("**/*.py")):
            digest.update(path.read_bytes())
    return f"{importlib.metadata.version('ai-backtrader')}+{digest.hexdigest()[:12]}"


class Question:
    """Everything that an answer depends on, checked, with its key."""

    def __init__(
        self, backtests: Backtests, data: MarketData, space: Space, objective: Objective, regime: Regime | None, *,
        n_trials: int, seed: int, surrogate: str, batch: int | None, slices: Slices,
    ) -> None:  # fmt: skip
        self.backtests, self.data, self.space, self.objective, self.regime = backtests, data, space, objective, regime
        self.surrogate = surrogate
        self.borders: Borders = slices.borders(len(data))
        self.search = Search(space, n_trials=n_trials, seed=seed, surrogate=surrogate, batch=batch)
        self.train = Evaluator(backtests, data, objective, last=self.borders.validation, regime=regime)
        self.slices = slices

    @functools.cached_property
    def content(self) -> dict[str, Any]:
        """What the key is a hash of."""
        return {
            "symbol": self.data.symbol,
            "timeframe": timeframe_of(self.data),
            "regime": None if self.regime is None else str(self.regime),
            "strategy": self.backtests.name,
            "strategy_fingerprint": self.backtests.fingerprint,
            "space": self.space.fingerprint,
            "data": self.data.fingerprint,
            "objective": fingerprint_of(self.objective.measure) if callable(self.objective.measure)
            else self.objective.measure,
            "min_trades": self.objective.min_trades,
            "fewest_trades": self.objective.fewest_trades,
            "n_trials": self.search.n_trials,
            "seed": self.search.seed,
            "surrogate": self.surrogate,
            "batch": self.search.batch,
            "validation": self.slices.validation,
            "test": self.slices.test,
            "version": code_version(),
        }  # fmt: skip

    @functools.cached_property
    def key(self) -> str:
        """Of the cache, the checkpoint and the ledger's run."""
        return content_digest(self.content)

    @property
    def trial_key(self) -> TrialKey:
        """What the trials count for."""
        return TrialKey(self.data.fingerprint, self.backtests.name)

    def part(self, parameters: Mapping[str, Any], first: int, last: int) -> tuple[Evaluation, Part]:
        """One parameter set on one stretch behind the search's."""
        share = (last - first) / self.borders.validation
        seen = Evaluator(
            self.backtests, self.data, self.objective, first=first, last=last, regime=self.regime, share=share
        )
        evaluation = seen.evaluate([parameters])[0]
        return evaluation, part_of(evaluation, seen.data, first, last, seen.chosen)
