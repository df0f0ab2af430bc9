"""The LLM advisor: a model's view, bounded, recorded, replayable."""

from ai_backtrader.llm_advisor.advisor import NO_TRADE, Advisor
from ai_backtrader.llm_advisor.client import ModelServer, ServerError
from ai_backtrader.llm_advisor.configuration import ENVIRONMENT, get_advisor
from ai_backtrader.llm_advisor.deadline import Deadline
from ai_backtrader.llm_advisor.prompt import SYSTEM_PROMPT, Question, build_prompt, quoted
from ai_backtrader.llm_advisor.recording import AnswerFile, AnswerMemory, AnswerStore, answer_key
from ai_backtrader.llm_advisor.report import TRAINING_CUTOFFS, AdvisorReport, training_cutoff
from ai_backtrader.llm_advisor.schema import ADVICE_SCHEMA, Answer, UnreadableAnswerError, parse_answer
from ai_backtrader.llm_advisor.settings import AdvisorSettings, ServerSettings, TriggerSettings
from ai_backtrader.llm_advisor.triggers import UNUSUAL_FIGURES, MarketWatch, robust_distances
from ai_backtrader.llm_advisor.values import (
    Advice,
    Consultation,
    MissingAnswerError,
    ModelInfo,
    RecordedAnswer,
    Trigger,
)

__all__ = [
    "ADVICE_SCHEMA",
    "ENVIRONMENT",
    "NO_TRADE",
    "SYSTEM_PROMPT",
    "TRAINING_CUTOFFS",
    "UNUSUAL_FIGURES",
    "Advice",
    "Advisor",
    "AdvisorReport",
    "AdvisorSettings",
    "Answer",
    "AnswerFile",
    "AnswerMemory",
    "AnswerStore",
    "Consultation",
    "Deadline",
    "MarketWatch",
    "MissingAnswerError",
    "ModelInfo",
    "ModelServer",
    "Question",
    "RecordedAnswer",
    "ServerError",
    "ServerSettings",
    "Trigger",
    "TriggerSettings",
    "UnreadableAnswerError",
    "answer_key",
    "build_prompt",
    "get_advisor",
    "parse_answer",
    "quoted",
    "robust_distances",
    "training_cutoff",
]
