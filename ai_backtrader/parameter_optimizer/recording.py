"""What optimize found, as an event of the journal, and back: an answer is taken if its winner still scores the same."""

from __future__ import annotations

import dataclasses
import logging

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ParametersOptimized
from ai_backtrader.evidence import TrialLedger
from ai_backtrader.parameter_optimizer.answers import AnswerStore
from ai_backtrader.parameter_optimizer.question import Question
from ai_backtrader.parameter_optimizer.result import OptimizationResult
from ai_backtrader.parameter_optimizer.searching import judged_again, without_run

__all__ = ["event_of", "known_answer"]

_log = logging.getLogger("ai_backtrader")


def event_of(question: Question, result: OptimizationResult) -> ParametersOptimized:
    """The result as an event of the journal, under the question's key."""
    return ParametersOptimized(
        key=question.key, symbol=result.symbol, timeframe=result.timeframe, strategy=result.strategy,
        parameters=result.parameters, score=result.score, n_trials=result.n_trials, seed=result.seed,
        regime=result.regime, result=result.to_json(),
        at=question.data.times[-1].astype("datetime64[us]").item(),
    )  # fmt: skip


def known_answer(question: Question, store: AnswerStore, ledger: TrialLedger) -> OptimizationResult | None:
    """The recorded answer, if it is one to this question and its winner still scores what it did."""
    event = store.optimization(question.key)
    if event is None:
        return None
    try:
        result = OptimizationResult.from_json(event.result)
    except SettingsError as error:
        _log.warning("The recorded answer %s cannot be read and is searched for again: %s", question.key[:12], error)
        return None
    faults = Faults("answer")
    run = {name: result.run.get(name) for name in question.content}
    if result.key != question.key or run != question.content:
        faults.add("it is the answer to another question")
    else:
        again = question.train.evaluate([result.parameters])[0]
        if again.score != result.score:
            faults.add(f"its winner scores {again.score!r} now, {result.score!r} then")
    if faults.found:
        _log.warning(
            "The recorded answer %s is stale and is searched for again: %s", question.key[:12], faults.found[0]
        )
        return None
    # The search is not done again, but others may have been done since: the ledger's count is of now.
    winner = without_run(again)
    train, evidence = judged_again(question, winner, ledger)
    opening = result.opening
    if result.test is not None:
        times, (_, first, last) = question.data.times, question.borders
        opening = ledger.open_sealed(
            question.trial_key, start=times[first], end=times[last - 1], by=question.key
        ).number
    return dataclasses.replace(result, train=train, evidence=evidence, opening=opening, cached=True)
