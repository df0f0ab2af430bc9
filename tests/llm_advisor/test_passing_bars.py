"""Bars told at once are bars told one by one; the usual is what NumPy's median says."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.llm_advisor import UNUSUAL_FIGURES, Advisor, AnswerMemory, get_advisor, robust_distances
from ai_backtrader.values import Regime

START = dt.datetime(2024, 1, 1)


def advisor() -> Advisor:
    return get_advisor(model="none", mode="replay", store=AnswerMemory(), model_digest="none")


def figures_of(bars: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    figures = rng.normal(1.0, 1.0, (bars, len(UNUSUAL_FIGURES)))
    figures[rng.random(figures.shape) < 0.05] = np.nan
    figures[:, -1] = np.nan
    return figures


def advise(asked: Advisor, row: NDArray[np.float64], signal: str, regime: Regime, bar: int) -> object:
    indicators = dict(zip(UNUSUAL_FIGURES, row.tolist(), strict=True))
    return asked.advise(
        "X", 100.0, -3.0, signal, regime, indicators=indicators, at=START + dt.timedelta(hours=bar), confidence=0.5
    )


@pytest.mark.parametrize("stretch", [3, 140, 900])
def test_bars_passed_at_once_leave_the_advisor_as_if_it_had_been_asked_on_each(stretch: int) -> None:
    one_by_one, at_once = advisor(), advisor()
    bar = 0
    for part in range(3):
        figures = figures_of(stretch, part)
        regimes = [Regime.BULL if place < stretch // 2 else Regime.BEAR for place in range(stretch)]
        for place in range(stretch):
            advise(one_by_one, figures[place], "HOLD", regimes[place], bar + place)
        first, last = START + dt.timedelta(hours=bar), START + dt.timedelta(hours=bar + stretch - 1)
        at_once.pass_bars("X", figures, regimes, first_at=first, last_at=last)
        bar += stretch
        unusual = figures[-1] + 40.0
        answers = [advise(each, unusual, "BUY", Regime.SIDEWAYS, bar) for each in (one_by_one, at_once)]
        assert answers[0] == answers[1]
        assert answers[0].triggers  # type: ignore[attr-defined]  # an Advice
        bar += 1
    assert one_by_one.report() == at_once.report()


@pytest.mark.parametrize("bars", [7, 100, 101, 500])
def test_distances_are_those_of_numpys_medians(bars: int) -> None:
    history, row = figures_of(bars, 5), figures_of(1, 6)[0]
    expected = np.zeros(len(row))
    for place, value in enumerate(row):
        usual = history[:, place][np.isfinite(history[:, place])]
        if np.isfinite(value) and 2 * usual.size > bars:
            middle = np.median(usual)
            expected[place] = abs(value - middle) / (1.4826 * np.median(np.abs(usual - middle)))
    assert robust_distances(history, row).tolist() == expected.tolist()
