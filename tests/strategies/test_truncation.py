"""Everything after bar t is deleted, prices, trades and rows of the database: decisions up to t are unchanged.

Every system is on: the technical vote, evolved rules (given, and recalled from the database), agents that have learnt,
the online learner with earlier trades, recorded answers of a language model, leverage manager, adaptation at drift and
on schedule, and a database that an earlier run over all the bars has filled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader import Engine, EngineSettings, LearningDatabase
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.engine import FoundStrategy
from ai_backtrader.events import ExperiencesGathered, StrategyEvolved, TradeClosed
from ai_backtrader.learning_db.tables import TABLES
from ai_backtrader.llm_advisor import RecordedAnswer, get_advisor
from ai_backtrader.market import MarketData
from ai_backtrader.online_learner import PatternSettings
from ai_backtrader.orchestrator import SOURCES, Vote
from ai_backtrader.rules import Gene, Operator, Section, Series, StrategyChromosome
from ai_backtrader.strategies import Adaptation, AIStrategy
from ai_backtrader.values import Direction, Regime

BARS = 1_100
ADAPTING = Adaptation(every_bars=250, min_bars=500, generations=2, population=10, n_trials=10)
EARLIER, LATER = 150, 25  # trades before the first bar; rows of each kind among the bars
HOUR = np.timedelta64(1, "h")


class Recorded:
    """An answer for every question, chosen by its key: another question would most likely have another answer."""

    def answer(self, key: str) -> RecordedAnswer:
        told = hashlib.sha256(key.encode()).digest()
        said = {
            "action": ("BUY", "SELL", "HOLD")[told[0] % 3], "confidence": told[1] / 255, "reasoning": "r",
            "risk_level": ("low", "medium", "high")[told[2] % 3], "warnings": [],
        }  # fmt: skip
        message = {"role": "assistant", "content": json.dumps(said)}
        reply = json.dumps({"model": "m", "message": message, "done": True, "done_reason": "stop"})
        return RecordedAnswer(key, "m", "d", "{}", reply, 200, 0.0)

    def keep_answer(self, answer: RecordedAnswer) -> None:
        raise AssertionError("a replay keeps nothing")


class Witness(AIStrategy):
    """Looks into the database as of its bar, and keeps the account at each."""

    def start(self) -> None:
        super().start()
        self.account: list[tuple[float, float, float]] = []
        self.rows: list[tuple[Any, ...]] = []
        self.fills: list[tuple[Any, ...]] = []

    def prenext(self) -> None:
        super().prenext()
        self.look()

    def next(self) -> None:
        super().next()
        self.look()

    def look(self) -> None:
        self.account.append((self.broker.getvalue(), self.broker.getcash(), self.position.size))
        if len(self.account) % 100 == 0:
            now, database = self.data.datetime.datetime(0), self.engine.database
            frames = (
                database.trades(as_of=now), database.regime_transitions(as_of=now),
                database.evolved_strategies(as_of=now), database.strategy_performance(as_of=now),
                database.optimization_results(as_of=now),
            )  # fmt: skip
            told = (frame.drop(columns=["run_id", "id"], errors="ignore") for frame in frames)
            batch = database.experiences(agent="leverage", feature_version="1", as_of=now)
            states = b"" if batch is None else batch.states.tobytes() + batch.rewards.tobytes()
            self.rows.append((*(frame.to_csv(index=False) for frame in told), states))

    def notify_order(self, order: Any) -> None:
        super().notify_order(order)
        if order.status == order.Completed:
            done = order.executed
            self.fills.append((len(self.data), done.size, done.price, done.comm))


def chromosome(fast: int, slow: int) -> StrategyChromosome:
    return StrategyChromosome(
        entry_long=Section((Gene(Series("ema", (fast,)), Operator.ABOVE, Series("ema", (slow,))),)),
        entry_short=Section((Gene(Series("ema", (fast,)), Operator.BELOW, Series("ema", (slow,))),)),
    )


def teach(agent: Any, names: int, actions: int, seed: int) -> None:
    """A few updates on random steps: a network that has learnt, if nothing of use."""
    rng = np.random.default_rng(seed)
    for _ in range(agent.dqn.settings.batch_size + 8):
        state, following = rng.uniform(-1.0, 1.0, (2, names)).astype(np.float32)
        agent.remember(state, int(rng.integers(actions)), float(rng.normal(0.0, 3.0)), following, False)
    for _ in range(5):
        assert agent.train_step() is not None


def remembered(data: MarketData) -> list[Any]:
    """Events of a life before the first bar, and of one among the bars that no run at an earlier bar may know."""
    rng = np.random.default_rng(7)
    start, events = data.times[0], []
    moments = [start - (EARLIER - i) * HOUR for i in range(EARLIER)]
    moments += [data.times[i] for i in sorted(rng.integers(0, len(data), LATER))]
    for at in moments:
        side = Direction.LONG if rng.random() < 0.5 else Direction.SHORT
        pnl = float(rng.normal(0.4, 2.0))
        events.append(TradeClosed(
            symbol=data.symbol, strategy_id="ai", direction=side, entry_price=100.0, exit_price=100.0 + side.sign * pnl,
            pnl_pct=pnl, closed_at=at.astype("datetime64[us]").item(), regime=list(Regime)[int(rng.integers(5))],
            indicators_at_entry={name: float(rng.normal()) for name in PatternSettings().features},
        ))  # fmt: skip
    for i, place in enumerate(sorted(rng.integers(0, len(data), LATER))):
        rules, at = chromosome(5 + i, 20 + 2 * i), data.times[place].astype("datetime64[us]").item()
        events.append(StrategyEvolved(
            fingerprint=rules.fingerprint, chromosome=rules.to_json(), symbol=data.symbol, data_fingerprint="d",
            fitness=1.0, passed=True, figures={"p_value": 0.01}, at=at,
        ))  # fmt: skip
        states = rng.normal(size=(20, 35)).astype(np.float32)
        events.append(ExperiencesGathered(
            agent="leverage", feature_version="1", symbol=data.symbol, states=states, next_states=states,
            actions=rng.integers(0, 11, 20), rewards=rng.normal(size=20), terminated=np.zeros(20, dtype=np.bool_),
            at=at,
        ))  # fmt: skip
    return events


def trade(data: MarketData, path: Path) -> Any:
    """The run of an engine that begins with what the database at ``path`` holds."""
    advisor = get_advisor(
        model="m", mode="replay", store=Recorded(), model_digest="d", max_calls_per_run=10**6,
        base_url="http://127.0.0.1:9",
    )  # fmt: skip
    with Engine(EngineSettings(database=path), advisor=advisor) as engine:
        teach(engine.rl_agent, 18, 3, 1)
        teach(engine.leverage_agent, 35, 11, 2)
        engine.evolved.add([FoundStrategy(chromosome=chromosome(10, 30), confidence=0.9)])
        database = engine.database
        assert database is not None
        for row in database.evolved_strategies().to_dict("records"):  # later ones too: they must wait for their time
            engine.evolved.recall([StrategyEvolved(
                fingerprint=row["fingerprint"], chromosome=row["chromosome"], symbol=row["symbol"],
                data_fingerprint=row["data_fingerprint"], fitness=row["fitness"], passed=bool(row["passed"]),
                figures={"p_value": 0.01}, at=row["at"].to_pydatetime().replace(tzinfo=None),
            )])  # fmt: skip
        for known in database.trade_events(as_of=data.times[0] - HOUR):
            engine.online_learner.on_trade_complete(known)
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.broker = LeverageBroker()
        cerebro.broker.setcommission(commission=0.0001)
        cerebro.adddata(PerpetualData(dataname=data))
        cerebro.addstrategy(Witness, engine=engine, adaptation=ADAPTING)
        run = cerebro.run()[0]
        assert engine.orchestrator.failures == {}
        assert database.failures == 0
        return run


@dataclass
class Life:
    """A run over all bars, and the database that it began with."""

    data: MarketData
    path: Path
    run: Any

    def forget_after(self, cut: int, path: Path) -> int:
        """A copy of the database without the rows known after the bar; how many those were."""
        shutil.copy(self.path, path)
        last = str(self.data.times[cut - 1].astype("datetime64[us]")).replace("T", " ")
        connection, gone = sqlite3.connect(path), 0
        for table in TABLES.values():
            if table.time is not None:
                # Compared as SQLite's own dates: whatever separates day and hour in the text.
                gone += connection.execute(
                    f'DELETE FROM "{table.name}" WHERE julianday("{table.time}") > julianday(?) + 1e-8', (last,)  # noqa: S608  # our own names
                ).rowcount  # fmt: skip
        connection.commit()
        connection.close()
        return gone

    def check(self, cut: int, folder: Path) -> int:
        """Compare with the run that has nothing after ``cut`` bars; how many decisions were compared."""
        path = folder / f"{cut}.db"
        assert self.forget_after(cut, path) > 0
        short, whole = trade(self.data.head(cut), path), self.run
        path.unlink()
        assert len(short.account) == cut
        assert short.account == whole.account[:cut], cut
        decided = len(short.decisions)
        assert list(short.decisions) == list(whole.decisions[:decided]), cut
        assert sum(decision.at <= short.decisions[-1].at for decision in whole.decisions) == decided
        assert short.fills == [fill for fill in whole.fills if fill[0] <= cut], cut
        assert short.adaptations == [record for record in whole.adaptations if record.bar <= cut], cut
        assert short.closed_trades == whole.closed_trades[: len(short.closed_trades)], cut
        assert short.rows == whole.rows[: cut // 100], cut
        return decided


def lived(data: MarketData, folder: Path) -> Life:
    path, kept = folder / "life.db", folder / "kept.db"
    with LearningDatabase(path, strict=True) as database:
        for event in remembered(data):
            database.record(event)
    trade(data, path)  # its trades, changes of regime, searches and trials are rows of the database from here on
    shutil.copy(path, kept)
    return Life(data, kept, trade(data, path))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Life:
    return lived(load_sample().head(BARS), tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def perpetual(tmp_path_factory: pytest.TempPathFactory, shared_csv: Callable[[str], Path]) -> Life:
    data = MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz")).head(3_000 + BARS)
    return lived(data.between(data.times[3_000], None), tmp_path_factory.mktemp("perpetual"))


def test_every_system_has_its_say(sample: Life) -> None:
    run = sample.run
    voted = {vote.source for decision in run.decisions for vote in decision.votes if isinstance(vote, Vote)}
    assert voted == set(SOURCES)
    assert run.closed_trades
    assert len({record.bar for record in run.adaptations}) >= 3
    assert len({rows[0] for rows in run.rows}) > 5  # trades become known as the run goes on
    assert all(rows[-1] for rows in run.rows[5:])  # experiences
    reasons = {vote.reason for decision in run.decisions for vote in decision.votes if vote.source == "evolved"}
    assert len(reasons) > 10  # recalled rules join in, each at its time


@pytest.mark.parametrize("cut", [430, 690, 1_010])
def test_what_comes_after_a_bar_changes_nothing_up_to_it(cut: int, sample: Life, tmp_path: Path) -> None:
    assert sample.check(cut, tmp_path) > 200


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample", "perpetual"])
def test_at_50_random_bars_nothing_after_them_matters(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    life: Life = request.getfixturevalue(name)
    cuts = np.random.default_rng(2_026).choice(np.arange(260, BARS - 20), 50, replace=False)
    compared = [life.check(int(cut), tmp_path) for cut in sorted(cuts)]
    assert len(compared) == 50
    assert min(compared) > 50
