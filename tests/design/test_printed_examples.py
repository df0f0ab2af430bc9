"""The usage that the design prints runs as printed, with ``ai_backtrader`` for the package's name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ai_backtrader import get_leverage_manager, initialize_ai_orchestrator, reset_engine
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import compute_features

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
    print(f"warning: {warning}")
"""

ORCHESTRATOR = """
from ai_backtrader import get_ai_orchestrator, initialize_ai_orchestrator

async def main():
    orchestrator = await initialize_ai_orchestrator(
        enable_rl=True,
        enable_evolution=True,
        enable_online_learning=True,
        enable_llm=True,
    )
    assert orchestrator is get_ai_orchestrator()

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
        indicators_at_entry=current_indicators,
        regime="bull",
        hold_duration_mins=240,
    )
"""


@pytest.fixture
def indicators() -> dict[str, float]:
    return compute_features(load_sample().head(600)).indicators(599)


@pytest.fixture(autouse=True)
def _fresh_engine() -> Iterator[None]:
    reset_engine()
    yield
    reset_engine()


def test_the_leverage_manager_answers_as_printed(
    indicators: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    exec(LEVERAGE_MANAGER, {"current_indicators": indicators})  # noqa: S102  # the printed text itself is the test
    told = capsys.readouterr().out
    assert "Leverage: " in told
    assert "Max Loss: $" in told


def test_the_leverage_manager_answers_to_a_few_indicators(capsys: pytest.CaptureFixture[str]) -> None:
    exec(LEVERAGE_MANAGER, {"current_indicators": {"rsi": 45.0, "adx": 28.0}})  # noqa: S102
    told = capsys.readouterr().out
    assert "Direction: FLAT" in told
    assert "Position Size: 0.0%" in told
    assert "warning: indicators missing" in told


def test_the_orchestrator_answers_as_printed_in_a_script(
    indicators: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    space: dict[str, object] = {"current_indicators": {**indicators, "close": 95_393.0, "atr": 600.0, "atr_pct": 0.63}}
    exec(ORCHESTRATOR, space)  # noqa: S102
    asyncio.run(space["main"]())  # type: ignore[operator]  # defined by the printed text
    told = capsys.readouterr().out
    assert "Action: BUY" in told
    assert "Confidence: 49%" in told
    assert get_leverage_manager().kelly.trades == 1


def test_the_orchestrator_answers_inside_a_running_loop(indicators: dict[str, float]) -> None:
    async def notebook_cell() -> str:
        orchestrator = await initialize_ai_orchestrator(enable_llm=False)
        decision = await orchestrator.get_decision(
            symbol="EURUSD", indicators=indicators, current_price=indicators["close"], portfolio_value=10_000.0
        )
        sources = {vote.source: vote for vote in decision.votes}
        return sources["llm"].reason

    assert asyncio.run(notebook_cell()) == "its weight is 0"
