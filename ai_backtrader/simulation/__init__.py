"""The execution model, compiled: bars and rules in; fills, funding, liquidations and equity out."""

from ai_backtrader.simulation.result import FILL_DTYPE, TRADE_DTYPE, FillReason, SimulationResult, trades_of_fills
from ai_backtrader.simulation.settings import SimulationSettings
from ai_backtrader.simulation.simulator import Simulator, simulate
from ai_backtrader.simulation.statistics import STATISTICS_DTYPE

__all__ = [
    "FILL_DTYPE",
    "STATISTICS_DTYPE",
    "TRADE_DTYPE",
    "FillReason",
    "SimulationResult",
    "SimulationSettings",
    "Simulator",
    "simulate",
    "trades_of_fills",
]
