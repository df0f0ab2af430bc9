"""Chromosomes as values: validation, canonical form, text, fingerprint, random ones."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.rules import (
    CATALOGUE,
    MAX_GENES,
    Gene,
    HoldGene,
    RiskParameters,
    Section,
    Series,
    StrategyChromosome,
    random_section,
    section_of,
)

RSI = Gene(Series("rsi", (14,)), "<", 30.0)
CROSS = Gene(Series("ema", (12,)), "crosses_above", Series("ema", (26,)))
ADX = Gene(Series("adx", (14,)), ">", 25.0)
LEAVE = Gene(Series("rsi", (14,)), ">", 60.0)

# The strategy that the design draws.
DRAWN = StrategyChromosome(
    entry_long=Section((RSI, CROSS, Gene(Series("volume_ratio", (20,)), ">", 1.5))),
    entry_short=Section((Gene(Series("rsi", (14,)), ">", 70.0), Gene(Series("ema", (12,)), "<", Series("ema", (26,))))),
    exit=Section((LEAVE, HoldGene(50))),
    filters=Section((ADX, Gene(Series("ema", (20,)), ">", Series("ema", (50,))))),
    risk=RiskParameters(position_size=0.15, stop_atr=2.0),
)


def test_the_drawn_strategy_reads_in_words() -> None:
    assert DRAWN.describe() == (
        "Long when EMA(12) crosses above EMA(26) and RSI(14) < 30 and VolumeRatio(20) > 1.5\n"
        "Short when EMA(12) < EMA(26) and RSI(14) > 70\n"
        "Exit when RSI(14) > 60 or hold > 50\n"
        "Only if ADX(14) > 25 and EMA(20) > EMA(50)\n"
        "Risk: 15% of equity at 1x, stop 2 ATR(14), reverses"
    )


def test_counts_and_risk_read_in_words() -> None:
    three = (RSI, CROSS, ADX)
    assert Section(three, 2).describe(otherwise="and").startswith("at least 2 of (ADX(14) > 25, EMA(12)")
    assert Section(three, 3).describe(otherwise="or") == Section(three).describe(otherwise="and")
    assert Section(three, 1).describe(otherwise="and") == Section(three).describe(otherwise="or")
    risk = RiskParameters(
        position_size=0.07, leverage=3, stop_atr=0, trailing_atr=2.5, take_profit_atr=4, atr_period=10, reverse=False
    )
    assert risk.describe() == "7% of equity at 3x, trailing stop 2.5 ATR(10), target 4 ATR(10), does not reverse"


def test_fingerprints_never_change() -> None:
    # Golden: stored champions are found by them.
    assert DRAWN.fingerprint == "a4ab821d9fac5579ab09e49b2f0327de219f7b0ae36424c27042457893b525eb"
    assert (
        StrategyChromosome(entry_long=Section((RSI,))).fingerprint
        == "fd23e5f86272bc360dc7c5c83afcf36416dab18f754840f08ca616a5776861cf"
    )


def test_the_order_of_writing_does_not_matter() -> None:
    genes = (RSI, CROSS, ADX)
    written = {StrategyChromosome(entry_long=Section(order)) for order in permutations(genes)}
    assert len(written) == 1
    assert len({chromosome.fingerprint for chromosome in written}) == 1


def test_a_count_that_says_what_the_section_does_anyway_is_left_out() -> None:
    plain = StrategyChromosome(entry_long=Section((RSI, CROSS)), exit=Section((LEAVE, HoldGene(9))))
    said = StrategyChromosome(entry_long=Section((RSI, CROSS), 2), exit=Section((LEAVE, HoldGene(9)), 1))
    other = StrategyChromosome(entry_long=Section((RSI, CROSS), 1), exit=Section((LEAVE, HoldGene(9)), 2))
    assert plain == said
    assert plain.fingerprint == said.fingerprint != other.fingerprint
    assert plain.required == (2, 0, 1, 0)
    assert other.required == (1, 0, 2, 0)


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (lambda: StrategyChromosome(), "both without genes: the strategy could never trade"),
        (lambda: StrategyChromosome(exit=Section((LEAVE,))), "could never trade"),
        (lambda: StrategyChromosome(entry_long=(RSI,)), "entry_long must be a Section, got"),  # type: ignore[arg-type]
        (
            lambda: StrategyChromosome(entry_long=Section((RSI, HoldGene(5)))),
            "entry_long holds 'hold > 5', which belongs to the exit section only",
        ),
        (lambda: StrategyChromosome(entry_long=Section((RSI,)), filters=Section((HoldGene(5),))), "filters holds"),
        (lambda: StrategyChromosome(entry_long=Section((RSI,)), risk=None), "risk must be RiskParameters, got None"),  # type: ignore[arg-type]
        (lambda: Section((RSI, RSI)), r"genes appear twice: RSI\(14\) < 30"),
        (lambda: Section((RSI,), 2), "need must be between 1 and 1, got 2"),
        (lambda: Section((RSI,), 0), "need must be between 1 and 1, got 0"),
        (lambda: Section((RSI,), True), "need must be a whole number, got True"),
        (lambda: Section((), 1), "need must be None in a section without genes, got 1"),
        (lambda: Section("genes"), "genes must be a tuple of Gene and HoldGene, got 'genes'"),  # type: ignore[arg-type]
        (lambda: Section((RSI, 3)), "genes must be a tuple of Gene and HoldGene"),  # type: ignore[arg-type]
        (lambda: Section(tuple(HoldGene(i) for i in range(1, 18))), "genes may be at most 16, got 17"),
        (lambda: RiskParameters(position_size=0.0), "position_size must be between 0.001 and 1, got 0"),
        (lambda: RiskParameters(position_size=1.1), "position_size must be between"),
        (lambda: RiskParameters(leverage=0.5), "leverage must be between 1 and 125, got 0.5"),
        (lambda: RiskParameters(leverage=126), "leverage must be between 1 and 125"),
        (lambda: RiskParameters(stop_atr=-1.0), "stop_atr must be between 0.1 and 50, got -1.0; 0 is none"),
        (lambda: RiskParameters(stop_atr=float("nan")), "stop_atr must be finite, got nan; 0 is none"),
        (lambda: RiskParameters(stop_atr=False), "stop_atr must be a number, got False"),
        (lambda: RiskParameters(take_profit_atr=1e9), "take_profit_atr must be between 0.1 and 100"),
        (lambda: RiskParameters(trailing_atr=2.0), r"stop_atr \(2\) and trailing_atr \(2\) exclude each other"),
        (lambda: RiskParameters(atr_period=1), "atr_period must be between 2 and 100"),
        (lambda: RiskParameters(atr_period=14.0), "atr_period must be a whole number"),  # type: ignore[arg-type]
        (lambda: RiskParameters(reverse=1), "reverse must be True or False, got 1"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_trade_is_refused(made: Callable[[], Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        made()


def test_all_faults_of_the_risk_parameters_are_told_together() -> None:
    with pytest.raises(SettingsError) as caught:
        RiskParameters(position_size=2, leverage=0, stop_atr=-1, take_profit_atr="x", atr_period=0, reverse=None)  # type: ignore[arg-type]
    assert len(caught.value.faults) == 6


def test_chromosomes_are_frozen_hashable_and_pickle(many: Callable[..., list[StrategyChromosome]]) -> None:
    chromosomes = many(200, max_leverage=20)
    assert len(set(chromosomes)) == 200
    for chromosome in chromosomes:
        again = pickle.loads(pickle.dumps(chromosome))  # noqa: S301  # our own bytes
        assert again == chromosome
        assert hash(again) == hash(chromosome)
        assert again.fingerprint == chromosome.fingerprint
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'risk'"):
        chromosomes[0].risk = RiskParameters()  # type: ignore[misc]  # that is the point


def test_different_chromosomes_have_different_fingerprints(many: Callable[..., list[StrategyChromosome]]) -> None:
    chromosomes = set(many(3000, seed=5, max_leverage=10))
    assert len({chromosome.fingerprint for chromosome in chromosomes}) == len(chromosomes)


def test_random_chromosomes_repeat_with_their_seed_and_keep_to_the_leverage(
    many: Callable[..., list[StrategyChromosome]],
) -> None:
    assert many(50, seed=3) == many(50, seed=3)
    assert many(50, seed=3) != many(50, seed=4)
    assert {chromosome.risk.leverage for chromosome in many(200)} == {1.0}
    levered = [chromosome.risk.leverage for chromosome in many(500, max_leverage=20)]
    assert 1.0 <= min(levered) < 3.0
    assert 18.0 < max(levered) <= 20.0
    with pytest.raises(SettingsError, match=r"max_leverage must be between 1 and 125, got 0\.5"):
        many(1, max_leverage=0.5)


def test_random_chromosomes_use_every_series_operator_and_risk_parameter(
    many: Callable[..., list[StrategyChromosome]],
) -> None:
    chromosomes = many(4000, seed=1)
    genes = [gene for c in chromosomes for section in c.sections.values() for gene in section.genes]
    conditions = [gene for gene in genes if isinstance(gene, Gene)]
    left, right = {g.left.name for g in conditions}, {g.right.name for g in conditions if isinstance(g.right, Series)}
    assert {gene.operator for gene in conditions} == {"<", ">", "crosses_above", "crosses_below", "between"}
    assert (left | right) >= set(CATALOGUE) - {"open"}
    assert any(isinstance(gene, HoldGene) for gene in genes)
    risks = [c.risk for c in chromosomes]
    for name in ("stop_atr", "take_profit_atr", "trailing_atr"):
        share = np.mean([getattr(risk, name) > 0 for risk in risks])
        assert 0.1 < share < 0.9, name
    assert 0.3 < np.mean([risk.reverse for risk in risks]) < 0.7
    assert any(c.entry_long.need for c in chromosomes)
    assert any(not c.entry_long.genes for c in chromosomes)
    assert any(not c.entry_short.genes for c in chromosomes)
    assert any(c.filters.genes for c in chromosomes)


def test_a_section_of_any_genes_is_valid() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        pool = [gene for _ in range(4) for gene in random_section(rng, 1, 3, hold=True).genes]
        genes = [pool[int(i)] for i in rng.integers(len(pool), size=int(rng.integers(0, 30)))]
        section = section_of(genes, int(rng.integers(-2, 20)))
        assert set(section.genes) <= set(genes)
        assert len(section) == min(MAX_GENES, len(set(genes)))
        assert section.need is None if not genes else 1 <= section.need <= len(section)  # type: ignore[operator]


def test_the_series_of_a_chromosome_are_listed_once() -> None:
    assert [series.describe() for series in DRAWN.series] == [
        "EMA(12)", "EMA(26)", "RSI(14)", "VolumeRatio(20)", "ADX(14)", "EMA(20)", "EMA(50)",
    ]  # fmt: skip


def test_a_remembered_hash_does_not_travel(many: Callable[..., list[StrategyChromosome]]) -> None:
    code = (
        "import pickle, sys; from ai_backtrader.rules import StrategyChromosome;"
        "c = pickle.loads(sys.stdin.buffer.read()); d = StrategyChromosome.from_json(c.to_json());"
        "assert c == d and {c: 1}[d] == 1 and {c.entry_long: 1}[d.entry_long] == 1"
    )
    chromosome = many(1)[0]
    hash(chromosome)  # texts hash differently in the other process
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        subprocess.run(command, input=pickle.dumps(chromosome), env=environment, check=True)
