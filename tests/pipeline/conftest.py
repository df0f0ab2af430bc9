"""One small run on real bars, which the tests of this room look at from many sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import MarketData
from ai_backtrader.pipeline import PipelineResult, Profile, run_pipeline
from ai_backtrader.values import Regime


class BaseRun(NamedTuple):
    """A finished run and where it is kept."""

    data: MarketData
    options: dict[str, Any]
    database: Path
    result: PipelineResult


@pytest.fixture(scope="session")
def tiny() -> Profile:
    return Profile(
        name="tiny", trials=8, surrogate="random", regimes=(Regime.BULL,), generations=2, population=12, champions=2,
        agent_steps=600, agent_seeds=1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tiny: Profile) -> BaseRun:
    """A run with everything that was found taken along, so that every system has a part in it."""
    data = load_sample().head(2_400)
    options = {"profile": tiny, "seed": 3, "commission": 0.00005, "admit": "best", "rebalance_days": 7}
    database = tmp_path_factory.mktemp("base") / "ai.db"
    return BaseRun(data, options, database, run_pipeline(data, database=database, **options))
