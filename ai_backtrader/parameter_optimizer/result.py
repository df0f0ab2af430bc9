"""What a parameter search found, what it cost, and what is left of it on bars that it had not seen."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import SharpeEvidence
from ai_backtrader.parameter_optimizer.evaluation import Borders
from ai_backtrader.values import FrozenMapping, Regime

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Batch", "OptimizationResult", "Overfitting", "Part", "Plateau", "ScoredTrial"]

SCHEMA = 1
"""Version of the JSON form."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Progress of a search: after each batch of trials.

    Attributes
    ----------
    done, n_trials
        Trials evaluated, and to be evaluated.
    score, parameters
        Best so far; None while nothing has a score.
    failed
        Trials without a score so far.
    """

    done: int
    n_trials: int
    score: float | None
    parameters: Mapping[str, Any] | None
    failed: int


@dataclass(frozen=True, kw_only=True)
class ScoredTrial:
    """One evaluation.

    Attributes
    ----------
    number
        In the order of asking; neighbours of the winner follow after the search.
    parameters
        What was tried.
    score
        Larger is better, discounted; None where there is none.
    value
        The measure itself; NaN where it is undefined.
    failed
        Why there is no score.
    trades
        Closed in the stretch that was searched (in a regime: opened in it).
    sharpe
        Per bar; NaN where the account did not move.
    neighbour
        True where it was tried to see how flat the top is, not to find one.
    """

    number: int
    parameters: Mapping[str, Any]
    score: float | None
    value: float
    failed: str | None
    trades: int
    sharpe: float
    neighbour: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", FrozenMapping(self.parameters))


@dataclass(frozen=True, kw_only=True)
class Part:
    """How the winner did in one stretch of bars, beside buy and hold.

    Attributes
    ----------
    bars
        Length of the stretch.
    score
        By the objective, its trade discount scaled to the length; None where it is undefined there.
    figures
        ``sharpe``, ``total_return``, ``max_drawdown``, ``trades``, … as in ``SimulationResult.metrics``.
    holding
        ``sharpe``, ``total_return``, ``max_drawdown`` of the market bought at the first close and held over the same
        bars, 1x, no costs; in a search for one regime held on the bars of the regime alone.
    """

    bars: int
    score: float | None
    figures: Mapping[str, float]
    holding: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", FrozenMapping(self.figures))
        object.__setattr__(self, "holding", FrozenMapping(self.holding))

    @property
    def beats_holding(self) -> bool:
        """Whether it earned something, and more than holding for its risk (Sharpe ratio)."""
        held = self.holding["sharpe"]
        return self.figures["total_return"] > 0.0 and self.figures["sharpe"] > (held if math.isfinite(held) else 0.0)


@dataclass(frozen=True, kw_only=True)
class Overfitting:
    """Probability of backtest overfitting over the trials' returns, with its spread.

    See :class:`~ai_backtrader.evidence.OverfittingEvidence`; ``n_obs`` counts rows: bars, or some bars together where
    trials times bars are more than 16 million.
    """

    probability: float
    standard_error: float
    low: float
    high: float
    degradation_slope: float
    probability_of_loss: float
    n_splits: int
    n_trials: int
    n_obs: int
    blocks: int


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """What a step away from the winner is worth: a top that only one point has is luck.

    Attributes
    ----------
    neighbours
        Points evaluated, one step away in one parameter.
    mean, worst
        Of their scores; one without a score counts as 0 where the winner is above 0, else is left out.
    share
        Of the neighbours that keep at least half of the winner's score; NaN where the winner is not above 0 or there
        are no neighbours.
    """

    neighbours: int
    mean: float
    worst: float
    share: float


@dataclass(frozen=True, kw_only=True)
class OptimizationResult:
    """Outcome of :func:`~ai_backtrader.parameter_optimizer.optimize`; unpacks as ``best_params, score``.

    Attributes
    ----------
    parameters
        The winner's.
    score, value
        Its score in the search, and the measure without the trade discount: the best of many, so they flatter.
    objective, regime, symbol, timeframe, strategy
        What was searched for, in what.
    trials
        Every evaluation in order: search, then neighbours.
    train, validation, test
        The winner on the bars of the search, on the validation bars and on the sealed ones; None where there are none
        or the seal was kept.
    evidence
        Of the winner's returns in the search, deflated by every trial that the ledger knows.
    test_evidence
        Of its returns on the sealed bars, for one trial; None with ``test``.
    overfitting
        Over the trials of this search.
    plateau
        Around the winner.
    importance
        Share of the score's variation that each parameter explains, largest first; empty with too few trials.
    importance_r2
        How well the model behind it predicts trials it has not seen (out of bag): below 0.2 it says little.
    opening
        1 where nobody had looked at the sealed bars before; None while sealed.
    borders
        First bars of validation and test, and the number of bars.
    bars_per_year
        Of the data.
    seed, surrogate
        Of the search.
    interrupted
        True when Ctrl-C ended it before its budget; the seal is then kept.
    cached
        True when the answer was known and nothing but the winner was run.
    key
        Hash of everything the answer depends on.
    run
        Settings, data and versions, enough to repeat it.
    """

    parameters: Mapping[str, Any]
    score: float
    value: float
    objective: str
    regime: Regime | None
    symbol: str
    timeframe: str
    strategy: str
    trials: tuple[ScoredTrial, ...]
    train: Part
    validation: Part | None
    test: Part | None
    evidence: SharpeEvidence
    test_evidence: SharpeEvidence | None
    overfitting: Overfitting
    plateau: Plateau
    importance: Mapping[str, float]
    importance_r2: float
    opening: int | None
    borders: Borders
    bars_per_year: float
    seed: int
    surrogate: str
    interrupted: bool = False
    cached: bool = False
    key: str = ""
    run: Mapping[str, Any] = field(default_factory=FrozenMapping)

    def __post_init__(self) -> None:
        for name in ("parameters", "importance", "run"):
            object.__setattr__(self, name, FrozenMapping(getattr(self, name)))

    def __iter__(self) -> Iterator[Any]:
        yield dict(self.parameters)
        yield self.score

    @property
    def n_trials(self) -> int:
        """Evaluations that this search cost, neighbours included."""
        return len(self.trials)

    @property
    def in_sample_score(self) -> float:
        """Score on the bars of the search."""
        return self.score

    @property
    def out_of_sample_score(self) -> float | None:
        """Score on the sealed bars; None while sealed, or undefined there."""
        return None if self.test is None else self.test.score

    @property
    def deflated_sharpe(self) -> float:
        """Probability that the winner's true Sharpe ratio exceeds what the best of all trials shows without an edge."""
        return self.evidence.deflated

    @property
    def pbo(self) -> tuple[float, float]:
        """Probability of backtest overfitting and its standard error: never one without the other."""
        return self.overfitting.probability, self.overfitting.standard_error

    @property
    def convergence(self) -> NDArray[np.float64]:
        """Best score after each trial of the search, shape (trials,); NaN before the first score."""
        scores = [math.nan if t.score is None else t.score for t in self.trials if not t.neighbour]
        return np.fmax.accumulate(np.array(scores, dtype=np.float64))

    @property
    def failures(self) -> Mapping[str, int]:
        """Why trials have no score, and how many each, the commonest first."""
        counts: dict[str, int] = {}
        for trial in self.trials:
            if trial.failed is not None:
                counts[trial.failed] = counts.get(trial.failed, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    @property
    def test_p_value(self) -> float:
        """Probability of so high a Sharpe ratio on the sealed bars without skill, times the openings; NaN if sealed."""
        if self.test_evidence is None or self.opening is None:
            return math.nan
        return min(1.0, (1.0 - self.test_evidence.probabilistic) * self.opening)

    @property
    def passed(self) -> bool:
        """Whether it beat holding on the sealed bars, is no luck there (5 %), and outlives its own search (95 %)."""
        return (
            self.test is not None
            and self.test.beats_holding
            and self.test_p_value <= 0.05
            and self.deflated_sharpe >= 0.95
        )

    @property
    def verdict(self) -> str:
        """The outcome in plain words."""
        return " ".join([_main_finding(self), *_remarks(self)])

    def to_frame(self) -> pd.DataFrame:
        """One row a trial: number, the parameters, score, value, trades, sharpe (per bar), failed, neighbour."""
        import pandas as pd

        names = list(self.parameters)
        rows = [
            {
                "number": t.number, **t.parameters, "score": math.nan if t.score is None else t.score,
                "value": t.value, "trades": t.trades, "sharpe": t.sharpe, "failed": t.failed, "neighbour": t.neighbour,
            }
            for t in self.trials
        ]  # fmt: skip
        return pd.DataFrame(
            rows, columns=["number", *names, "score", "value", "trades", "sharpe", "failed", "neighbour"]
        ).set_index("number")

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; undefined and infinite numbers become None."""
        document = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("train", "validation", "test", "evidence", "test_evidence", "overfitting", "plateau"):
            document[name] = None if document[name] is None else asdict(document[name])
        document |= {
            "schema": SCHEMA,
            "trials": [asdict(trial) for trial in self.trials],
            "borders": self.borders._asdict(),
            "verdict": self.verdict,
            "passed": self.passed,
            "n_trials": self.n_trials,
        }
        values: dict[str, Any] = _json_value(document)
        return values

    def to_json(self) -> str:
        """:meth:`to_dict` as text, the same for the same result."""
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The result of its JSON text; numbers that were infinite come back as NaN.

        Raises
        ------
        SettingsError
            If the text is no such result.
        """
        try:
            document = json.loads(text)
            if not isinstance(document, dict) or document.get("schema") != SCHEMA:
                raise SettingsError("OptimizationResult", [f"the text is no result of schema {SCHEMA}"])
            return cls(**_content(document))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(
                "OptimizationResult", [f"the text is no result: {type(error).__name__}: {error}"]
            ) from error


def _content(document: dict[str, Any]) -> dict[str, Any]:
    def nan(value: Any) -> Any:
        return math.nan if value is None else value

    def part(given: dict[str, Any] | None) -> Part | None:
        if given is None:
            return None
        figures, holding = ({k: nan(v) for k, v in given[name].items()} for name in ("figures", "holding"))
        return Part(bars=given["bars"], score=given["score"], figures=figures, holding=holding)

    def numbers(kind: Any, given: dict[str, Any] | None) -> Any:
        return None if given is None else kind(**{name: nan(value) for name, value in given.items()})

    content = {item.name: document[item.name] for item in fields(OptimizationResult)}
    for name in ("train", "validation", "test"):
        content[name] = part(document[name])
    content |= {
        "regime": Regime.parse(document["regime"]),
        "value": nan(document["value"]),
        "importance_r2": nan(document["importance_r2"]),
        "evidence": numbers(SharpeEvidence, document["evidence"]),
        "test_evidence": numbers(SharpeEvidence, document["test_evidence"]),
        "overfitting": numbers(Overfitting, document["overfitting"]),
        "plateau": numbers(Plateau, document["plateau"]),
        "borders": Borders(**document["borders"]),
        "trials": tuple(
            ScoredTrial(**{**trial, "value": nan(trial["value"]), "sharpe": nan(trial["sharpe"])})
            for trial in document["trials"]
        ),
    }
    return content


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, np.generic):
        return _json_value(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --------------------------------------------------------------------------------------------------------------- words


def _main_finding(result: OptimizationResult) -> str:
    where = "" if result.regime is None else f" in {result.regime} markets"
    cost = f"a search of {result.evidence.n_trials:,.0f} trials"
    if result.test is None:
        reason = "interrupted, so the test stays sealed" if result.interrupted else "no bars were kept for a test"
        return (
            f"Unproven{where} ({reason}): in sample {_against(result.train)}; the probability that it is more than "
            f"the luck of {cost} is {_number(result.deflated_sharpe)}."
        )
    bars = f"on the {result.test.bars:,} sealed bars"
    if not result.test.figures["trades"]:
        return f"Nothing to judge{where}: {bars} no trade was closed."
    if not result.test.beats_holding:
        return f"Nothing here beats holding{where}: {bars} {_against(result.test)}."
    if result.passed:
        return (
            f"Holds up{where}: {bars} {_against(result.test)}; the deflated Sharpe ratio after {cost} is "
            f"{_number(result.deflated_sharpe)}."
        )
    doubts = []
    if not result.test_p_value <= 0.05:
        doubts.append(f"it could be luck there (p = {_number(result.test_p_value)})")
    if not result.deflated_sharpe >= 0.95:
        doubts.append(f"{cost} finds as much in noise (deflated Sharpe ratio {_number(result.deflated_sharpe)})")
    return f"Not proven{where}: {bars} {_against(result.test)}, but {' and '.join(doubts)}."


def _against(part: Part) -> str:
    own, held = part.figures, part.holding
    return (
        f"it returned {_percent(own['total_return'])} (Sharpe ratio {_number(own['sharpe'])}, "
        f"{own['trades']:,.0f} trades) against {_percent(held['total_return'])} ({_number(held['sharpe'])}) of holding"
    )


def _remarks(result: OptimizationResult) -> list[str]:
    remarks = []
    found, error = result.pbo
    if found >= 0.5:
        spread = "" if math.isnan(error) else f" ± {error:.2f}"
        remarks.append(f"The search overfits: its best lands in the lower half with probability {found:.2f}{spread}.")
    if result.plateau.share < 0.5:
        remarks.append(f"The top is narrow: {result.plateau.share:.0%} of the neighbours keep half of the score.")
    if result.opening is not None and result.opening > 1:
        remarks.append(f"The test bars were opened {result.opening} times: they are not sealed any more.")
    return remarks


def _percent(fraction: float) -> str:
    return "–" if math.isnan(fraction) else f"{100.0 * fraction:+.1f} %"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
