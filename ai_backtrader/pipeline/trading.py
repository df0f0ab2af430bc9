"""The stages that trade: rehearse on the design's last bars, allocate, walk the bars that nothing has seen."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.engine import Engine, EngineSettings, FoundStrategy
from ai_backtrader.events import Journal
from ai_backtrader.evidence import TrialCount, TrialKey, TrialLedger, sharpe_evidence
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.leverage import LeverageSettings
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.meta_allocator import MetaAllocator
from ai_backtrader.orchestrator import OrchestratorSettings
from ai_backtrader.orchestrator.attribution import Attribution, RecordedVotes, attribute, learn_weights
from ai_backtrader.pipeline.fund import AI, Crew, FundRun, run_fund
from ai_backtrader.pipeline.parts import FEWEST_DESIGN_BARS, Parts, account_returns, curve_figures, plain
from ai_backtrader.pipeline.settings import PipelineSettings
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategies import AdaptationComparison, compared_runs
from ai_backtrader.strategies.adaptation import Adaptation
from ai_backtrader.values import Regime

__all__ = ["adaptation_of", "allocate", "crew_of", "engine_of", "rehearse", "walk"]


def crew_of(optimised: Mapping[str, Any], evolved: Mapping[str, Any], settings: PipelineSettings) -> Crew:
    """Who trades beside AIStrategy and buy and hold, of what the searches found."""
    technical = {
        None if search["regime"] == "all" else Regime(search["regime"]): StrategyChromosome.from_json(search["rules"])
        for search in optimised["searches"]
        if search["rules"] is not None and "technical" not in settings.without
    }
    found = {
        f"evolved_{champion['fingerprint'][:10]}": StrategyChromosome.from_json(champion["rules"])
        for champion in _admitted(evolved, settings)
    }
    return Crew(technical=technical, evolved=found)


def _admitted(evolved: Mapping[str, Any], settings: PipelineSettings) -> list[Mapping[str, Any]]:
    champions = [] if "evolved" in settings.without else evolved["champions"]
    passed = [champion for champion in champions if champion["passed"]]
    return passed or (champions[:1] if settings.admit == "best" else [])


def engine_of(
    evolved: Mapping[str, Any],
    agent: Mapping[str, Any],
    weights: NDArray[Any] | None,
    settings: PipelineSettings,
    *,
    seed: int,
    kept: LearningDatabase,
    source_weights: Mapping[str, float] | None = None,
) -> Engine:
    """A fresh engine with the strategies that may vote recalled, and the agent loaded, if it may."""
    usual = OrchestratorSettings()
    weights_used = usual.weights if source_weights is None else source_weights
    orchestrator = dataclasses.replace(
        usual, weights={name: weight for name, weight in weights_used.items() if name not in settings.without}
    )
    engine = Engine(
        EngineSettings(
            seed=seed,
            leverage=LeverageSettings(max_leverage=settings.max_leverage, risk_budget=settings.risk_budget),
            orchestrator=orchestrator,
        ),
        journal=kept,
    )
    engine.database = kept  # searches on the way are counted, too
    engine.evolved.note_search(len(evolved["champions"]))
    engine.evolved.add(
        FoundStrategy(
            chromosome=StrategyChromosome.from_json(champion["rules"]), confidence=float(champion["confidence"])
        )
        for champion in _admitted(evolved, settings)
    )
    if "leverage" in settings.without:
        engine.orchestrator.sizer = None
    if weights is not None and "rl" not in settings.without and (agent["passed"] or settings.admit == "best"):
        engine.leverage_agent.take_weights(weights)
    return engine


def rehearse(
    design: MarketData,
    parts: Parts,
    crew: Crew,
    engine: Engine,
    settings: PipelineSettings,
    *,
    on_bar: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Everybody trades the bars that no search has seen, with equal capital; the sources' weights are learnt.

    Returns
    -------
    dict
        ``members``: figures, daily returns and trades by name; ``weights``: what was learnt and whether it is used.
    """
    run = run_fund(design, parts.rehearsal - 1, crew, engine, settings, on_bar=on_bar)
    members: dict[str, dict[str, Any]] = {
        name: {
            "figures": curve_figures(values, design.bars_per_year),
            "daily": _daily(run.times, values),
            "trades": len(run.trades[name]),
            "wins": sum(trade.pnl > 0.0 for trade in run.trades[name]),
        }
        for name, values in run.members.items()
    }
    learnt: dict[str, Any] = {"used": False, "weights": None, "reason": "not asked for"}
    if settings.learn_weights:
        votes = _votes(run, design, engine, settings)
        learnt = learn_weights(votes, rng=np.random.default_rng(settings.seed_of("weights"))).to_dict()
    years = len(run.times) / design.bars_per_year
    days = max(len(member["daily"]) for member in members.values()) / years
    found = {"members": members, "days_per_year": days, "weights": learnt, "hashes": hashes_of(run)}
    return plain(found)  # type: ignore[no-any-return]  # plain keeps a dictionary a dictionary


