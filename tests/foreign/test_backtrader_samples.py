"""Strategies out of Backtrader's own samples folder, written by others, run unchanged with AISizer and LeverageBroker.

The samples are not ours and not in Backtrader's wheel. Where a checkout of Backtrader is found, in
``$BACKTRADER_SAMPLES`` or in ``../shared/backtrader-samples`` (a folder with ``samples/`` and ``datas/``), they are
run; else skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.audit import load_strategy

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "backtrader-samples"
STOXX, STOXX_2 = "2005-2006-day-001.txt", "2006-day-002.txt"
YAHOO, ORACLE, NVIDIA = "yhoo-1996-2014.txt", "orcl-1995-2014.txt", "nvda-1999-2014.txt"


@dataclass(frozen=True)
class Sample:
    """A sample: its file, class, parameters, feeds, settings of Cerebro."""

    file: str
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    feeds: tuple[str, ...] = (STOXX,)
    cheat_on_open: bool = False
    refusal: str = "order"

    def __str__(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.params.items())
        return f"{self.file.split('/')[-1].removesuffix('.py')}-{self.name}" + (f"[{options}]" if options else "")


SAMPLES = [
    Sample("analyzer-annualreturn/analyzer-annualreturn.py", "LongShortStrategy"),
    Sample("analyzer-annualreturn/analyzer-annualreturn.py", "LongShortStrategy", {"onlylong": True}),
    Sample("bracket/bracket.py", "St"),
    Sample("bracket/bracket.py", "St", {"usebracket": True}),
    Sample("btfd/btfd.py", "St", feeds=(ORACLE,)),
    Sample("calmar/calmar-test.py", "St"),
    Sample("cheat-on-open/cheat-on-open.py", "St", refusal="none"),
    Sample("cheat-on-open/cheat-on-open.py", "St", refusal="none", cheat_on_open=True),
    Sample("commission-schemes/commission-schemes.py", "SMACrossOver"),
    Sample("kselrsi/ksignal.py", "TheStrategy", feeds=(YAHOO,)),
    Sample("macd-settings/macd-settings.py", "TheStrategy", feeds=(YAHOO,)),
    Sample("multi-copy/multi-copy.py", "TheStrategy", {"dtarget": "1", "myname": "one"}, feeds=(YAHOO, ORACLE)),
    Sample("multi-example/mult-values.py", "St", feeds=(NVIDIA, YAHOO, ORACLE)),
    Sample("multi-example/mult-values.py", "St", {"rawbracket": False}, feeds=(NVIDIA, YAHOO, ORACLE)),
    Sample("multi-example/mult-values.py", "St", {"usebracket": False}, feeds=(NVIDIA, YAHOO, ORACLE)),
    Sample("multidata-strategy/multidata-strategy.py", "MultiDataStrategy", feeds=(YAHOO, ORACLE)),
    Sample("multidata-strategy/multidata-strategy-unaligned.py", "MultiDataStrategy", feeds=(YAHOO, NVIDIA)),
    Sample("multitrades/multitrades.py", "MultiTradeStrategy"),
    Sample("observers/observers-orderobserver.py", "MyStrategy"),
    Sample("oco/oco.py", "St"),
    Sample("order-execution/order-execution.py", "OrderExecutionStrategy"),
    Sample("order-execution/order-execution.py", "OrderExecutionStrategy", {"exectype": "Limit", "perc1": 0.5}),
    Sample("order-execution/order-execution.py", "OrderExecutionStrategy", {"exectype": "Stop", "perc1": 0.5}),
    Sample(
        "order-execution/order-execution.py", "OrderExecutionStrategy",
        {"exectype": "StopLimit", "perc1": 0.3, "perc2": 0.5},
    ),
    Sample("order-history/order-history.py", "SmaCross"),
    Sample("order_target/order_target.py", "TheStrategy", {"use_target_size": True}, feeds=(YAHOO,)),
    Sample("order_target/order_target.py", "TheStrategy", {"use_target_percent": True}, feeds=(YAHOO,)),
    Sample("pyfoliotest/pyfoliotest.py", "St", feeds=(NVIDIA, YAHOO, ORACLE)),
    Sample("sigsmacross/sigsmacross.py", "SmaCross"),
    Sample("sizertest/sizertest.py", "CloseSMA"),
    Sample("stop-trading/stop-loss-approaches.py", "ManualStopOrStopTrail"),
    Sample("stop-trading/stop-loss-approaches.py", "ManualStopOrStopTrail", {"trail": 50.0}),
    Sample("stop-trading/stop-loss-approaches.py", "ManualStopOrStopTrailCheat"),
    Sample("stop-trading/stop-loss-approaches.py", "AutoStopOrStopTrail"),
    Sample("stop-trading/stop-loss-approaches.py", "AutoStopOrStopTrail", {"buy_limit": 0.005}),
    Sample("stoptrail/trail.py", "St", {"trailpercent": 0.02}),
    Sample("stoptrail/trail.py", "St", {"trailpercent": 0.02, "stoptype": bt.Order.StopTrailLimit, "limitoffset": 5.0}),
    Sample("strategy-selection/strategy-selection.py", "St0"),
    Sample("strategy-selection/strategy-selection.py", "St1"),
    Sample("writer-test/writer-test.py", "LongShortStrategy"),
]  # fmt: skip


@pytest.fixture(scope="session")
def checkout() -> Path:
    told = os.environ.get("BACKTRADER_SAMPLES")
    folder = Path(told) if told else BESIDE
    if not (folder / "samples").is_dir():
        pytest.skip(f"no checkout of Backtrader with its samples: set BACKTRADER_SAMPLES (looked in {folder})")
    return folder


def feed_of(path: Path) -> Any:
    yahoo = "Adj Close" in path.read_text().splitlines()[0]
    kind = bt.feeds.YahooFinanceCSVData if yahoo else bt.feeds.BacktraderCSVData
    return kind(dataname=str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_the_sample_runs_unchanged(
    sample: Sample, checkout: Path, run_foreign: Callable[..., Any], capsys: Any
) -> None:
    def setup(cerebro: Any) -> None:
        if sample.cheat_on_open:
            cerebro.p.cheat_on_open = True
            cerebro.broker.set_coo(True)

    feeds = [feed_of(checkout / "datas" / name) for name in sample.feeds]
    for number, feed in enumerate(feeds):
        feed._name = str(number)
    strategy, books = run_foreign(
        load_strategy(checkout / "samples" / sample.file, sample.name), feeds, cash=100_000.0, setup=setup,
        sizer={"max_leverage": 5.0, "refusal": sample.refusal}, **sample.params,
    )  # fmt: skip
    analysis = strategy.analyzers.aisizer.get_analysis()
    assert books.bars > 200
    assert analysis["asked"] + analysis["bypassed"] > 0
    assert books.fills
    assert strategy.broker.getvalue() > 0.0
    with capsys.disabled():  # the figures of each sample are the point of running it
        print(
            f"\n{sample}: {books.bars} bars, asked {analysis['asked']}, refused {analysis['refused']}, "
            f"bypassed {analysis['bypassed']}, fills {len(books.fills)}, liquidations "
            f"{len(strategy.broker.liquidations)}, value {strategy.broker.getvalue():,.0f}",
            end="",
        )
