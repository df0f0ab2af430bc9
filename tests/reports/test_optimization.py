"""Searches in tables and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.parameter_optimizer import (
    TECHNICAL_SPACE,
    OptimizationResult,
    WalkForwardResult,
    optimize,
    technical_rules,
    walk_forward,
)
from ai_backtrader.reports.optimization import (
    optimization_text,
    plot_optimization,
    plot_walk_forward,
    save_optimization_plot,
)


@pytest.fixture(scope="module")
def result() -> OptimizationResult:
    return optimize(
        technical_rules, load_sample().head(2_400), n_trials=25, surrogate="random", validation=0.2, commission=0.00005
    )


@pytest.fixture(scope="module")
def walked() -> WalkForwardResult:
    return walk_forward(
        technical_rules, load_sample().head(2_400), TECHNICAL_SPACE, train_bars=1_200, test_bars=400, n_trials=8,
        surrogate="random", commission=0.00005,
    )  # fmt: skip


def test_the_table_shows_parts_parameters_costs_and_the_verdict(result: OptimizationResult) -> None:
    text = optimization_text(result, width=110)
    for word in ("search", "validation", "sealed test", *result.parameters, "deflated Sharpe ratio", "±"):
        assert word in text, word
    assert result.verdict.split(":")[0] in text.replace("\n", " ")
    assert f"{result.score:.2f}" in text
    assert all(len(line) <= 110 for line in text.splitlines())


def test_the_picture_shows_every_trial_and_neighbour(result: OptimizationResult) -> None:
    figure = plot_optimization(result)
    axes = {axes.get_xlabel().split(" ")[0]: axes for axes in figure.findobj(lambda o: hasattr(o, "get_xlabel"))}
    assert set(axes) == {"Trial", "Importance", "Score", "Sharpe"}
    best = next(line for line in axes["Trial"].lines if str(line.get_label()).startswith("best so far"))
    np.testing.assert_array_equal(best.get_ydata(), result.convergence)
    drawn = sum(len(points.get_offsets()) for points in axes["Score"].collections)
    assert drawn == sum(trial.neighbour and trial.score is not None for trial in result.trials)


def test_the_same_search_draws_the_same_bytes(
    result: OptimizationResult, walked: WalkForwardResult, tmp_path: Path
) -> None:
    for place, drawn in enumerate((result, walked)):
        one, two = tmp_path / f"{place}a.png", tmp_path / f"{place}b.png"
        save_optimization_plot(drawn, one)
        save_optimization_plot(drawn, two)
        assert one.read_bytes() == two.read_bytes()
        assert one.stat().st_size > 20_000


def test_a_walk_is_drawn_with_its_scores_and_drift(walked: WalkForwardResult) -> None:
    equity, scores, drift = plot_walk_forward(walked).axes
    np.testing.assert_array_equal(equity.lines[0].get_ydata(), walked.equity)
    tested = next(line for line in scores.lines if line.get_label() == "test")
    assert len(tested.get_ydata()) == len(walked.folds) == len(drift.patches)