def allocate(
    rehearsal: Mapping[str, Any], symbol: str, settings: PipelineSettings, *, journal: Journal
) -> dict[str, Any]:
    """Capital by what each member has shown in the rehearsal.

    Returns
    -------
    dict
        ``plan`` and ``state``, the allocator's, None where it is switched off; ``weights``.
    """
    if "allocator" in settings.without:
        members = rehearsal["members"]
        return {"plan": None, "weights": dict.fromkeys(members, 1.0 / len(members)), "state": None}
    allocator = MetaAllocator(journal=journal)
    for name, member in rehearsal["members"].items():
        daily, figures = member["daily"], member["figures"]
        told = {"max_drawdown": min(1.0, figures["max_drawdown"] or 0.0)}
        if figures["sharpe_ratio"] is not None and len(daily) >= 2:
            told |= {
                "sharpe_ratio": figures["sharpe_ratio"], "n_obs": float(len(daily)),
                "periods_per_year": rehearsal["days_per_year"], "volatility": figures["annual_volatility"],
            }  # fmt: skip
        if member["trades"]:
            told |= {"n_trades": float(member["trades"]), "win_rate": member["wins"] / member["trades"]}
        allocator.register_strategy(name, told, returns=daily, symbol=symbol)
    plan = allocator.calculate_allocation(total_capital=settings.cash)
    return plain({"plan": plan.to_dict(), "weights": plan.weights, "state": allocator.state_dict()})  # type: ignore[no-any-return]  # as above


