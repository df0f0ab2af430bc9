"""The execution model, compiled: bars and rules in; fills, funding, liquidations and equity out."""

from ai_backtrader.simulation.result import FILL_DTYPE, TRADE_DTYPE, FillReason, SimulationResult, trades_of_fills

__all__ = ["FILL_DTYPE", "TRADE_DTYPE", "FillReason", "SimulationResult", "trades_of_fills"]
