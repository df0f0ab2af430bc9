"""The usage that the design prints runs as printed, with ``ai_backtrader`` for the package's name.

Each text runs as a script and inside a running loop, as in a notebook; what it awaits stands at its top level.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ai_backtrader import OptimizationConfig, get_leverage_manager, get_leverage_rl_agent, reset_engine
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.parameter_optimizer import technical_rules
from ai_backtrader.rl import LeverageState
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import Simulator, simulate
from ai_backtrader.values import Action

PARAMETER_OPTIMIZER = """
from ai_backtrader import get_parameter_optimizer

optimizer = get_parameter_optimizer()
best_params, score = await optimizer.optimize(
    config=OptimizationConfig(symbol="BTC/USDT", regime="bull", n_trials=50),
    backtest_fn=my_backtest_function,
)
"""

STRATEGY_EVOLVER = """
from ai_backtrader import get_strategy_evolver

evolver = get_strategy_evolver()
best_strategy = await evolver.run_evolution(
    n_generations=20,
    fitness_fn=my_fitness_function,  # Returns Sharpe ratio
)
"""

RL_AGENT = """
from ai_backtrader import get_rl_agent, State

agent = get_rl_agent()
state = State.from_market_data(indicators, position=0)
action = agent.select_action(state, training=False)
# action: 0=HOLD, 1=BUY, 2=SELL
"""

ONLINE_LEARNER = """
from ai_backtrader import get_online_learner

learner = get_online_learner()

# After each trade
learner.on_trade_complete(
    symbol="BTC/USDT",
    strategy_id="ema_cross",
    entry_price=95000,
    exit_price=96000,
    pnl_pct=1.05,
    regime="bull",
    indicators_at_entry=indicators,
    hold_duration_mins=120,
)

# Before trading
should_trade, adjustment, reason = learner.should_trade(
    strategy_id="ema_cross",
    regime="bull",
    indicators=current_indicators,
)
"""

META_ALLOCATOR = """
from ai_backtrader import get_meta_allocator

allocator = get_meta_allocator()

# Register strategies
allocator.register_strategy("ema_cross", {"sharpe_ratio": 1.5, "win_rate": 0.58})
allocator.register_strategy("momentum", {"sharpe_ratio": 1.2, "win_rate": 0.55})

# Get allocation
plan = allocator.calculate_allocation(
    current_regime="bull",
    total_capital=10000,
    risk_budget=0.02,
)
# plan.allocations: [{strategy_id, weight, reason}, ...]
"""

ORCHESTRATOR = """
from ai_backtrader import get_ai_orchestrator, initialize_ai_orchestrator
from ai_backtrader import get_advisor

# Initialize with LLM advisor
llm_advisor = get_advisor()
orchestrator = await initialize_ai_orchestrator(
    llm_advisor=llm_advisor,
    enable_rl=True,
    enable_evolution=True,
    enable_online_learning=True,
    enable_llm=True,
)

# Get AI decision
decision = await orchestrator.get_decision(
    symbol="BTC/USDT",
    indicators=current_indicators,
    current_price=95393,
    regime="bull",
    position=0,
    portfolio_value=10766,
    base_signal="LONG",
    base_confidence=0.49,
)

print(f"Action: {decision.action}")
print(f"Confidence: {decision.confidence:.0%}")
print(f"Position Size: {decision.position_size_pct:.1f}%")
print(f"Reasoning: {decision.reasoning}")

# After trade completes
await orchestrator.on_trade_complete(
    symbol="BTC/USDT",
    entry_price=95393,
    exit_price=96500,
    pnl_pct=1.16,
    indicators_at_entry=entry_indicators,
    regime="bull",
    hold_duration_mins=240,
)
"""

RUN_OPTIMIZATION = """
best_params, score = await orchestrator.run_optimization(
    symbol="BTC/USDT",
    backtest_fn=my_backtest,
    regime="bull",
    n_trials=100,
)
"""

RUN_EVOLUTION = """
best_strategy = await orchestrator.run_evolution(
    fitness_fn=lambda s: backtest_strategy(s),  # Returns Sharpe
    n_generations=50,
)
"""

LEVERAGE_AGENT = """
from ai_backtrader import get_leverage_rl_agent, LeverageState

# Get the agent
agent = get_leverage_rl_agent()

# Create state from market data
state = LeverageState.from_market_data(
    indicators=indicators,
    position_info={'position': 0, 'leverage': 1, 'margin_ratio': 0.2},
    risk_info={'consecutive_losses': 0, 'win_rate_recent': 0.55},
)

# Get action and analysis
action, info = agent.select_action(state, training=False)
analysis = agent.get_action_analysis(state)

