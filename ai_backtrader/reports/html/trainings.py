"""Sections of an agent's training: how each seed learnt, and the test beside its baselines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.reports.figures import MISSING, money, number, percent
from ai_backtrader.reports.html.cards import card_table
from ai_backtrader.reports.html.funds import COLOURS, DASHES
from ai_backtrader.reports.html.parts import (
    Chart,
    Part,
    Section,
    Table,
    Words,
    line,
    marks,
    numbers,
    safe,
    scale,
    thinned,
)
from ai_backtrader.rl import PolicyFigures, SeedOutcome, TrainingResult

__all__ = ["learning_charts", "training_sections"]

_BASELINES = ("@price", "@short", "@long", "@margin")


def training_sections(result: TrainingResult) -> list[Section]:
    """Verdict, the test beside the baselines, learning of each seed, and the card."""
    test: list[Part] = [Words(text=result.verdict, kind="verdict")]
    if result.baselines:
        test += [_spread(result), _equities(result), _policies(result)]
    looks = [
        {
            "seed": seed.seed, "chosen": seed is result.best, "steps": [look.steps for look in seed.looks],
            "validation_growth": [look.validation_growth for look in seed.looks],
            "loss": [look.loss for look in seed.looks],
        }
        for seed in result.seeds
    ]  # fmt: skip
    sections = [Section(title="Test", parts=test)]
    if looks:
        sections.append(Section(title="Learning", parts=[*learning_charts(looks), _validation(result)]))
    return [*sections, Section(title="Run card", parts=[card_table(_card(result))])]


def learning_charts(looks: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return on the validation bars and loss as each seed learns.

    Parameters
    ----------
    looks
        One a seed: ``seed``, ``chosen``, and one value a look ``steps``, ``validation_growth`` (ln; None or NaN where
        nothing was left), ``loss``.
    """
    across = {"title": {"text": "Environment steps"}}
    returns, losses = [], []
    for place, seed in enumerate(looks):
        name = f"seed {seed['seed']}{' (chosen)' if seed['chosen'] else ''}"
        style = {
            "dash": DASHES[place // len(COLOURS) % 4], "mode": "lines+markers", "width": 2.6 if seed["chosen"] else 1.2,
        }  # fmt: skip
        colour = COLOURS[place % len(COLOURS)]
        growth = np.array(seed["validation_growth"], dtype=np.float64)
        returns.append(
            line(seed["steps"], 100.0 * np.expm1(growth), name, colour, hovertemplate="%{y:+.2f} %", **style)
        )
        loss = np.array(seed["loss"], dtype=np.float64)
        losses.append(line(seed["steps"], loss, name, colour, hovertemplate="%{y:.4f}", **style))
    return [
        Chart(
            title="Return on the validation bars as it learns", traces=returns, height=320,
            layout={"hovermode": "x unified", "xaxis": across,
                    "yaxis": {"title": {"text": "Return, %"}, "ticksuffix": " %"}},
            told=f"{len(looks)} seeds.", note="The greedy policy as trained, before any reluctance.",
        ),
        Chart(
            title="Loss", traces=losses, height=260, told=f"{len(looks)} seeds.",
            layout={"hovermode": "x unified", "xaxis": across,
                    "yaxis": {"title": {"text": "Huber loss"}, "rangemode": "tozero"}},
        ),
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------- test


def _spread(result: TrainingResult) -> Chart:
    growths = result.test_growths
    finite = growths[np.isfinite(growths)]
    seeds = [100.0 * math.expm1(growth) for growth in growths]
    names = [f"seed {seed.seed}" for seed in result.seeds]
    traces = [
        marks(numbers(seeds), [0.0], "each seed", "@own", "circle-open", size=9, text=names,
              hovertemplate="%{text}: %{x:+.2f} %<extra></extra>") | {"y": ["the agent"] * len(seeds)},
    ]  # fmt: skip
    if finite.size > 1:
        mean, error = float(finite.mean()), 2.0 * float(finite.std(ddof=1)) / math.sqrt(finite.size)
        low, middle, high = (100.0 * math.expm1(mean + shift) for shift in (-error, 0.0, error))
        ends = {
            "type": "data", "symmetric": False, "array": [high - middle], "arrayminus": [middle - low],
            "color": "@own", "thickness": 2,
        }  # fmt: skip
        traces.append(
            marks([middle], [0.0], "mean of the seeds ± 2 standard errors", "@own", "diamond", size=13,
                  hovertemplate=f"{low:+.2f} % to {high:+.2f} %<extra></extra>")
            | {"y": ["the agent"], "error_x": ends}
        )  # fmt: skip
    baselines = {name.replace("_", " "): figures for name, figures in result.baselines.items()}
    traces.append(
        marks(numbers([100.0 * figures.total_return for figures in baselines.values()]), [0.0], "baselines", "@market",
              "square", size=11, hovertemplate="%{y}: %{x:+.2f} %<extra></extra>")
        | {"y": [safe(name) for name in baselines]}
    )  # fmt: skip
    return Chart(
        title="Return on the test bars", traces=traces, height=150 + 36 * (1 + len(baselines)),
        layout={"xaxis": {"title": {"text": "Return, %"}, "ticksuffix": " %"},
                "yaxis": {"range": [len(baselines) + 0.6, -0.6]}},
        told=", ".join(f"{name} {percent(figures.total_return)}" for name, figures in baselines.items()),
        note="A baseline is beaten where it lies left of the whole bar of the mean.",
    )  # fmt: skip


def _equities(result: TrainingResult) -> Chart:
    curves: list[tuple[str, NDArray[np.float64], str, str, float]] = []
    others = 0
    for seed in result.seeds:  # all of one colour: they are one agent
        chosen = seed is result.best
        others += not chosen
        dash = "solid" if chosen else DASHES[1 + others % 3]
        curves.append(
            (f"seed {seed.seed}{_chosen(seed, result)}", seed.test_equity, "@own", dash, 2.4 if chosen else 1.0)
        )
    for place, (name, equity) in enumerate(result.baseline_equity.items()):
        curves.append((name.replace("_", " "), equity, _BASELINES[place % len(_BASELINES)], "solid", 1.4))
    traces = []
    for name, equity, colour, dash, width in curves:
        shown = thinned(equity)
        traces.append(
            line(numbers(shown), equity[shown], name, colour, hovertemplate="%{y:,.2f}", dash=dash, width=width)
        )
    return Chart(
        title="Account on the test bars", traces=traces, height=360, told=f"{len(curves)} accounts.",
        layout={
            "hovermode": "x unified", "yaxis": {"title": {"text": "Equity"}} | scale(*(curve[1] for curve in curves)),
            "xaxis": {"title": {"text": f"Test bar, {result.times[0][:10]} to {result.times[1][:10]}"}},
        },
    )  # fmt: skip


def _chosen(seed: SeedOutcome, result: TrainingResult) -> str:
    return " (chosen)" if seed is result.best else ""


_RISKS = ("Sharpe", "Drawdown", "Trades", "Liquidated", "Above 0.7", "Funding", "Fees")


def _risks(figures: PolicyFigures) -> tuple[str, ...]:
    return (
        number(figures.sharpe_ratio), percent(figures.max_drawdown, signed=False), f"{figures.trades:,}",
        f"{figures.liquidations:,}", percent(figures.strained, signed=False), money(figures.funding),
        money(figures.fees),
    )  # fmt: skip


def _policies(result: TrainingResult) -> Table:
    rows = [
        (
            f"seed {seed.seed}{_chosen(seed, result)}", percent(seed.test.total_return),
            MISSING if seed.unlevered is None else percent(seed.unlevered.total_return),
            percent(math.expm1(seed.shuffled_growth)), *_risks(seed.test), "",
        )
        for seed in result.seeds
        if seed.test is not None
    ]  # fmt: skip
    rows += [
        (
            name.replace("_", " "), percent(figures.total_return), "", "", *_risks(figures),
            "yes" if result.beats(name) else "no",
        )
        for name, figures in result.baselines.items()
    ]  # fmt: skip
    return Table(
        heads=("Test bars", "Return", "At 1x", "Shuffled", *_RISKS, "Beaten"), rows=rows,
        caption="At 1x: every action at leverage 1. Shuffled: the same actions at other times. Above 0.7: share of the "
        "bars with a margin ratio above 0.7.",
    )  # fmt: skip


def _validation(result: TrainingResult) -> Table:
    rows = [
        (
            f"seed {seed.seed}{_chosen(seed, result)}", f"{seed.best_steps:,}",
            f"{seed.reluctance:.4g}", f"{seed.score:+.4f}", percent(seed.validation.total_return),
            number(seed.validation.sharpe_ratio), percent(seed.validation.max_drawdown, signed=False),
            f"{seed.validation.trades:,}", f"{seed.validation.liquidations:,}",
        )
        for seed in result.seeds
    ]  # fmt: skip
    heads = ("Validation bars", "Best after", "Reluctance", "Score", "Return", *_RISKS[:4])
    return Table(heads=heads, rows=rows, caption="What each seed was chosen by; the highest score is the chosen one.")


def _card(result: TrainingResult) -> dict[str, Any]:
    return {
        "agent": result.agent,
        "symbol": result.symbol,
        "data_fingerprint": result.data_fingerprint,
        "feature_version": result.feature_version,
        "steps_per_seed": f"{result.steps:,}",
        "seeds": ", ".join(str(seed.seed) for seed in result.seeds),
        "segments": {name: f"bars {part.start:,} to {part.stop:,}" for name, part in result.segments.items()},
        "test": " to ".join(result.times),
        "times_the_test_was_opened": MISSING if result.opening is None else f"{result.opening:,}",
        "environment": dataclasses.asdict(result.environment),
        "dqn": dataclasses.asdict(result.dqn),
    }
