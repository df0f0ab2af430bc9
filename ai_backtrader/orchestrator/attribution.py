"""What each source contributed, from recorded votes: leave one out, and Shapley's fair share; and learnt weights.

The votes of a run are combined again without some of the sources, by the same rules as in the run. What a decision is
worth is what its position earns: entered at the next open with a notional of 1, kept until a decision for the other
side, its stop or its target, net of costs. Sizes are left out on purpose, so that values add up over trades and the
sources' votes are judged, not the sizing. A source that abstained in the record abstains in every combination: what it
would have said to another view is not known.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.evidence import sharpe_evidence
from ai_backtrader.orchestrator.combine import adjusted_vote, breakdown, is_veto, limited_pull, pull_of, score_of
from ai_backtrader.orchestrator.poll import wish_of
from ai_backtrader.orchestrator.settings import OrchestratorSettings
from ai_backtrader.orchestrator.values import SOURCES, Adjustment, Advice, Decision, Vote
from ai_backtrader.values import Action, FrozenMapping

__all__ = ["Attribution", "LearntWeights", "RecordedVotes", "attribute", "learn_weights", "recombine", "vote_values"]

Floats = NDArray[np.float64]

_UNFITTED: Mapping[str, Any] = {"gain_fitted": 0.0, "gain_judged": 0.0, "p_value": math.nan, "tried": 0}
_FEWEST_BARS = 20  # in each half; below, nothing can be judged


@dataclass(frozen=True, kw_only=True)
class RecordedVotes:
    """Decisions of a run with the bars that they were made on.

    Attributes
    ----------
    decisions
        One a bar, in order.
    open, high, low, close, atr
        Shape (bars,); ATR in price units, for stop and target.
    cost
        Per fill, as a fraction of the notional (commission and slippage).
    settings
        Of the orchestrator that decided.
    allow_short
        False: a SELL only closes.

    Raises
    ------
    SettingsError
        If the arrays and decisions differ in length, or the cost is not within 0 and 1.
    """

    decisions: Sequence[Decision]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    atr: Floats
    cost: float = 0.0
    settings: OrchestratorSettings = field(default_factory=OrchestratorSettings)
    allow_short: bool = True

    def __post_init__(self) -> None:
        faults = Faults("RecordedVotes")
        for name in ("open", "high", "low", "close", "atr"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            if values.shape != (len(self.decisions),):
                faults.add(
                    f"{name} must hold one value for each of {len(self.decisions)} decisions, got {values.shape}"
                )
        faults.number("cost", self.cost, low=0.0, high=1.0)
        faults.raise_if_any()

    def __len__(self) -> int:
        return len(self.decisions)

    @property
    def voters(self) -> tuple[str, ...]:
        """Sources that voted at least once, in the order of ``SOURCES``."""
        told = {vote.source for decision in self.decisions for vote in decision.votes if isinstance(vote, Vote)}
        return tuple(source for source in SOURCES if source in told)

    def part(self, first: int, last: int) -> RecordedVotes:
        """Decisions ``first`` to before ``last`` with their bars."""
        cut = slice(first, last)
        arrays = {name: getattr(self, name)[cut] for name in ("open", "high", "low", "close", "atr")}
        return replace(self, decisions=self.decisions[cut], **arrays)


def recombine(
    decision: Decision,
    sources: Collection[str],
    settings: OrchestratorSettings,
    *,
    recorded: OrchestratorSettings | None = None,
) -> tuple[float, Action, dict[str, float]]:
    """A decision again from the recorded votes of some sources.

    Parameters
    ----------
    decision
        As recorded.
    sources
        Whose votes count.
    settings
        Weights and threshold; those of the run, or others.
    recorded
        Those of the run; None: they are ``settings``.

    Returns
    -------
    score, action, contributions
        What the market's votes come to, before sizing. With all sources and the run's settings these are the
        decision's own score and breakdown, within rounding.
    """
    votes = {vote.source: vote for vote in decision.votes if isinstance(vote, Vote)}
    weights = settings.weights
    told: dict[str, float] = {name: pull_of(votes[name]) for name in ("technical", "rl", "evolved") if name in votes}
    pulls = {name: pull for name, pull in told.items() if name in sources and weights.get(name)}
    vetoed = False
    if "online" in votes and "online" in sources and weights.get("online"):
        heard = votes["online"]
        score = score_of(breakdown(pulls, weights)) if pulls else 0.0
        if heard.action is Action.HOLD:
            judged = Adjustment(should_trade=False, factor=0.0, reason=heard.reason)
            vetoed = wish_of(score, settings.hold_threshold) is not Action.HOLD
        else:
            view = abs(score_of(breakdown(told, (settings if recorded is None else recorded).weights)))
            factor = heard.confidence / view if view else 1.0
            judged = Adjustment(should_trade=True, factor=factor, reason=heard.reason)
        answer = adjusted_vote(judged, score)
        if isinstance(answer, Vote):
            pulls["online"] = pull_of(answer)
    if "llm" in votes and "llm" in sources and weights.get("llm"):
        heard = votes["llm"]
        score = score_of(breakdown(pulls, weights)) if pulls else 0.0
        wish = wish_of(score, settings.hold_threshold)
        advice = Advice(
            action=heard.action, confidence=heard.confidence, reason=heard.reason,
            risk_level="high" if decision.vetoed_by == "llm" else "medium",
        )  # fmt: skip
        pulls["llm"] = pull_of(heard)
        if not settings.advice_may_raise_risk:
            others = sum([weights[name] for name in pulls if name != "llm"])
            pulls["llm"] = limited_pull(advice, score, weights["llm"], others)
        vetoed = vetoed or is_veto(advice, wish, settings.veto_confidence)
    contributions = breakdown(pulls, weights) if pulls else {}
    score = score_of(contributions)
    return score, Action.HOLD if vetoed else wish_of(score, settings.hold_threshold), contributions


def vote_values(votes: RecordedVotes, wishes: NDArray[np.int8]) -> Floats:
    """What wishes earn bar by bar, shape (bars,), as fractions of a notional of 1 a trade, net of costs.

    Parameters
    ----------
    votes
        The bars.
    wishes
        +1 long, -1 short, 0 nothing new, by bar, shape (bars,).
    """
    out = np.zeros(len(votes))
    settings = votes.settings
    _earn(
        wishes, votes.open, votes.high, votes.low, votes.close, votes.atr, settings.stop_atr, settings.target_atr,
        votes.cost, votes.allow_short, out,
    )  # fmt: skip
    return out


@njit(cache=True)
def _earn(
    wishes: NDArray[np.int8],
    open_: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    atr: Floats,
    stop_atr: float,
    target_atr: float,
    cost: float,
    allow_short: bool,
    out: Floats,
) -> None:
    side, units, stop, target = 0, 0.0, 0.0, 0.0
    for bar in range(1, len(out)):
        last, wish = close[bar - 1], wishes[bar - 1]
        if wish and wish != side:
            price = open_[bar]
            if side:
                out[bar] += side * units * (price - last) - cost * units * price
                side = 0
            if wish > 0 or allow_short:
                side, units, last = wish, 1.0 / price, price
                out[bar] -= cost
                stop = close[bar - 1] - wish * stop_atr * atr[bar - 1]
                target = close[bar - 1] + wish * target_atr * atr[bar - 1]
        if not side:
            continue
        left = 0.0
        # Both within one bar: the stop, which is the worse.
        if side > 0:
            if low[bar] <= stop:
                left = min(stop, open_[bar])
            elif high[bar] >= target:
                left = max(target, open_[bar])
        elif high[bar] >= stop:
            left = max(stop, open_[bar])
        elif low[bar] <= target and target > 0.0:
            left = min(target, open_[bar])
        price = left if left > 0.0 else close[bar]
        out[bar] += side * units * (price - last)
        if left > 0.0:
            out[bar] -= cost * units * price
            side = 0


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What the votes earned and whose it is.

    Attributes
    ----------
    total
        What all sources together earned, as a fraction of a notional of 1 a trade.
    shapley
        By source; they sum to ``total``.
    leave_one_out
        By source: ``total`` less what the others earn without it. Sources that do each other's work both get little
        here, so these need not sum to anything.
    alone
        By source: what it earns by itself.
    votes
        By source: bars on which it voted.
    bars
        Recorded.
    """

    total: float
    shapley: Mapping[str, float]
    leave_one_out: Mapping[str, float]
    alone: Mapping[str, float]
    votes: Mapping[str, int]
    bars: int

    def __post_init__(self) -> None:
        for name in ("shapley", "leave_one_out", "alone", "votes"):
            object.__setattr__(self, name, FrozenMapping(getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "total": self.total, "shapley": dict(self.shapley), "leave_one_out": dict(self.leave_one_out),
            "alone": dict(self.alone), "votes": dict(self.votes), "bars": self.bars,
        }  # fmt: skip


def attribute(votes: RecordedVotes) -> Attribution:
    """Share the value of a run's votes among its sources, exactly: all combinations of those that voted.

    Shapley (1953): a source's share is its marginal contribution, averaged over all orders in which the sources can
    join. The shares of all sources sum to the value of all together; a source that changes nothing gets 0.
    """
    players = votes.voters
    values = _coalition_values(votes, players)
    count, everyone = len(players), (1 << len(players)) - 1
    shapley = {}
    for place, source in enumerate(players):
        bit, share = 1 << place, 0.0
        for others in range(1 << count):
            if not others & bit:
                size = others.bit_count()
                weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                share += weight * (values[others | bit] - values[others])
        shapley[source] = share
    named = {source: 1 << place for place, source in enumerate(players)}
    spoken = {
        source: sum(
            any(isinstance(vote, Vote) and vote.source == source for vote in decision.votes)
            for decision in votes.decisions
        )
        for source in players
    }
    return Attribution(
        total=values[everyone],
        shapley=shapley,
        leave_one_out={source: values[everyone] - values[everyone & ~bit] for source, bit in named.items()},
        alone={source: values[bit] for source, bit in named.items()},
        votes=spoken,
        bars=len(votes),
    )


def _coalition_values(votes: RecordedVotes, players: Sequence[str]) -> list[float]:
    """Value of each set of players: bit ``place`` of the position stands for the player there."""
    wishes = np.zeros((1 << len(players), len(votes)), np.int8)
    everyone = np.arange(1 << len(players))
    for bar, decision in enumerate(votes.decisions):
        here = 0
        for vote in decision.votes:
            if isinstance(vote, Vote):
                here |= 1 << players.index(vote.source)
        # Who abstained changes nothing: only sets of those who voted on this bar differ.
        part = here
        while part:
            chosen = [source for place, source in enumerate(players) if part >> place & 1]
            _, action, _ = recombine(decision, chosen, votes.settings)
            if action is not Action.HOLD:
                wishes[(everyone & here) == part, bar] = action.sign
            part = (part - 1) & here
    return [math.fsum(vote_values(votes, row)) for row in wishes]


@dataclass(frozen=True, kw_only=True)
class LearntWeights:
    """Weights fitted on the first half of recorded votes, judged once on the second.

    Attributes
    ----------
    used
        Whether they beat the default weights on bars they were not fitted on, by more than chance explains.
    weights
        By source; the defaults where they are not used.
    fitted
        What the first half asked for.
    gain_fitted, gain_judged
        What the fitted weights earned above the defaults in either half, as fractions of a notional of 1 a trade.
    p_value
        Probability of so high a gain in the second half without merit; NaN where the two never differed.
    tried
        Weights compared in the first half.
    reason
        One sentence.
    """

    used: bool
    weights: Mapping[str, float]
    fitted: Mapping[str, float]
    gain_fitted: float
    gain_judged: float
    p_value: float
    tried: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN stays."""
        return {
            "used": self.used, "weights": dict(self.weights), "fitted": dict(self.fitted),
            "gain_fitted": self.gain_fitted, "gain_judged": self.gain_judged, "p_value": self.p_value,
            "tried": self.tried, "reason": self.reason,
        }  # fmt: skip


def learn_weights(
    votes: RecordedVotes, *, rng: np.random.Generator, tries: int = 50, alpha: float = 0.05
) -> LearntWeights:
    """Fit the sources' weights, and say whether they may be used.

    Candidates are drawn evenly from all weights of the sources that voted (the others keep theirs); the one that earns
    most on the first half of the bars is judged once on the second half. It is used only if it earns more there than
    the default weights, and if chance explains the difference with a probability of at most ``alpha``.

    Parameters
    ----------
    votes
        Recorded; its settings hold the default weights.
    rng
        Draws the candidates.
    tries
        Candidates.
    alpha
        Highest p-value of the judged difference.

    Raises
    ------
    SettingsError
        If an argument is out of range.
    """
    faults = Faults("learn_weights")
    faults.whole("tries", tries, low=1)
    faults.number("alpha", alpha, above=0.0, high=0.5)
    faults.raise_if_any()
    settings, players = votes.settings, votes.voters
    defaults = dict(settings.weights)
    half = len(votes) // 2

    def kept(reason: str, **told: Any) -> LearntWeights:
        found = {**_UNFITTED, "fitted": defaults, **told}
        return LearntWeights(used=False, weights=defaults, reason=reason, **found)

    if len(players) < 2:
        silent = f"only {players[0]} voted" if players else "no source voted"
        return kept(f"the default weights stand: {silent}, there is nothing to weigh")
    if half < _FEWEST_BARS:
        return kept(f"the default weights stand: {len(votes)} bars are too few to fit and judge")
    first, second = votes.part(0, half), votes.part(half, len(votes))
    whole = sum(defaults[source] for source in players)
    base = _earned(first, defaults)
    best, gain = defaults, 0.0
    for shares in rng.dirichlet(np.ones(len(players)), size=tries):
        drawn = defaults | {source: float(whole * share) for source, share in zip(players, shares, strict=True)}
        earned = math.fsum(_earned(first, drawn) - base)
        if earned > gain:
            best, gain = drawn, earned
    if best is defaults:
        return kept(f"the default weights stand: none of {tries} others earned more on the first half", tried=tries)
    difference = _earned(second, best) - _earned(second, defaults)
    judged = math.fsum(difference)
    p_value = 1.0 - sharpe_evidence(difference).probabilistic
    told: dict[str, Any] = {
        "fitted": best,
        "gain_fitted": gain,
        "gain_judged": judged,
        "p_value": p_value,
        "tried": tries,
    }
    words = f"fitted on {half} bars, judged once on the next {len(second)}: {100.0 * judged:+.2f} % of the notional"
    if judged > 0.0 and p_value <= alpha:
        return LearntWeights(used=True, weights=best, reason=f"learnt weights are used: {words}", **told)
    chance = "" if math.isnan(p_value) else f" (p = {p_value:.2f})"
    return kept(f"the default weights stand: {words} against them{chance}", **told)


def _earned(votes: RecordedVotes, weights: Mapping[str, float]) -> Floats:
    settings = replace(votes.settings, weights=weights)
    actions = [recombine(one, SOURCES, settings, recorded=votes.settings)[1] for one in votes.decisions]
    return vote_values(votes, np.array([action.sign for action in actions], dtype=np.int8))
