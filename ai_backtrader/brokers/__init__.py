"""Backtrader brokers with real margin: leverage, funding and liquidation inside the simulation."""

from ai_backtrader.brokers.closed_trades import TradeRecorder
from ai_backtrader.brokers.fund import FundBroker, Transfer
from ai_backtrader.brokers.instruments import Instrument
from ai_backtrader.brokers.leverage_broker import LeverageBroker
from ai_backtrader.brokers.paper import PaperTrade
from ai_backtrader.brokers.peak import EquityPeak
from ai_backtrader.brokers.presets import FX_MAJOR, FX_MINOR, US_STOCKS, CarryScheme, MarginPreset
from ai_backtrader.brokers.records import Liquidation

__all__ = [
    "FX_MAJOR",
    "FX_MINOR",
    "US_STOCKS",
    "CarryScheme",
    "EquityPeak",
    "FundBroker",
    "Instrument",
    "LeverageBroker",
    "Liquidation",
    "MarginPreset",
    "PaperTrade",
    "TradeRecorder",
    "Transfer",
]
