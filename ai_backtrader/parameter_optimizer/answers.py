"""The cache of answers: what a question's key depends on, and answers as events of the journal and back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from importlib.metadata import version
from typing import Any, Protocol

from ai_backtrader.events import ParametersOptimized
from ai_backtrader.parameter_optimizer.settings import OptimizationConfig, OptimizerSettings
from ai_backtrader.parameter_optimizer.space import Space
from ai_backtrader.parameter_optimizer.trials import SearchResult, Trial
from ai_backtrader.values import Regime

__all__ = ["AnswerStore", "answer_of", "digest_of", "event_of", "key_of", "question_of"]

_log = logging.getLogger("ai_backtrader")

_SCHEMA = "ai-backtrader/optimization/1"


class AnswerStore(Protocol):
    """Where answers are looked up."""

    def optimization(self, key: str) -> ParametersOptimized | None:
        """The search that was recorded under a key; None where there is none."""


def question_of(
    config: OptimizationConfig, settings: OptimizerSettings, space: Space, *, seed: int, function: object
) -> dict[str, Any]:
    """Everything that the answer depends on, as JSON values."""
    return {
        "schema": _SCHEMA,
        "package": version("ai-backtrader"),
        "symbol": config.symbol,
        "timeframe": config.timeframe,
        "strategy": config.strategy,
        "regime": _text(config.regime),
        "n_trials": config.n_trials,
        "objective": config.objective,
        "maximize": config.maximize,
        "data_fingerprint": config.data_fingerprint,
        "version": config.version,
        "function": _name(function),
        "space": space.fingerprint,
        "settings": dataclasses.asdict(settings),
        "seed": seed,
    }


def event_of(
    result: SearchResult, config: OptimizationConfig, *, question: dict[str, Any], seed: int
) -> ParametersOptimized:
    """The answer as an event.

    Where the question does not say what data and function it is about, the key is of question and answer together: it
    is kept, and no later question finds it.
    """
    document = {
        "schema": _SCHEMA,
        "maximize": result.maximize,
        "trials": [[t.number, dict(t.params), t.score, t.failed, t.seconds, dict(t.figures)] for t in result.trials],
    }
    told = [[t.number, dict(t.params), t.score] for t in result.trials]
    return ParametersOptimized(
        key=result.key or "unidentified:" + digest_of([question, told]),
        symbol=config.symbol, timeframe=config.timeframe, strategy=config.strategy, regime=Regime.parse(config.regime),
        parameters=result.params, score=result.score, n_trials=result.n_trials, seed=seed,
        result=json.dumps(document, sort_keys=True, allow_nan=False),
    )  # fmt: skip


def key_of(question: dict[str, Any]) -> str | None:
    """Key of a question; None where it does not say what data and function it is about."""
    identified = question["data_fingerprint"] is not None and question["version"] is not None
    return digest_of(question) if identified else None


def answer_of(event: ParametersOptimized, key: str, space: Space) -> SearchResult | None:
    """The result that an event keeps; None, with a warning, where it does not fit the question."""
    parameters = dict(event.parameters)
    if event.key != key or not space.contains(parameters):
        _log.warning("optimizer: the cached answer of %s does not fit the question; searching anew", event.symbol)
        return None
    try:
        document = json.loads(event.result)
        if document["schema"] != _SCHEMA:
            return None
        trials = tuple(
            Trial(number=number, params=params, score=score, failed=failed, seconds=seconds, figures=figures)
            for number, params, score, failed, seconds, figures in document["trials"]
        )
        maximize = bool(document["maximize"])
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("optimizer: the cached answer of %s cannot be read (%s); searching anew", event.symbol, error)
        return None
    return SearchResult(
        params=parameters, score=event.score, trials=trials, n_trials=event.n_trials, maximize=maximize, cached=True,
        key=key,
    )  # fmt: skip


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _name(function: object) -> str:
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', '')}"


def _text(regime: Regime | str | None) -> str | None:
    parsed = Regime.parse(regime)
    return None if parsed is None else str(parsed)
