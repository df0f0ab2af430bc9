"""What a training says: how it stands, what came of each seed, what stood beside it, and a verdict in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.evidence import bar_returns, sharpe_ratio
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.rl.environment_settings import EnvironmentSettings, Segment
from ai_backtrader.rl.greedy_play import Play
from ai_backtrader.rl.settings import DQNSettings

__all__ = ["Look", "PolicyFigures", "SeedOutcome", "TrainingProgress", "TrainingResult", "figures_of"]

_FEW_SEEDS = 5  # fewer seeds say little about the spread


@dataclass(frozen=True, kw_only=True)
class PolicyFigures:
    """What one policy came to on one segment.

    Attributes
    ----------
    growth
        ln of the last equity over the first; -inf for an account of nothing.
    total_return, max_drawdown
        Fractions.
    sharpe_ratio
        Annualised by the feed's bars per year; NaN without variance.
    turnover
        Notional traded, in multiples of the starting cash.
    exposure, strained
        Shares of the bars in a position, and at a margin ratio above 0.7.
    funding, fees
        Paid, in account currency; negative funding was received.
    trades, liquidations, rejected
        Closed trades, those the broker closed, orders refused.
    """

    growth: float
    total_return: float
    sharpe_ratio: float
    max_drawdown: float
    turnover: float
    exposure: float
    strained: float
    funding: float
    fees: float
    trades: int
    liquidations: int
    rejected: int


def figures_of(play: Play, *, bars_per_year: float) -> PolicyFigures:
    """Figures of one episode."""
    first, last, steps, found = float(play.equity[0]), float(play.equity[-1]), len(play.actions), play.figures
    return PolicyFigures(
        growth=math.log(last / first) if last > 0.0 else -math.inf,
        total_return=last / first - 1.0,
        sharpe_ratio=float(sharpe_ratio(bar_returns(play.equity), bars_per_year=bars_per_year)),
        max_drawdown=float(found["max_drawdown"]),
        turnover=float(found["turnover"]) / first,
        exposure=found["bars_held"] / steps,
        strained=found["bars_strained"] / steps,
        funding=float(found["funding"]),
        fees=float(found["fees"]),
        trades=int(found["trades"]),
        liquidations=int(found["liquidations"]),
        rejected=int(found["rejected"]),
    )


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """How a training stands.

    Attributes
    ----------
    seed, place, n_seeds
        The seed in training, its place from 0, and how many there are.
    steps, total_steps
        Environment steps of this seed so far, and in the end.
    steps_per_second
        Since the report before, validation not counted.
    loss, epsilon
        Mean Huber loss since then (NaN without updates), share of random actions now.
    validation_equity, best_equity
        Of the greedy policy at the end of the validation bars, now and at best; account currency.
    """

    seed: int
    place: int
    n_seeds: int
    steps: int
    total_steps: int
    steps_per_second: float
    loss: float
    epsilon: float
    validation_equity: float
    best_equity: float


class Look(NamedTuple):
    """One look at the validation bars during a seed's training."""

    steps: int
    loss: float
    epsilon: float
    validation_growth: float