def walk(
    data: MarketData,
    parts: Parts,
    crew: Crew,
    engine: Engine,
    allocation: Mapping[str, Any],
    settings: PipelineSettings,
    *,
    ledger: TrialLedger,
    journal: Journal,
    design: MarketData,
    run_id: str,
    engine_again: Callable[[LearningDatabase], Engine],
    on_bar: Callable[[int], None] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Walk the bars that nothing has seen, once, with all systems adapting.

    Where an adaptation changed what votes, the same walk is made again without any, to say whether it paid. Nothing of
    that is kept, counted or learnt.

    Returns
    -------
    document, arrays
        Figures, evidence, attribution, hashes; values at each close.
    """

    def walked(systems: Engine, kept: Journal, adaptation: Adaptation | None) -> FundRun:
        allocator = None
        if "allocator" not in settings.without:
            allocator = MetaAllocator(journal=kept)
            allocator.load_state(allocation["state"])
        return run_fund(
            data, parts.walk - 1, crew, systems, settings, weights=allocation["weights"], allocator=allocator,
            adaptation=adaptation, on_bar=on_bar,
        )  # fmt: skip

    run = walked(engine, journal, adaptation_of(settings))
    unadapted = run
    if any(one.changed for one in run.adaptations):
        with LearningDatabase(":memory:") as forgotten:
            unadapted = walked(engine_again(forgotten), forgotten, None)
    compared = _compared(run, unadapted, settings.cash)
    close = data.close[parts.walk - 1 :]
    curves = {"fund": run.fund, **run.members}
    sharpes = {name: _per_bar_sharpe(values) for name, values in curves.items()}
    opening = ledger.open_sealed(TrialKey(data.fingerprint, "run"), start=run.times[0], end=run.times[-1], by=run_id)
    ledger.add_trials(TrialKey(data.fingerprint, "run"), [sharpes["fund"], sharpes[AI]], run_id=run_id)
    counts = [ledger.trials(TrialKey(design.fingerprint, family)) for family in ("technical", "evolved", "agent")]
    count = TrialCount.total([*counts, ledger.trials(TrialKey(data.fingerprint, "run"))])
    searched = sum(one.trials for one in run.adaptations)  # on the way: on other data, by the ledger's key
    votes = _votes(run, data, engine, settings)
    shares: Attribution = attribute(votes)
    document = {
        "first": str(run.times[0].astype("datetime64[s]")),
        "last": str(run.times[-1].astype("datetime64[s]")),
        "bars": len(run.times) - 1,
        "holding": curve_figures(close, data.bars_per_year),
        "members": {
            name: {
                **curve_figures(values, data.bars_per_year),
                **_dealings(run, tuple(run.members) if name == "fund" else (name,)),
            }
            for name, values in curves.items()
        },
        "evidence": {name: _evidence(curves[name], count, searched, opening.number) for name in ("fund", AI)},
        "opening": opening.number,
        "trials": count.n_trials + searched,
        "adaptations": [
            {
                "bar": one.bar - parts.walk,
                "reason": one.reason,
                "search": one.search,
                "put_forward": one.put_forward,
                "passed": one.passed,
                "trials": one.trials,
                "verdict": one.verdict,
                "changed": list(one.changed),
            }
            for one in run.adaptations
        ],
        "adaptation": {
            **compared.to_dict(),
            "fund": {"return": _growth(run.fund), "without": _growth(unadapted.fund)},
            AI: {"return": _growth(run.members[AI]), "without": _growth(unadapted.members[AI])},
        }
        if run.adaptations
        else None,
        "attribution": shares.to_dict(),
        "weights": {name: values[0] for name, values in run.weights.items()},
        "last_weights": {name: values[-1] for name, values in run.weights.items()},
        "plans": len(run.plans),
        "hashes": hashes_of(run),
    }
    arrays = {"times": run.times, "close": close, "fund": run.fund}
    arrays |= {f"member_{name}": values for name, values in run.members.items()}
    arrays |= {f"weight_{name}": values for name, values in run.weights.items()}
    if unadapted is not run:
        arrays |= {"without_fund": unadapted.fund, f"without_{AI}": unadapted.members[AI]}
    return plain(document), arrays


def _compared(run: FundRun, unadapted: FundRun, cash: float) -> AdaptationComparison:
    """AIStrategy's account in both runs, as if it had been given the cash: shares are free of what was moved."""
    adapted, without = (cash * one.members[AI] / one.members[AI][0] for one in (run, unadapted))
    return compared_runs(run.adaptations, run.times, adapted, without, run.trades[AI], unadapted.trades[AI])


def _growth(values: NDArray[np.float64]) -> float:
    return float(values[-1] / values[0] - 1.0)


def _dealings(run: FundRun, members: tuple[str, ...]) -> dict[str, float]:
    """What members did together, and what it cost in the account's currency."""
    return {
        "trades": sum(len(run.trades[name]) for name in members),
        "liquidations": sum(trade.liquidated for name in members for trade in run.trades[name]),
        "fees": sum(run.fees[name] for name in members),
        "funding": sum(run.funding[name] for name in members),
    }


def adaptation_of(settings: PipelineSettings) -> Adaptation | None:
    """Searches on the way cost less than those of the design: there may be many. None where nothing would come of them.

    What they find votes as the evolved source.
    """
    if not settings.adapt or "evolved" in settings.without:
        return None
    work = settings.work
    return Adaptation(
        min_bars=FEWEST_DESIGN_BARS, generations=min(8, work.generations), population=min(40, work.population),
        n_trials=min(50, work.trials), champions=min(2, work.champions),
    )  # fmt: skip


def hashes_of(run: FundRun) -> dict[str, str]:
    """Digests of a run's decisions, trades, weights and values, exact to the last bit."""
    decisions = (
        [str(one.at), one.action.value, one.score, one.position_size_pct, one.leverage, one.stop_loss, one.take_profit,
         one.vetoed_by, sorted(one.breakdown.items()), [_answer(vote) for vote in one.votes]]
        for one in run.decisions
    )  # fmt: skip
    trades = (
        [name, str(trade.opened_at), str(trade.closed_at), trade.direction.value, trade.entry_price, trade.exit_price,
         trade.size, trade.leverage, trade.pnl, trade.commission, trade.funding]
        for name, closed in run.trades.items()
        for trade in closed
    )  # fmt: skip
    weights = hashlib.sha256()
    values = hashlib.sha256(run.fund.tobytes())
    for name in run.members:
        weights.update(name.encode() + run.weights[name].tobytes())
        values.update(name.encode() + run.members[name].tobytes())
    return {
        "decisions": _digest(decisions), "trades": _digest(trades), "weights": weights.hexdigest(),
        "values": values.hexdigest(),
    }  # fmt: skip


def _answer(vote: Any) -> list[Any]:
    return [vote.source, getattr(vote, "action", ""), getattr(vote, "confidence", ""), vote.reason]


def _digest(rows: Iterable[list[Any]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        # repr of a float is exact: the shortest text that reads back as it.
        digest.update(repr(row).encode() + b"\n")
    return digest.hexdigest()


def _votes(run: FundRun, data: MarketData, engine: Engine, settings: PipelineSettings) -> RecordedVotes:
    orchestrator = engine.orchestrator.settings
    first = len(data) - len(run.times)
    part = slice(first, len(data))
    return RecordedVotes(
        decisions=run.decisions,
        open=data.open[part], high=data.high[part], low=data.low[part], close=data.close[part],
        atr=compute_features(data).atr[part], cost=settings.commission + settings.slippage, settings=orchestrator,
        allow_short=settings.allow_short,
    )  # fmt: skip


def _daily(times: Any, values: Any) -> list[float]:
    """Return of each day, from the value at each day's last close."""
    days = times.astype("datetime64[D]")
    last = np.append(np.flatnonzero(days[1:] != days[:-1]), len(days) - 1)
    closes = np.concatenate((values[:1], values[last]))
    returns = account_returns(np.maximum(closes, 0.0))
    return [float(value) for value in returns[np.isfinite(returns)]]


def _per_bar_sharpe(values: Any) -> float:
    returns = account_returns(values)
    returns = returns[~np.isnan(returns)]
    if len(returns) < 2 or not np.ptp(returns) > 0.0:
        return float("nan")
    return float(np.mean(returns) / np.std(returns, ddof=1))


def _evidence(values: Any, count: TrialCount, searched: int, opening: int) -> dict[str, Any]:
    found = sharpe_evidence(
        account_returns(values), n_trials=max(1, count.n_trials + searched),
        trials_sharpe_std=count.sharpe_std if count.n_measured > 1 else None,
    )  # fmt: skip
    return {
        "p_value": min(1.0, (1.0 - found.probabilistic) * opening), "deflated": found.deflated,
        "expected_maximum": found.expected_maximum, "sharpe": found.sharpe, "trials": count.n_trials + searched,
    }  # fmt: skip
