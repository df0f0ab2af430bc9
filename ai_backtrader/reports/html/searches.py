"""Sections of searches: an evolution, a search for parameters, a walk-forward."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ai_backtrader.parameter_optimizer import OptimizationResult, WalkForwardResult
from ai_backtrader.reports.figures import MISSING, number, percent
from ai_backtrader.reports.html.cards import card_table
from ai_backtrader.reports.html.parts import (
    Chart,
    Part,
    Section,
    Table,
    Words,
    bars,
    line,
    marks,
    moments,
    numbers,
    safe,
    thinned,
)
from ai_backtrader.strategy_evolver import Champion, EvolutionResult

__all__ = ["evolution_sections", "generation_charts", "optimization_sections", "walk_forward_sections"]


def evolution_sections(result: EvolutionResult) -> list[Section]:
    """Verdict, fitness by generation, the champions with their rules, and the card."""
    cost = [
        ("Evaluations of this search", f"{result.evaluations:,}"),
        ("Trials ever made on these data", MISSING if result.trials is None else f"{result.trials.n_trials:,}"),
        ("Times the sealed test was opened", f"{result.examinations:,}"),
        ("Probability of one false pass allowed", percent(result.alpha, signed=False)),
    ]
    sections = [
        Section(
            title="Result", parts=[Words(text=result.verdict + ".", kind="verdict"), Table(heads=("", ""), rows=cost)]
        ),
        Section(title="Fitness by generation", parts=generation_charts(result.to_dict()["history"])),
    ]
    if result.champions:
        sections.append(Section(title="Champions", parts=_champions(result)))
    return [*sections, _card(result.run)]


def generation_charts(history: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Fitness and diversity by generation.

    Parameters
    ----------
    history
        One a generation: ``number``, ``best``, ``median``, ``validation`` (None where unknown), ``diversity`` (a
        fraction), ``immigrants``.
    """
    count = [generation["number"] for generation in history]
    best, median, unseen = (
        np.array([generation[key] for generation in history], dtype=np.float64)
        for key in ("best", "median", "validation")
    )
    across = {"title": {"text": "Generation"}}
    known = np.concatenate((best, unseen, median[len(median) // 2 :]))
    known = known[np.isfinite(known)]
    low, high = (min(0.0, float(known.min())), float(known.max())) if known.size else (0.0, 1.0)
    room = 0.12 * ((high - low) or 1.0)
    hidden = int(np.count_nonzero(median < low - room))
    shown = {"hovertemplate": "%{y:.3f}"}
    immigrants = [generation["immigrants"] for generation in history]
    return [
        Chart(
            title="Fitness",
            traces=[
                line(count, best, "best, on the bars of the search", "@own", mode="lines+markers", **shown),
                line(count, unseen, "the same best, on validation bars", "@short", mode="lines+markers", dash="dash",
                     **shown),
                line(count, median, "median of the population", "@market", **shown),
            ],
            layout={"hovermode": "x unified", "xaxis": across,
                    "yaxis": {"title": {"text": "Fitness"}, "range": [low - room, high + room]}},
            told=f"Best fitness {number(float(best[-1]))} after {len(count)} generations." if count else "",
            note=f"The median of {hidden} generations lies below the chart." if hidden else "",
            height=360,
        ),
        Chart(
            title="Diversity",
            traces=[
                bars(count, numbers([100.0 * generation["diversity"] for generation in history]), "diversity",
                     ["@short" if arrived else "@own" for arrived in immigrants],
                     text=[f"{arrived} immigrants" for arrived in immigrants], textposition="none",
                     hovertemplate="%{y:.0f} %, %{text}<extra></extra>"),
            ],
            layout={"xaxis": across, "yaxis": {"ticksuffix": " %", "range": [0, 105]}},
            told="Share of the population with a score of its own.",
            note="Share of the population with a score of its own; orange where an island stood still and random "
            "candidates were brought in.",
            height=220,
        ),
    ]  # fmt: skip


def _champions(result: EvolutionResult) -> list[Part]:
    names = [_champion_name(place, champion) for place, champion in enumerate(result.champions, start=1)]
    traces = []
    for word, colour, symbol, figures in (
        ("search", "@own", "circle", [champion.train for champion in result.champions]),
        ("validation", "@short", "square", [champion.validation for champion in result.champions]),
        ("sealed test", "@long", "diamond", [champion.test for champion in result.champions]),
    ):
        values = [math.nan if found is None else found.sharpe for found in figures]
        traces.append(_dots(values, names, word, colour, symbol))
    floors = [math.nan if champion.exam is None else champion.exam.noise_floor for champion in result.champions]
    traces.append(_dots(floors, names, "noise floor: 95 % of random strategies", "@loss", "line-ns-open"))
    rows = [
        (
            name, number(champion.train.sharpe), number(champion.validation.sharpe),
            MISSING if champion.test is None else number(champion.test.sharpe),
            MISSING if champion.exam is None else f"{champion.exam.p_value:.3f}",
            MISSING if champion.test is None else percent(champion.test.total_return),
            MISSING if champion.test is None else percent(champion.test.max_drawdown, signed=False),
            MISSING if champion.test is None else f"{champion.test.trades:,}",
            MISSING if champion.deflated_sharpe is None else number(champion.deflated_sharpe),
        )
        for name, champion in zip(names, result.champions, strict=True)
    ]  # fmt: skip
    heads = ("", "Search", "Validation", "Test", "p", "Return", "Drawdown", "Trades", "Deflated")
    rules = Table(
        heads=("Champion", "Rules and proof"),
        rows=[(name, _rules(champion)) for name, champion in zip(names, result.champions, strict=True)],
        numeric=False,
    )
    return [
        Chart(
            title="Annual Sharpe ratio on seen and sealed bars", traces=traces, height=140 + 48 * len(names),
            layout={"yaxis": {"range": [len(names) - 0.4, -0.6]}, "xaxis": {"title": {"text": "Sharpe ratio, annual"}}},
            told=f"{len(result.passed)} of {len(names)} passed.",
        ),
        Table(heads=heads, rows=rows, caption="Sharpe ratios; p, return, drawdown and trades are of the sealed test"),
        rules,
    ]  # fmt: skip


def _dots(values: list[float], names: list[str], word: str, colour: str, symbol: str) -> dict[str, Any]:
    return marks(numbers(values), [0.0], word, colour, symbol, size=12, hovertemplate="%{x:.2f}") | {
        "y": [safe(name) for name in names]
    }


def _champion_name(place: int, champion: Champion) -> str:
    word = "passed" if champion.passed else "sealed" if champion.exam is None else "failed"
    return f"{place}. {champion.chromosome.fingerprint[:6]} {word}"


def _rules(champion: Champion) -> str:
    lines = [champion.chromosome.describe()]
    if champion.exam is not None:
        lines.append(f"Test: {champion.exam.reason}")
    proof = champion.proof
    if proof is not None:
        lines.append(
            f"Cerebro: {proof.fills:,} fills, cash and equity equal to the last bit"
            if proof.equal
            else f"Cerebro: first difference: {proof.difference}"
        )
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------------- parameters


def optimization_sections(result: OptimizationResult) -> list[Section]:
    """Verdict, convergence, trials, importance, the winner on seen and sealed bars, cost, and the card."""
    pbo, error = result.pbo
    annual = math.sqrt(result.bars_per_year)
    cost = [
        ("Trials of this search, neighbours included", f"{result.n_trials:,}"),
        ("Trials ever made on these data", f"{result.evidence.n_trials:,.0f}"),
        ("Best of so many without an edge, annual Sharpe", number(result.evidence.expected_maximum * annual)),
        ("Deflated Sharpe ratio", number(result.deflated_sharpe)),
        ("Probability of overfitting", f"{number(pbo)} ± {number(error)}"),
        ("Mean score of the winner's neighbours", number(result.plateau.mean)),
        ("Neighbours that keep half of the score", percent(result.plateau.share, signed=False)),
        ("Times the sealed test was opened", MISSING if result.opening is None else f"{result.opening:,}"),
    ]
    parts = [
        (word, part)
        for word, part in (("search", result.train), ("validation", result.validation), ("sealed test", result.test))
        if part is not None
    ]
    rows = [
        (
            word, f"{part.bars:,}", MISSING if part.score is None else number(part.score),
            number(part.figures["sharpe"]), percent(part.figures["total_return"]),
            percent(part.figures["max_drawdown"], signed=False), f"{part.figures['trades']:,.0f}",
            number(part.holding["sharpe"]), percent(part.holding["total_return"]),
        )
        for word, part in parts
    ]  # fmt: skip
    heads = ("", "Bars", "Score", "Sharpe", "Return", "Drawdown", "Trades", "Holding: Sharpe", "Return")
    names = list(result.importance) or list(result.parameters)
    best = [
        (name, _value(result.parameters[name]), percent(result.importance.get(name, math.nan), signed=False))
        for name in names
    ]
    return [
        Section(title="Result", parts=[Words(text=result.verdict, kind="verdict"), Table(heads=heads, rows=rows)]),
        Section(title="Search", parts=[_convergence(result)]),
        Section(
            title="Parameters",
            parts=[*_importance(result), Table(heads=("Best parameters", "Value", "Importance"), rows=best)],
        ),
        Section(title="What the search cost", parts=[Table(heads=("", ""), rows=cost), _trials(result)]),
        _card(result.run),
    ]


def _convergence(result: OptimizationResult) -> Chart:
    trials = [trial for trial in result.trials if not trial.neighbour]
    scores = np.array([math.nan if trial.score is None else trial.score for trial in trials])
    count = [trial.number for trial in trials]
    texts = [safe(f"trial {trial.number}: {_said(trial)}").replace("\n", "<br>") for trial in trials]
    traces = [
        marks(count, scores, "trials", "@market", "circle", size=6, text=texts,
              hovertemplate="%{text}<extra></extra>"),
        line(count, result.convergence, "best so far, on the bars of the search", "@own", shape="hv", width=2,
             hoverinfo="skip"),
    ]  # fmt: skip
    if result.out_of_sample_score is not None and count:
        ends = [count[0], count[-1]]
        traces.append(
            line(ends, [result.out_of_sample_score] * 2, "the winner on the sealed bars", "@long", dash="dash")
        )
    known = scores[np.isfinite(scores)]
    layout: dict[str, Any] = {"xaxis": {"title": {"text": "Trial"}}, "yaxis": {"title": {"text": result.objective}}}
    note = ""
    if known.size:
        low, high = float(np.quantile(known, 0.05)), float(known.max())
        if result.out_of_sample_score is not None:
            low, high = min(low, result.out_of_sample_score), max(high, result.out_of_sample_score)
        room = 0.12 * ((high - low) or 1.0)
        layout["yaxis"] |= {"range": [low - room, high + room]}
        below = int(np.count_nonzero(known < low - room))
        note = f"{below} trials lie below the chart. " if below else ""
    failed = int(np.count_nonzero(np.isnan(scores)))
    note += f"{failed} trials have no score." if failed else ""
    return Chart(
        title="Score of each trial", traces=traces, layout=layout, note=note, height=360,
        told=f"{len(trials)} trials, the best scored {number(result.score)}.",
    )  # fmt: skip


def _said(trial: Any) -> str:
    words = ", ".join(f"{name} {_value(value)}" for name, value in trial.parameters.items())
    outcome = trial.failed if trial.score is None else f"score {trial.score:.3f}, {trial.trades:,} trades"
    return f"{outcome}\n{words}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _importance(result: OptimizationResult) -> list[Part]:
    if not result.importance:
        return [Words(text="Too few trials have a score to tell which parameter matters.")]
    names = list(result.importance)[::-1]
    quality = "" if math.isnan(result.importance_r2) else f" (the model behind it: R² {result.importance_r2:.2f})"
    return [
        Chart(
            title="Importance of each parameter",
            traces=[
                bars(numbers([100.0 * result.importance[name] for name in names]), [safe(name) for name in names],
                     "importance", "@own", orientation="h", hovertemplate="%{y}: %{x:.0f} %<extra></extra>"),
            ],
            layout={"xaxis": {"ticksuffix": " %"}},
            told=", ".join(f"{name} {result.importance[name]:.0%}" for name in names[::-1]),
            note=f"Share of the score's variation that each explains{quality}.",
            height=110 + 26 * len(names),
        )
    ]  # fmt: skip


def _trials(result: OptimizationResult) -> Table:
    ranked = sorted(result.trials, key=lambda trial: -math.inf if trial.score is None else trial.score, reverse=True)
    rows = [
        (f"{trial.number}{' (neighbour)' if trial.neighbour else ''}", *_said(trial).split("\n", 1))
        for trial in ranked[:50]
    ]
    return Table(
        heads=("Trial", "Outcome", "Parameters"), rows=rows, numeric=False, folded=True,
        caption=f"The best {len(rows)} of {len(ranked):,} trials",
    )  # fmt: skip


def walk_forward_sections(result: WalkForwardResult) -> list[Section]:
    """Verdict, equity of the tests end to end, scores in search and test, and the folds."""
    shown = thinned(result.equity)
    count = [fold.number for fold in result.folds]
    across = {"title": {"text": "Fold"}, "dtick": 1}
    scores = [
        line(
            count, [math.nan if score is None else score for score in scores], word, colour, mode="lines+markers",
        )
        for word, colour, scores in (
            ("search", "@own", [fold.train_score for fold in result.folds]),
            ("test", "@long", [fold.test_score for fold in result.folds]),
        )
    ]  # fmt: skip
    rows = [
        (
            str(fold.number), *(MISSING if s is None else number(s) for s in (fold.train_score, fold.test_score)),
            f"{fold.trades:,}", number(fold.drift),
            ", ".join(f"{name} {_value(value)}" for name, value in fold.parameters.items()),
        )
        for fold in result.folds
    ]  # fmt: skip
    return [
        Section(
            title="Result",
            parts=[
                Words(text=result.verdict, kind="verdict"),
                Chart(
                    title="Growth of 1, tests end to end", height=340,
                    traces=[line(moments(result.times[shown]), result.equity[shown], "account", "@own")],
                    layout={"xaxis": {"type": "date"}}, told=result.verdict,
                ),
            ],
        ),
        Section(
            title="Folds",
            parts=[
                Chart(title="Score in search and test", traces=scores, layout={"xaxis": across}, told="Per fold."),
                Table(heads=("Fold", "Search", "Test", "Trades", "Drift", "Parameters"), rows=rows, numeric=False),
            ],
        ),
        _card(result.run),
    ]  # fmt: skip


def _card(run: Mapping[str, Any]) -> Section:
    return Section(title="Run card", parts=[card_table(run)])