@dataclass(frozen=True, kw_only=True)
class SeedOutcome:
    """What came of one seed.

    Attributes
    ----------
    seed
        Of weights, exploration, sampling and episode starts.
    looks
        Every look at the validation bars, in order.
    best_steps, reluctance
        Steps after which, and what added to the value of HOLD with which, the score on the validation bars was highest.
    weights
        Of the network then, shape (n_parameters,); the reluctance is in the bias of its HOLD.
    score
        Growth on the validation bars less the ``caution`` of standard errors.
    validation
        Figures on the validation bars.
    test
        On the test bars; None while they are sealed.
    unlevered
        The same network on the test bars with every action at leverage 1; None while sealed.
    shuffled_growth, shuffled_spread
        Mean and standard deviation of the growth of the agent's own actions, shifted around the test bars by random
        distances: the same turnover and holding times without the timing. NaN while sealed.
    luck
        Share of those that did as well as the agent or better, itself counted as one.
    test_equity
        At every close of the test bars; empty while sealed.
    """

    seed: int
    looks: tuple[Look, ...]
    best_steps: int
    reluctance: float
    score: float
    weights: NDArray[Any]
    validation: PolicyFigures
    test: PolicyFigures | None = None
    unlevered: PolicyFigures | None = None
    shuffled_growth: float = math.nan
    shuffled_spread: float = math.nan
    luck: float = math.nan
    test_equity: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A training by the protocol: several seeds, chosen on validation, one look at the test, baselines beside it.

    Attributes
    ----------
    agent, symbol, data_fingerprint, feature_version
        Whose (``"leverage"`` or ``"basic"``), on what, by which feature list.
    environment, dqn
        Settings of the training.
    segments
        ``"train"``, ``"validation"``, ``"test"``: bars of the data.
    times
        First and last bar of the test, ISO 8601, UTC.
    steps
        Environment steps of each seed.
    seeds
        In the order of training; interrupted trainings have fewer.
    baselines
        On the test bars, by name; empty while they are sealed.
    baseline_equity
        Their equity at every close.
    opening
        1 when the ledger knows of nobody who had looked at the test bars before; None while they are sealed.
    interrupted
        The training was stopped before its end; the test then stays sealed.
    bar_seconds
        Length of the bars.
    """

    agent: str
    symbol: str
    data_fingerprint: str
    feature_version: str
    environment: EnvironmentSettings
    dqn: DQNSettings
    segments: Mapping[str, Segment]
    times: tuple[str, str]
    steps: int
    seeds: tuple[SeedOutcome, ...]
    baselines: Mapping[str, PolicyFigures]
    baseline_equity: Mapping[str, NDArray[np.float64]]
    opening: int | None
    interrupted: bool
    bar_seconds: float

    @property
    def best(self) -> SeedOutcome:
        """The seed with the highest score on the validation bars.

        Raises
        ------
        AIBacktraderError
            If the training was stopped before the first look at the validation bars.
        """
        if not self.seeds:
            raise AIBacktraderError("the training was stopped before its first look at the validation bars; go on")
        return max(self.seeds, key=lambda outcome: outcome.score)

    @property
    def test_growths(self) -> NDArray[np.float64]:
        """Growth on the test bars, one a seed; empty while they are sealed."""
        return np.array([outcome.test.growth for outcome in self.seeds if outcome.test is not None])

    def beats(self, baseline: str) -> bool:
        """Whether the seeds' mean growth is above a baseline's by more than two standard errors of that mean.

        Raises
        ------
        AIBacktraderError
            If there is no such baseline, or the test is sealed.
        """
        if baseline not in self.baselines:
            known = ", ".join(self.baselines) or "none: the test bars are sealed"
            raise AIBacktraderError(f"no baseline {baseline!r}; there are {known}")
        growths = self.test_growths
        if growths.size < 2 or not np.isfinite(growths).all():
            return False
        error = float(growths.std(ddof=1)) / math.sqrt(growths.size)
        return float(growths.mean()) - self.baselines[baseline].growth > 2.0 * error

    @property
    def verdict(self) -> str:
        """What the test says, in plain words."""
        if not self.baselines:
            return "Nothing to judge: the training was stopped, and the test bars stay sealed."
        growths = self.test_growths
        words = [
            f"{growths.size} seeds grew by {_percent(growths.mean())} ± {_percent(_spread(growths))} (ln) on the "
            f"test bars."
        ]
        if growths.size < _FEW_SEEDS:
            words.append(f"Fewer than {_FEW_SEEDS} seeds: the spread says little.")
        if self.opening is not None and self.opening > 1:
            words.append(f"The test bars were opened {self.opening} times: they are not sealed any more.")
        won = [name for name in self.baselines if self.beats(name)]
        lost = [name for name in self.baselines if name not in won]
        if won:
            words.append(f"Beats {', '.join(map(_words, won))}.")
        if lost:
            words.append(f"Does not beat {', '.join(map(_words, lost))}.")
        chosen = self.best
        if chosen.validation.turnover == 0.0:
            words.append(
                "The chosen policy stays out of the market: none stood above nothing on the validation bars by the "
                "caution asked for (caution=0 takes the best of them all the same)."
            )
            return " ".join(words)
        luck = chosen.luck
        words.append(
            f"Of the chosen seed's own actions at shuffled times, {luck:.0%} did as well"
            + (": its timing is not told from luck." if luck > 0.05 else ".")
        )
        return " ".join(words)

    def make_agent(self) -> RLAgent | LeverageRLAgent:
        """The agent with the weights of the best seed, to act or to train on."""
        kind = LeverageRLAgent if self.agent == "leverage" else RLAgent
        made = kind(settings=self.dqn)
        made.take_weights(self.best.weights)
        made.bar_seconds = self.bar_seconds
        return made

    def to_dict(self) -> dict[str, Any]:
        """Everything but weights and curves as JSON values; what is not finite is None."""
        summary = {
            "agent": self.agent,
            "symbol": self.symbol,
            "data_fingerprint": self.data_fingerprint,
            "bar_seconds": self.bar_seconds,
            "feature_version": self.feature_version,
            "steps_per_seed": self.steps,
            "segments": {name: [part.start, part.stop] for name, part in self.segments.items()},
            "test_from": self.times[0],
            "test_to": self.times[1],
            "environment": dataclasses.asdict(self.environment),
            "dqn": dataclasses.asdict(self.dqn),
            "seeds": [_outcome(outcome) for outcome in self.seeds],
            "chosen_seed": self.best.seed if self.seeds else None,
            "baselines": {name: dataclasses.asdict(figures) for name, figures in self.baselines.items()},
            "beats": {name: self.beats(name) for name in self.baselines},
            "test_opening": self.opening,
            "interrupted": self.interrupted,
            "verdict": self.verdict,
        }
        plain: dict[str, Any] = _plain(summary)
        return plain


def _outcome(outcome: SeedOutcome) -> dict[str, Any]:
    return {
        "seed": outcome.seed,
        "best_steps": outcome.best_steps,
        "reluctance": outcome.reluctance,
        "score": outcome.score,
        "looks": [look._asdict() for look in outcome.looks],
        "validation": dataclasses.asdict(outcome.validation),
        "test": None if outcome.test is None else dataclasses.asdict(outcome.test),
        "unlevered": None if outcome.unlevered is None else dataclasses.asdict(outcome.unlevered),
        "shuffled_growth": outcome.shuffled_growth,
        "shuffled_spread": outcome.shuffled_spread,
        "luck": outcome.luck,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _spread(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def _percent(value: float) -> str:
    return f"{100.0 * value:+.1f} %" if math.isfinite(value) else "–"


def _words(name: str) -> str:
    return name.replace("_", " ")
