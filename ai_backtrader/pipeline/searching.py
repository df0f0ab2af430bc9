"""The stages that search on the design: parameters by regime, strategies, the leverage agent."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Journal
from ai_backtrader.evidence import TrialLedger
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.parameter_optimizer import TechnicalFamily, optimize
from ai_backtrader.pipeline.parts import Parts, plain
from ai_backtrader.pipeline.result import SWITCHED_OFF
from ai_backtrader.pipeline.settings import PipelineSettings
from ai_backtrader.rl import EnvironmentSettings, Segment, train_agent
from ai_backtrader.strategy_evolver import Split, evolve
from ai_backtrader.values import Regime

__all__ = ["evolve_strategies", "optimise_by_regime", "train_agent_on"]


def optimise_by_regime(
    design: MarketData, settings: PipelineSettings, *, ledger: TrialLedger, journal: Journal, store: Any, jobs: int
) -> dict[str, Any]:
    """Parameters of the technical strategy, for all bars and for each regime that has evidence enough.

    Returns
    -------
    dict
        ``searches``: one document each, with ``regime`` (None for all bars), ``rules`` (JSON text), ``passed``,
        ``verdict``, …, or ``reason`` where there was nothing to search.
    """
    if "technical" in settings.without:
        return {"searches": []}
    family = TechnicalFamily(short=settings.allow_short)
    searches: list[dict[str, Any]] = []
    wanted: tuple[Regime | None, ...] = (None, *settings.work.regimes)
    for regime in wanted:
        name = "all" if regime is None else str(regime)
        try:
            found = optimize(
                family, design, n_trials=settings.work.trials, surrogate=settings.work.surrogate, regime=regime,
                seed=settings.seed_of(f"optimise/{name}"), test=settings.rehearsal_share, ledger=ledger,
                journal=journal, store=store, jobs=jobs, **settings.simulation(),
            )  # fmt: skip
        except SettingsError as error:
            if regime is None:
                raise
            # Too few bars of the regime: nothing is wrong with the settings.
            searches.append({"regime": name, "rules": None, "passed": False, "reason": "; ".join(error.faults)})
            continue
        if found.interrupted:
            raise KeyboardInterrupt
        searches.append(
            {
                "regime": name, "rules": family(found.parameters).to_json(), "parameters": dict(found.parameters),
                "score": found.score, "passed": found.passed, "deflated_sharpe": found.deflated_sharpe,
                "pbo": found.pbo[0], "test_sharpe": None if found.test is None else found.test.figures["sharpe"],
                "trials": found.n_trials, "verdict": found.verdict, "reason": "",
            }
        )  # fmt: skip
    return {"searches": plain(searches)}


def evolve_strategies(
    design: MarketData,
    settings: PipelineSettings,
    *,
    ledger: TrialLedger,
    journal: Journal,
    jobs: int,
    checkpoint: Path | None,
) -> dict[str, Any]:
    """Strategies found on the design; those that passed the sealed test vote.

    Returns
    -------
    dict
        ``champions`` with ``rules`` (JSON text), ``passed``, ``confidence`` (one less the p-value of the sealed test),
        …; ``evaluations``, ``verdict``; ``history``, one entry a generation: ``number``, ``best``, ``median``,
        ``diversity``, ``immigrants``, and ``validation``, the fitness of its best on bars the search has not seen.
    """
    if "evolved" in settings.without:
        return {"champions": [], "evaluations": 0, "verdict": SWITCHED_OFF}
    test = settings.rehearsal_share
    result = evolve(
        design, n_generations=settings.work.generations, population=settings.work.population,
        champions=settings.work.champions, seed=settings.seed_of("evolve"), jobs=jobs, ledger=ledger, journal=journal,
        split=Split(train=round((1.0 - test) * 2.0 / 3.0, 6), validation=round((1.0 - test) / 3.0, 6)),
        checkpoint=checkpoint, resume=checkpoint is not None and checkpoint.exists(), **settings.simulation(),
    )  # fmt: skip
    champions = [
        {
            "rules": champion.chromosome.to_json(), "fingerprint": champion.chromosome.fingerprint,
            "words": champion.chromosome.describe(), "passed": champion.passed,
            "confidence": 0.5 if champion.exam is None else max(0.0, min(0.95, 1.0 - champion.exam.p_value)),
            "p_value": None if champion.exam is None else champion.exam.p_value,
            "reason": "no gain in validation" if champion.exam is None else champion.exam.reason,
            "validation_sharpe": champion.validation.sharpe, "deflated_sharpe": champion.deflated_sharpe,
            "test_sharpe": None if champion.test is None else champion.test.sharpe,
        }
        for champion in result.champions
    ]  # fmt: skip
    history = [
        {
            "number": one.number, "best": one.best, "median": one.median, "diversity": one.diversity,
            "immigrants": one.immigrants, "validation": unseen,
        }
        for one, unseen in zip(result.history, result.validation_history, strict=True)
    ]  # fmt: skip
    return {
        "champions": plain(champions), "evaluations": result.evaluations, "verdict": result.verdict,
        "history": plain(history),
    }  # fmt: skip


def train_agent_on(
    design: MarketData, settings: PipelineSettings, parts: Parts, *, ledger: TrialLedger, checkpoint: Path
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Train the leverage agent with several seeds by the protocol of :func:`~ai_backtrader.rl.train_agent`.

    It passes when the seed chosen in validation grew on the sealed bars, by more than buy and hold, and its own actions
    at shuffled times seldom did as well (5 %, divided by the times that the bars were opened).

    Returns
    -------
    document, arrays
        ``seeds``, ``passed``, ``kept``, ``reason``; ``looks``, one entry a seed: ``seed``, ``chosen`` and, one value a
        look at the validation bars, ``steps``, ``validation_growth``, ``loss``; ``weights`` of the chosen seed's
        network.
    """
    work, off = settings.work, "rl" in settings.without
    if off or not work.agent_steps:
        reason = SWITCHED_OFF if off else "the profile trains no agent"
        return {"seeds": 0, "passed": False, "kept": False, "reason": reason}, None
    ready = compute_features(design.head(2)).ready_from
    result = train_agent(
        design,
        agent="leverage",
        seeds=[settings.seed_of(f"train/{number}") for number in range(work.agent_seeds)],
        steps=work.agent_steps,
        split={
            "train": Segment(ready, parts.validation),
            "validation": Segment(parts.validation, parts.rehearsal),
            "test": Segment(parts.rehearsal, parts.walk),
        },
        environment=EnvironmentSettings(**settings.simulation(), episode_bars=min(720, parts.validation // 2)),
        checkpoint=checkpoint,
        resume=checkpoint.exists(),
        ledger=ledger,
    )
    if result.interrupted or result.best.test is None:
        raise KeyboardInterrupt
    best, test, opening = result.best, result.best.test, result.opening or 1
    above = test.growth > max(0.0, result.baselines["buy_and_hold_1x"].growth)
    document = {
        "seeds": len(result.seeds), "steps": result.steps, "kept": True, "reason": result.verdict,
        "passed": above and best.luck * opening <= 0.05, "test": asdict(test), "luck": best.luck, "opening": opening,
        "baselines": {name: figures.total_return for name, figures in result.baselines.items()},
        "looks": [
            {
                "seed": outcome.seed, "chosen": outcome is best, "steps": [look.steps for look in outcome.looks],
                "validation_growth": [look.validation_growth for look in outcome.looks],
                "loss": [look.loss for look in outcome.looks],
            }
            for outcome in result.seeds
        ],
    }  # fmt: skip
    return plain(document), {"weights": best.weights}
