"""The life of a run: search, train, rehearse, allocate, walk forward; repeated on demand."""

from ai_backtrader.pipeline.fund import Crew, FundRun, run_fund
from ai_backtrader.pipeline.life import run_pipeline
from ai_backtrader.pipeline.members import BuyAndHold, RegimeRules, from_bar
from ai_backtrader.pipeline.parts import Parts, parts_of
from ai_backtrader.pipeline.replay import Replay, card_of, replay_run
from ai_backtrader.pipeline.result import STAGES, PipelineResult, Stage
from ai_backtrader.pipeline.settings import PROFILES, SYSTEMS, PipelineSettings, Profile

__all__ = [
    "PROFILES",
    "STAGES",
    "SYSTEMS",
    "BuyAndHold",
    "Crew",
    "FundRun",
    "Parts",
    "PipelineResult",
    "PipelineSettings",
    "Profile",
    "RegimeRules",
    "Replay",
    "Stage",
    "card_of",
    "from_bar",
    "parts_of",
    "replay_run",
    "run_fund",
    "run_pipeline",
]