print(f"Action: {analysis['action_name']}")
print(f"Leverage: {analysis['best_leverage']}x")
print(f"Direction: {'SHORT' if analysis['is_short'] else 'LONG'}")
print(f"Confidence: {analysis['confidence']:.0%}")
print(f"Recommendation: {analysis['recommendation']}")
"""

LEVERAGE_MANAGER = """
from ai_backtrader import get_leverage_manager

manager = get_leverage_manager()

# Get optimal leverage decision
decision = manager.calculate_optimal_leverage(
    indicators=current_indicators,
    current_position={'leverage': 3, 'margin_ratio': 0.4},
    risk_budget=0.02,  # Max 2% portfolio risk
    account_balance=10000,
    regime='bull',
)

print(f"Direction: {decision.direction}")
print(f"Leverage: {decision.recommended_leverage}x")
print(f"Position Size: {decision.position_size_pct:.1%}")
print(f"Confidence: {decision.confidence:.0%}")
print(f"Reasoning: {decision.reasoning}")
print(f"Max Loss: ${decision.risk_metrics['max_loss_usd']:.2f}")

for warning in decision.warnings:
    print(f"\u26a0\ufe0f {warning}")
"""

TRAINING = """
# The system learns through experience
for trade in historical_trades:
    # Create state from market conditions at entry
    state = LeverageState.from_market_data(trade.entry_indicators)

    # Agent selected this action
    action = trade.action  # e.g., SHORT_5X

    # Calculate reward from outcome
    reward = agent.calculate_reward(
        action=action,
        pnl_pct=trade.pnl_pct,
        leverage_used=5.0,
        volatility=trade.volatility,
        is_short=True,
        margin_ratio=trade.max_margin_ratio,
    )

    # Store and learn
    agent.remember(state, action, reward, next_state, done)
    loss = agent.train_step()
