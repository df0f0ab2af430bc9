"""Backtrader brokers with real margin: leverage, funding and liquidation inside the simulation."""

from ai_backtrader.brokers.closed_trades import TradeRecorder
from ai_backtrader.brokers.instruments import Instrument
from ai_backtrader.brokers.leverage_broker import LeverageBroker
from ai_backtrader.brokers.paper import PaperTrade
from ai_backtrader.brokers.records import Liquidation

__all__ = ["Instrument", "LeverageBroker", "Liquidation", "PaperTrade", "TradeRecorder"]
