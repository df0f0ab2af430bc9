"""Searches as tables and pictures: what a reader must be able to see is there."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.reports.evolution import evolution_text, plot_evolution, save_evolution_plot
from ai_backtrader.strategy_evolver import EvolutionResult, Exam, Figures, Proof, evolve


@pytest.fixture(scope="module")
def result() -> EvolutionResult:
    """A search of which, for the sake of the table, the first passed, the second failed, the third stayed sealed."""
    found = evolve(load_sample().head(2_000), n_generations=4, population=16, seed=2, champions=3, commission=0.0)
    first, second, third = found.champions
    figures = Figures(
        bars=500, sharpe=2.5, total_return=0.123, max_drawdown=0.045, exposure=0.5, win_rate=0.6, trades=1_234
    )
    exam = Exam(
        p_return=0.0004, p_timing=0.0001, p_noise=0.0002, noise_floor=1.25, level=0.01, passed=True, reason="p is small"
    )
    differs = Proof(fills=5, difference="fill 3 (bar 9): price")
    failed = dataclasses.replace(exam, p_noise=0.4, passed=False, reason="could be luck")
    champions = (
        dataclasses.replace(first, test=figures, exam=exam, proof=Proof(fills=77, difference=None)),
        dataclasses.replace(second, test=figures, exam=failed, proof=differs),
        dataclasses.replace(third, test=None, exam=None),
    )
    return dataclasses.replace(found, champions=champions)


def test_the_table_tells_passed_from_failed_and_sealed(result: EvolutionResult) -> None:
    text = evolution_text(result, width=80)
    rows = [line.split() for line in text.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"])][:3]
    assert [row[-1] for row in rows] == ["yes", "no", "sealed"]
    assert rows[0][3:9] == ["2.50", "1.25", "<0.001", "+12.3%", "4.5%", "1,234"]
    assert rows[1][5] == "0.400"
    assert rows[2][3:9] == ["–"] * 6
    assert "1 of 3 passed the sealed test after" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_table_holds_the_rules_and_their_proofs(result: EvolutionResult) -> None:
    text = evolution_text(result, width=200)
    for champion in result.champions:
        assert champion.chromosome.fingerprint[:10] in text
        for line in champion.chromosome.describe().splitlines():
            assert line in text
    assert "Cerebro: 77 fills, cash and equity equal to the last bit" in text
    assert "Cerebro: first difference: fill 3 (bar 9): price" in text


def test_zero_passed_is_said_as_plainly(result: EvolutionResult) -> None:
    none = dataclasses.replace(result, champions=result.champions[1:])
    assert "0 of 2 passed the sealed test after" in evolution_text(none)
    empty = dataclasses.replace(result, champions=())
    assert "0 of 0 passed the sealed test: none of" in evolution_text(empty)
    again = dataclasses.replace(result, examinations=2)
    assert "The test was opened 2 times" in evolution_text(again)


def test_the_picture_shows_seen_and_unseen_bars(result: EvolutionResult) -> None:
    fitness, diversity, champions = plot_evolution(result).axes
    lines = {line.get_label(): line.get_ydata() for line in fitness.get_lines()}
    assert list(lines["best, on the bars of the search"]) == [generation.best for generation in result.history]
    assert len(lines["the same best, on validation bars"]) == 4
    assert len(diversity.patches) == 4
    assert [text.get_text().split()[-1] for text in champions.get_yticklabels()] == ["passed", "failed", "sealed"]
    words = {text.get_text() for text in champions.get_legend().get_texts()}
    assert {"search", "validation", "sealed test"} < words


def test_searches_without_champions_or_scores_can_be_drawn(result: EvolutionResult) -> None:
    failed = [dataclasses.replace(g, best=-math.inf, median=-math.inf, immigrants=3) for g in result.history]
    empty = dataclasses.replace(result, champions=(), history=tuple(failed), validation_history=(math.nan,) * 4)
    assert len(plot_evolution(empty).axes) == 2


def test_the_same_search_writes_the_same_file(result: EvolutionResult, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        save_evolution_plot(result, tmp_path / name, dpi=60)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes() != b""


def test_the_document_is_json_without_nan(result: EvolutionResult) -> None:
    worst = dataclasses.replace(result.history[0], best=-math.inf)
    document = dataclasses.replace(result, history=(worst, *result.history[1:])).to_dict()
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text)["history"][0]["best"] is None
    first = document["champions"][0]
    assert first["fingerprint"] == result.champions[0].chromosome.fingerprint
    assert first["chromosome"] == json.loads(result.champions[0].chromosome.to_json())
    assert first["proof"]["equal"]
    assert first["exam"]["p_value"] == 0.0004
    assert document["passed"] == 1
