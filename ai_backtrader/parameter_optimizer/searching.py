"""SearchUnderWay: ask, evaluate, tell and keep; and the judgement of what was found."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from ai_backtrader.checkpoints import read_checkpoint, write_checkpoint
from ai_backtrader.evidence import SharpeEvidence, TrialLedger, sharpe_evidence
from ai_backtrader.parameter_optimizer.evaluation import Evaluation, Evaluator, no_scores, outcome_in
from ai_backtrader.parameter_optimizer.judging import (
    ReturnMatrix,
    overfitting_of,
    parameter_importance,
    part_of,
    plateau_of,
)
from ai_backtrader.parameter_optimizer.question import Question, timeframe_of
from ai_backtrader.parameter_optimizer.result import Batch, OptimizationResult, Part, ScoredTrial
from ai_backtrader.parameter_optimizer.search import CHECKPOINT_SCHEMA, Search

__all__ = ["SearchUnderWay", "judged_again", "open_sealed_bars", "without_run"]

_FINALISTS = 10  # best of the search that are compared in validation


class SearchUnderWay:
    """A search under way."""

    def __init__(self, question: Question, ledger: TrialLedger, *, checkpoint: str | Path | None, resume: bool) -> None:
        self.question, self.ledger = question, ledger
        self.search = question.search
        self.path = None if checkpoint is None else Path(checkpoint)
        self.identity = {"kind": "optimize", **question.content}
        self.evaluations: dict[int, Evaluation] = {}
        self.returns = ReturnMatrix(self.search.n_trials)
        self.interrupted = False
        if resume and self.path is not None:
            self._resume(self.path)

    def _resume(self, path: Path) -> None:
        state = read_checkpoint(path, schema=CHECKPOINT_SCHEMA, identity=self.identity)
        self.search = Search.from_state(self.question.space, state)
        # Their returns are needed again, and were not kept; the surrogate, which costs the most, was.
        told = self.search.trials
        for trial, evaluation in zip(told, self.question.train.evaluate([t.params for t in told]), strict=True):
            self._keep(trial.number, evaluation)

    def run(self, on_batch: Callable[[Batch], None] | None) -> None:
        """Ask, evaluate and tell until the budget is spent or the user has had enough."""
        search = self.search
        try:
            while not search.done:
                proposals = search.ask()
                evaluations = self.question.train.evaluate([proposal.params for proposal in proposals])
                for proposal, evaluation in zip(proposals, evaluations, strict=True):
                    search.tell(proposal.number, evaluation.score, failed=evaluation.failed)
                    self._keep(proposal.number, evaluation)
                if self.path is not None:
                    write_checkpoint(self.path, schema=CHECKPOINT_SCHEMA, identity=self.identity, state=search.state())
                if on_batch is not None:
                    on_batch(self._progress())
        except KeyboardInterrupt:
            if not any(evaluation.score is not None for evaluation in self.evaluations.values()):
                raise
            self.interrupted = True

    def _keep(self, number: int, evaluation: Evaluation) -> None:
        self.returns.add(evaluation)
        self.evaluations[number] = without_run(evaluation)

    def _progress(self) -> Batch:
        scored = [trial for trial in self.search.trials if trial.score is not None]
        best = self.search.best if scored else None
        return Batch(
            done=len(self.search.trials), n_trials=self.search.n_trials,
            score=None if best is None else best.score, parameters=None if best is None else best.params,
            failed=len(self.search.trials) - len(scored),
        )  # fmt: skip

    def result(self) -> OptimizationResult:
        """Judge what was found; look at the sealed bars unless the search was interrupted."""
        question = self.question
        evaluations = [self.evaluations[number] for number in sorted(self.evaluations)]
        if all(evaluation.score is None for evaluation in evaluations):
            raise no_scores("optimize", evaluations, question.regime)
        winner = self._winner(evaluations)
        near = [] if self.interrupted else question.train.evaluate(question.space.neighbours(winner.parameters))
        near = [without_run(evaluation) for evaluation in near]
        trials = _trials(evaluations, near)
        for batch, group in enumerate((trials[: len(evaluations)], trials[len(evaluations) :])):
            if group:
                self.ledger.add_trials(
                    question.trial_key, [trial.sharpe for trial in group], run_id=question.key, batch=batch
                )
        scored = [evaluation for evaluation in evaluations if evaluation.score is not None]
        importance, r2 = parameter_importance(
            question.space, [e.parameters for e in scored], [e.score for e in scored if e.score is not None],
            seed=self.search.seed,
        )  # fmt: skip
        train, evidence = judged_again(question, winner, self.ledger)
        validation = None
        if question.slices.validation:
            validation = question.part(winner.parameters, question.borders.validation, question.borders.test)[1]
        test, test_evidence, opening = (
            (None, None, None) if self.interrupted else open_sealed_bars(question, winner, self.ledger)
        )
        if winner.score is None:
            raise AssertionError("the winner has a score")
        return OptimizationResult(
            parameters=winner.parameters, score=winner.score, value=winner.value, objective=question.objective.name,
            regime=question.regime, symbol=question.data.symbol, timeframe=timeframe_of(question.data),
            strategy=question.backtests.name, trials=trials, train=train, validation=validation, test=test,
            evidence=evidence, test_evidence=test_evidence, overfitting=overfitting_of(self.returns.table()),
            plateau=plateau_of(winner.score, near), importance=importance, importance_r2=r2, opening=opening,
            borders=question.borders, bars_per_year=question.data.bars_per_year, seed=self.search.seed,
            surrogate=question.surrogate, interrupted=self.interrupted, key=question.key,
            run={**question.content, "bars": len(question.data), "first_bar": str(question.data.times[0]),
                 "last_bar": str(question.data.times[-1])},
        )  # fmt: skip

    def _winner(self, evaluations: list[Evaluation]) -> Evaluation:
        ranked = sorted((e for e in evaluations if e.score is not None), key=lambda e: -(e.score or 0.0))
        borders, question = self.question.borders, self.question
        if not question.slices.validation:
            return ranked[0]
        finalists: list[Evaluation] = []
        for evaluation in ranked:
            if all(evaluation.parameters != other.parameters for other in finalists):
                finalists.append(evaluation)
            if len(finalists) == _FINALISTS:
                break
        seen = Evaluator(
            question.backtests, question.data, question.objective, first=borders.validation, last=borders.test,
            regime=question.regime, share=(borders.test - borders.validation) / borders.validation,
        )  # fmt: skip
        scores = [e.score for e in seen.evaluate([finalist.parameters for finalist in finalists])]
        best = max(range(len(finalists)), key=lambda place: (-math.inf if (s := scores[place]) is None else s, -place))
        return finalists[best]


def without_run(evaluation: Evaluation) -> Evaluation:
    """The evaluation without its arrays, which are large."""
    return Evaluation(
        parameters=evaluation.parameters, score=evaluation.score, value=evaluation.value, failed=evaluation.failed,
        trades=evaluation.trades, sharpe=evaluation.sharpe, outcome=None,
    )  # fmt: skip


def _trials(evaluations: list[Evaluation], near: list[Evaluation]) -> tuple[ScoredTrial, ...]:
    return tuple(
        ScoredTrial(
            number=number, parameters=e.parameters, score=e.score, value=e.value, failed=e.failed, trades=e.trades,
            sharpe=e.sharpe, neighbour=number >= len(evaluations),
        )
        for number, e in enumerate([*evaluations, *near])
    )  # fmt: skip


def judged_again(question: Question, winner: Evaluation, ledger: TrialLedger) -> tuple[Part, SharpeEvidence]:
    """The winner on the bars of the search, deflated by every trial that the ledger knows by now."""
    evaluation = question.train.evaluate([winner.parameters])[0]
    train = part_of(evaluation, question.train.data, 0, question.borders.validation, question.train.chosen)
    count = ledger.trials(question.trial_key)
    spread = count.sharpe_std
    evidence = sharpe_evidence(
        outcome_in(evaluation).returns,
        n_trials=max(1, count.n_trials),
        trials_sharpe_std=None if math.isnan(spread) else spread,
    )
    return train, evidence


def open_sealed_bars(
    question: Question, winner: Evaluation, ledger: TrialLedger
) -> tuple[Part | None, SharpeEvidence | None, int | None]:
    """Look at the sealed bars, and have it recorded."""
    first, last = question.borders.test, question.borders.bars
    if first == last:
        return None, None, None
    times = question.data.times
    opening = ledger.open_sealed(question.trial_key, start=times[first], end=times[last - 1], by=question.key)
    evaluation, test = question.part(winner.parameters, first, last)
    return test, sharpe_evidence(outcome_in(evaluation).returns), opening.number
