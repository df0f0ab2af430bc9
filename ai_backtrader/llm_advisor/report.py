"""What the advisor did in a run, and what to mind when reading its results."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ai_backtrader.llm_advisor.answering import Answerer
from ai_backtrader.llm_advisor.settings import AdvisorSettings
from ai_backtrader.llm_advisor.values import Advice
from ai_backtrader.values import FrozenMapping

__all__ = ["TRAINING_CUTOFFS", "AdvisorReport", "Tally", "training_cutoff"]

#: Until when families of models have read, by their publishers' model cards; the latest of a family.
TRAINING_CUTOFFS: Mapping[str, dt.date] = MappingProxyType(
    {
        "gemma3": dt.date(2024, 8, 31),
        "llama3": dt.date(2023, 12, 31),
        "llama3.1": dt.date(2023, 12, 31),
        "llama3.2": dt.date(2023, 12, 31),
        "llama3.3": dt.date(2023, 12, 31),
        "phi3": dt.date(2023, 10, 31),
        "phi4": dt.date(2024, 6, 30),
    }
)


def training_cutoff(model: str) -> dt.date | None:
    """Training cut-off of a model by Ollama's name for its family; None where it is not known.

    Examples
    --------
    >>> training_cutoff("llama3.2:3b")
    datetime.date(2023, 12, 31)
    """
    return TRAINING_CUTOFFS.get(model.rpartition("/")[2].partition(":")[0])


@dataclass(frozen=True, kw_only=True)
class AdvisorReport:
    """What the advisor did in a run.

    Attributes
    ----------
    model, model_digest, mode, blind
        Who was asked and how; the digest is None where it was not needed.
    training_cutoff
        Until when the model has read; None is unknown.
    bars, first_bar, last_bar
        Calls of ``advise``, and the times of the first and last bar; None where the caller did not say.
    consultations, advised
        Bars on which the model or its recording was asked; of these, those with an opinion.
    requests
        Requests sent to the server in this advisor's life.
    reasons
        Why it abstained, by count, most common first.
    triggers
        Why it was asked, by count.
    seconds
        That the model took for the answers of this run, recorded ones included.
    warnings
        What to mind.
    """

    model: str
    model_digest: str | None
    mode: str
    blind: bool
    training_cutoff: dt.date | None
    bars: int
    first_bar: dt.datetime | None
    last_bar: dt.datetime | None
    consultations: int
    advised: int
    requests: int
    reasons: Mapping[str, int] = field(default_factory=FrozenMapping)
    triggers: Mapping[str, int] = field(default_factory=FrozenMapping)
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


class Tally:
    """Counts a run's advice."""

    def __init__(self) -> None:
        self.bars = 0
        self.advised = 0
        self.seconds: dict[str, float] = {}
        self.reasons: Counter[str] = Counter()
        self.triggers: Counter[str] = Counter()
        self.first_bar: dt.datetime | None = None
        self.last_bar: dt.datetime | None = None

    def count(self, advice: Advice, at: dt.datetime | None) -> None:
        """Count one advice."""
        self.bars += 1
        self.last_bar = at if at is not None else self.last_bar
        self.first_bar = self.first_bar if self.first_bar is not None else at
        self.advised += not advice.abstained
        self.triggers.update(trigger.value for trigger in advice.triggers)
        if advice.abstained:
            self.reasons[advice.reason] += 1
        if advice.key:
            self.seconds[advice.key] = advice.seconds

    def count_held(self, bars: int, reason: str, first_at: dt.datetime | None, last_at: dt.datetime | None) -> None:
        """Count bars on which it abstained for one reason."""
        self.bars += bars
        self.last_bar = last_at if last_at is not None else self.last_bar
        self.first_bar = self.first_bar if self.first_bar is not None else first_at
        self.reasons[reason] += bars

    def report(self, settings: AdvisorSettings, answerer: Answerer, *, consultations: int) -> AdvisorReport:
        """The report of the run so far."""
        model = settings.server.model
        cutoff = settings.training_cutoff or training_cutoff(model)
        return AdvisorReport(
            model=model,
            model_digest=answerer.digest,
            mode=settings.mode,
            blind=settings.blind,
            training_cutoff=cutoff,
            bars=self.bars,
            first_bar=self.first_bar,
            last_bar=self.last_bar,
            consultations=consultations,
            advised=self.advised,
            requests=answerer.requests,
            reasons=FrozenMapping(self.reasons.most_common()),
            triggers=FrozenMapping(self.triggers),
            seconds=sum(self.seconds.values()),
            warnings=tuple(self._warnings(settings, cutoff)) if consultations else (),
        )

    def _warnings(self, settings: AdvisorSettings, cutoff: dt.date | None) -> list[str]:
        model = settings.server.model
        found = []
        if cutoff is None:
            found.append(f"the training cut-off of {model!r} is not known: it may have read how these data went on")
        elif self.first_bar is None:
            found.append(f"the bars came without times, so they cannot be set beside {model!r}'s cut-off of {cutoff}")
        elif self.first_bar.date() <= cutoff:
            share = "all" if self.last_bar is not None and self.last_bar.date() <= cutoff else "some"
            found.append(
                f"{share} of the data lie before the training cut-off of {model!r} ({cutoff}): it may have read "
                "how they went on"
            )
        if not settings.blind:
            found.append("the prompts told symbol and price, by which a model recognises history")
        return found