"""

Run = Callable[..., dict[str, Any]]


def _started(text: str, space: dict[str, Any]) -> Any:
    code = compile(text, "printed", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return eval(code, space)  # noqa: S307  # the printed text itself is the test


def _as_script(*texts: str, **known: Any) -> dict[str, Any]:
    async def rest(waiting: Any) -> None:
        await waiting

    for text in texts:
        waiting = _started(text, known)
        if inspect.isawaitable(waiting):
            asyncio.run(rest(waiting))
    return known


def _in_a_loop(*texts: str, **known: Any) -> dict[str, Any]:
    async def notebook() -> None:
        for text in texts:
            waiting = _started(text, known)
            if inspect.isawaitable(waiting):
                await waiting

    asyncio.run(notebook())
    return known


@pytest.fixture(params=[_as_script, _in_a_loop], ids=["script", "running loop"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


@pytest.fixture(scope="module")
def data() -> MarketData:
    return load_sample().head(600)


@pytest.fixture(scope="module")
def indicators(data: MarketData) -> dict[str, float]:
    return compute_features(data).indicators(599)


@pytest.fixture(autouse=True)
def _fresh_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A port on which nothing listens: the advisor that the text asks for finds no server.
    monkeypatch.setenv("AI_BACKTRADER_LLM_URL", "http://127.0.0.1:9")
    reset_engine()
    yield
    reset_engine()


@pytest.mark.parametrize("kind", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_the_parameter_optimizer_answers_as_printed(run: Run, kind: str, data: MarketData) -> None:
    def backtest(parameters: dict[str, Any]) -> float:
        result = simulate(data, technical_rules(parameters))
        return result.metrics["total_return"]

    async def awaited(parameters: dict[str, Any]) -> float:
        await asyncio.sleep(0)
        return backtest(parameters)

    given = backtest if kind == "sync" else awaited
    space = run(PARAMETER_OPTIMIZER, OptimizationConfig=OptimizationConfig, my_backtest_function=given)
    assert space["score"] == backtest(space["best_params"])
    assert space["optimizer"].last_result.trials[0].score <= space["score"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_strategy_evolver_answers_as_printed(run: Run, kind: str, data: MarketData) -> None:
    simulator = Simulator(data)

    def fitness(chromosome: StrategyChromosome) -> float:
        return simulator.run(chromosome).metrics["sharpe"]

    async def awaited(chromosome: StrategyChromosome) -> float:
        await asyncio.sleep(0)
        return fitness(chromosome)

    space = run(STRATEGY_EVOLVER, my_fitness_function=fitness if kind == "sync" else awaited)
    assert isinstance(space["best_strategy"], StrategyChromosome)
    history = space["evolver"].history
    assert len(history) == 20
    assert fitness(space["best_strategy"]) == space["evolver"].best.score >= history[0].best


def test_the_basic_agent_answers_as_printed(run: Run, indicators: dict[str, float]) -> None:
    space = run(RL_AGENT, indicators=indicators)
    assert space["action"] in (0, 1, 2)
    assert space["state"].ready
    assert space["action"] == int(np.argmax(space["agent"].q_values(space["state"])))


def test_the_online_learner_answers_as_printed(run: Run, indicators: dict[str, float]) -> None:
    space = run(ONLINE_LEARNER, indicators=indicators, current_indicators=indicators)
    assert space["should_trade"] is True
    assert space["adjustment"] == 1.0
    assert "ema_cross" in space["reason"]
    assert space["learner"].strategies() == ("ema_cross",)


def test_the_meta_allocator_answers_as_printed(run: Run) -> None:
    plan = run(META_ALLOCATOR)["plan"]
    weights = {one.strategy_id: one.weight for one in plan.allocations}
    assert weights == pytest.approx({"ema_cross": 0.4, "momentum": 0.4})
    assert all(one.reason for one in plan.allocations)


def test_the_orchestrator_answers_as_printed(
    run: Run, indicators: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    told = {**indicators, "close": 95_393.0, "atr": 600.0, "atr_pct": 0.63}
    space = run(ORCHESTRATOR, current_indicators=told, entry_indicators=told)
    assert space["orchestrator"] is space["get_ai_orchestrator"]()
    assert space["decision"].action is Action.BUY
    printed = capsys.readouterr().out
    assert "Action: BUY" in printed
    assert "Confidence: 49%" in printed
    assert "Position Size: " in printed
    assert get_leverage_manager().kelly.trades == 1
    sources = {vote.source: vote.reason for vote in space["decision"].votes}
    assert sources["technical"] == "base signal of the caller"
    assert "trigger" in sources["llm"], "the advisor was asked, and had nothing to object to"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_background_tasks_run_as_printed(run: Run, kind: str, data: MarketData, indicators: dict[str, float]) -> None:
    def backtest(parameters: dict[str, Any]) -> float:
        return -abs(parameters["ema_fast"] - 12) - abs(parameters["ema_slow"] - 60) / 10

    async def awaited(parameters: dict[str, Any]) -> float:
        await asyncio.sleep(0)
        return backtest(parameters)

    simulator = Simulator(data)

    def sharpe(chromosome: StrategyChromosome) -> float:
        return simulator.run(chromosome).metrics["sharpe"]

    space = run(
        ORCHESTRATOR, RUN_OPTIMIZATION, RUN_EVOLUTION, current_indicators=indicators, entry_indicators=indicators,
        my_backtest=backtest if kind == "sync" else awaited, backtest_strategy=sharpe,
    )  # fmt: skip
    assert backtest(space["best_params"]) == space["score"] > -10.0
    assert sharpe(space["best_strategy"]) > 0.0


def test_the_leverage_agent_answers_as_printed(
    run: Run, indicators: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    space = run(LEVERAGE_AGENT, indicators=indicators)
    printed = capsys.readouterr().out
    assert f"Action: {space['analysis']['action_name']}" in printed
    assert "Recommendation: " in printed
    assert space["info"]["probabilities"].sum() == pytest.approx(1.0)
    assert space["action"] == int(np.where(space["info"]["mask"], space["info"]["q_values"], -np.inf).argmax())


def test_the_leverage_manager_answers_as_printed(
    run: Run, indicators: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    run(LEVERAGE_MANAGER, current_indicators=indicators)
    printed = capsys.readouterr().out
    assert "Leverage: " in printed
    assert "Max Loss: $" in printed


def test_the_leverage_manager_answers_to_a_few_indicators(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(LEVERAGE_MANAGER, current_indicators={"rsi": 45.0, "adx": 28.0})
    printed = capsys.readouterr().out
    assert "Direction: FLAT" in printed
    assert "Position Size: 0.0%" in printed
    assert "\u26a0\ufe0f indicators missing" in printed


def test_the_training_loop_learns_as_printed(run: Run, data: MarketData) -> None:
    features = compute_features(data)
    rng = np.random.default_rng(0)
    trades = [
        SimpleNamespace(
            entry_indicators=features.indicators(int(bar)), action="SHORT_5X", pnl_pct=float(rng.normal(0.0, 3.0)),
            volatility=1.0, max_margin_ratio=float(rng.uniform(0.0, 0.9)),
        )
        for bar in rng.integers(features.ready_from, len(data), 80)
    ]  # fmt: skip
    for trade in trades:
        trade.action = 7  # SHORT_5X
    agent = get_leverage_rl_agent()
    following = LeverageState.from_market_data(features.indicators(len(data) - 1))
    space = run(
        TRAINING, historical_trades=trades, LeverageState=LeverageState, agent=agent, next_state=following, done=True
    )
    assert agent.trained
    assert np.isfinite(space["loss"])
    assert np.isfinite(space["reward"])
