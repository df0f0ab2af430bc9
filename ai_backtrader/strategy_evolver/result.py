"""What a search found, and what became of it on bars it had not seen."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.evidence import TrialCount
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategy_evolver.exam import Exam
from ai_backtrader.strategy_evolver.history import Generation
from ai_backtrader.strategy_evolver.segments import Borders, Figures
from ai_backtrader.values import FrozenMapping

__all__ = ["Champion", "EvolutionResult", "Proof"]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A champion run again in Cerebro beside its simulation.

    Attributes
    ----------
    fills
        Fills compared.
    difference
        None where every fill, and cash and equity at every bar, are equal to the last bit; else the first that is not.
    """

    fills: int
    difference: str | None

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.difference is None


@dataclass(frozen=True, kw_only=True)
class Champion:
    """A strategy that did well in search and validation.

    Attributes
    ----------
    chromosome
        The rules.
    train_score, validation_score
        Scores by the fitness of the search, first objective.
    train, validation
        Figures of the bars it was found and selected on: chosen as the best of many, so they flatter.
    test
        Figures of the sealed bars; None where the seal was kept because the validation had shown no gain.
    exam
        What the sealed test said; None with ``test``.
    proof
        Its run in Cerebro compared fill by fill; None where nobody compared.
    deflated_sharpe
        Probability that its Sharpe ratio on the train bars is above what the best of all trials in the ledger would
        reach by luck (Bailey and Lopez de Prado, 2014); None without a ledger.
    """

    chromosome: StrategyChromosome
    train_score: float
    validation_score: float
    train: Figures
    validation: Figures
    test: Figures | None = None
    exam: Exam | None = None
    proof: Proof | None = None
    deflated_sharpe: float | None = None

    @property
    def passed(self) -> bool:
        """Whether it survived the sealed test."""
        return self.exam is not None and self.exam.passed


@dataclass(frozen=True, kw_only=True)
class EvolutionResult:
    """Outcome of :func:`~ai_backtrader.strategy_evolver.evolve`.

    Attributes
    ----------
    champions
        Best in validation first; no two trade alike. Empty where none could be judged.
    evaluations
        Chromosomes evaluated in the search: the number of trials for the deflated Sharpe ratio.
    scores_std
        Standard deviation of all their scores, first objective.
    history
        One entry a generation.
    validation_history
        Validation score of the best of each generation; NaN where it did not trade there. Computed when the search was
        over: it steered nothing.
    borders
        First bars of validation and test.
    alpha
        Probability of at least one false pass that the exam allowed.
    examinations
        How often the test has been opened, this time included: by this search (one that is resumed after its exam opens
        it again) and, as far as a ledger knows, by others. ``alpha`` is shared among them.
    trials
        Count of all trials ever made on these data, this search's included; None without a ledger.
    run
        What was searched, and how: enough to repeat it.
    """

    champions: tuple[Champion, ...]
    evaluations: int
    scores_std: float
    history: tuple[Generation, ...]
    validation_history: tuple[float, ...]
    borders: Borders
    alpha: float
    examinations: int
    trials: TrialCount | None = None
    run: Mapping[str, Any] = field(default_factory=FrozenMapping)

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", FrozenMapping(self.run))

    @property
    def best(self) -> Champion:
        """First of those who passed; without any, best in validation.

        Raises
        ------
        AIBacktraderError
            If there are no champions.
        """
        if not self.champions:
            raise AIBacktraderError(
                f"evolve: no champion, because none of {self.evaluations} strategies closed a trade that moved the "
                "account; give more bars, data that move, or more generations"
            )
        return next(iter(self.passed), self.champions[0])

    @property
    def passed(self) -> tuple[Champion, ...]:
        """Those that survived the sealed test; empty when none did."""
        return tuple(champion for champion in self.champions if champion.passed)

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        count, passed = len(self.champions), len(self.passed)
        opened = sum(champion.exam is not None for champion in self.champions)
        sentence = f"{passed} of {count} passed the sealed test"
        if not count:
            return f"{sentence}: none of {self.evaluations:,} strategies closed a trade that moved the account"
        if not opened:
            return f"{sentence}: none gained in validation, the test stays sealed"
        return f"{sentence} after {self.evaluations:,} evaluations"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; undefined and infinite numbers become None."""
        document = {
            "verdict": self.verdict,
            "passed": len(self.passed),
            "champions": [_champion_document(champion) for champion in self.champions],
            "evaluations": self.evaluations,
            "scores_std": self.scores_std,
            "examinations": self.examinations,
            "trials": None if self.trials is None else self.trials.n_trials,
            "alpha": self.alpha,
            "borders": self.borders._asdict(),
            "history": [
                {**asdict(generation), "validation": score}
                for generation, score in zip(self.history, self.validation_history, strict=True)
            ],
            "run": dict(self.run),
        }
        values: dict[str, Any] = _json_value(document)
        return values


def _champion_document(champion: Champion) -> dict[str, Any]:
    chromosome = champion.chromosome
    exam, proof = champion.exam, champion.proof
    return {
        "rules": chromosome.describe(),
        "fingerprint": chromosome.fingerprint,
        "chromosome": json.loads(chromosome.to_json()),
        "passed": champion.passed,
        "train_score": champion.train_score,
        "validation_score": champion.validation_score,
        "deflated_sharpe": champion.deflated_sharpe,
        "train": asdict(champion.train),
        "validation": asdict(champion.validation),
        "test": None if champion.test is None else asdict(champion.test),
        "exam": None if exam is None else {**asdict(exam), "p_value": exam.p_value},
        "proof": None if proof is None else {**asdict(proof), "equal": proof.equal},
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
