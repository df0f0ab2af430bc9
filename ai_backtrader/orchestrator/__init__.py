"""Votes of the systems, combined into one decision, sized, and followed to its outcome."""

from ai_backtrader.orchestrator.attribution import (
    Attribution,
    LearntWeights,
    RecordedVotes,
    attribute,
    learn_weights,
    recombine,
    vote_values,
)
from ai_backtrader.orchestrator.orchestrator import Orchestrator
from ai_backtrader.orchestrator.outlook import Outlook
from ai_backtrader.orchestrator.ports import AdvicePort, OnlinePort, PositionSizer, TradeListener, VotePort
from ai_backtrader.orchestrator.settings import OrchestratorSettings
from ai_backtrader.orchestrator.technical import TechnicalSource, technical_pulls, technical_vote
from ai_backtrader.orchestrator.trades import direction_of
from ai_backtrader.orchestrator.values import SOURCES, Abstention, Adjustment, Advice, Context, Decision, Vote

__all__ = [
    "SOURCES",
    "Abstention",
    "Adjustment",
    "Advice",
    "AdvicePort",
    "Attribution",
    "Context",
    "Decision",
    "LearntWeights",
    "OnlinePort",
    "Orchestrator",
    "OrchestratorSettings",
    "Outlook",
    "PositionSizer",
    "RecordedVotes",
    "TechnicalSource",
    "TradeListener",
    "Vote",
    "VotePort",
    "attribute",
    "direction_of",
    "learn_weights",
    "recombine",
    "technical_pulls",
    "technical_vote",
    "vote_values",
]
