"""The advisor: a model's view of a signal, asked for when a trigger fires, never in the way of a run."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.llm_advisor.answering import Answerer, NoAnswer
from ai_backtrader.llm_advisor.client import ModelServer
from ai_backtrader.llm_advisor.prompt import Question, build_prompt
from ai_backtrader.llm_advisor.recording import AnswerStore
from ai_backtrader.llm_advisor.report import AdvisorReport, Tally
from ai_backtrader.llm_advisor.schema import UnreadableAnswerError, content_of, parse_answer
from ai_backtrader.llm_advisor.settings import AdvisorSettings
from ai_backtrader.llm_advisor.triggers import Fired, MarketWatch
from ai_backtrader.llm_advisor.values import Advice, Consultation, RecordedAnswer
from ai_backtrader.values import Action, Direction, Regime

__all__ = ["NO_TRADE", "Advisor"]

NO_TRADE = "there is no trade to object to"
"""Why the advisor abstains where the signal is HOLD."""

_NOTHING: Mapping[str, float] = MappingProxyType({})
_ROUNDING = 1e-9  # a weighted mean of confidences of 1 may come out above it


class Advisor:
    """Asks a language model about a signal when something speaks against it, and abstains whenever it cannot.

    Whatever the server does, :meth:`advise` gives an advice within the timeout (plus a moment) or abstains with the
    reason. What the advice may do to a position is the orchestrator's business: unless told otherwise it can only
    lower the risk.

    Call :meth:`advise` on every bar, in order: the triggers know the usual from the bars before.

    Parameters
    ----------
    settings
        None takes the defaults.
    store
        Where answers are recorded; needed for the modes ``record`` and ``replay``.

    Attributes
    ----------
    consultations : list of Consultation
        Every question that was put to the model or its recording in this run, in order.

    Examples
    --------
    >>> advisor = Advisor(AdvisorSettings(mode="off"))
    >>> advisor.advise("BTC/USDT", 95393.0, -2.3, "LONG", "strong_bull", 7.67).reason
    'the advisor is off'
    """

    def __init__(self, settings: AdvisorSettings | None = None, *, store: AnswerStore | None = None) -> None:
        self.settings = AdvisorSettings() if settings is None else settings
        self.server = ModelServer(self.settings.server)
        self._answerer = Answerer(self.settings, store, self.server)
        self.start_run()

    def start_run(self) -> None:
        """Begin a new run: nothing of the last one's bars, answers and budget is remembered.

        The circuit breaker and the day's budget, which belong to the server, go on.
        """
        self._answerer.start_run()
        self._watches: dict[str, MarketWatch] = {}
        self._asked_at: dict[str, int] = {}
        self._tally = Tally()
        self.consultations: list[Consultation] = []

    def advise(
        self,
        symbol: str,
        price: float,
        change_24h: float | None,
        signal: Action | Direction | str,
        regime: Regime | str | None = None,
        portfolio_pnl: float | None = None,
        *,
        confidence: float | None = None,
        high_volatility: bool | None = None,
        position: float = 0.0,
        indicators: Mapping[str, float] = _NOTHING,
        headline: str = "",
        reasoning: str = "",
        at: dt.datetime | None = None,
    ) -> Advice:
        """Advise on a signal, or abstain.

        Parameters
        ----------
        symbol, price
            What is traded, at what price (quote currency); a blind prompt holds neither.
        change_24h, portfolio_pnl
            Percent points (-2.3 is -2.3 %); None or NaN is unknown.
        signal, confidence
            What is about to be done (BUY/SELL/HOLD or LONG/SHORT/FLAT) and how surely, 0 to 1.
        regime, high_volatility
            Of the market; None is unknown.
        position
            Signed units held.
        indicators
            Raw features of the bar by name, for the trigger on unusual conditions.
        headline, reasoning
            Free text from outside; quoted in an open prompt, left out of a blind one.
        at
            UTC time of the bar.

        Returns
        -------
        Advice
            ``abstained`` unless the model was asked and answered in the form asked for.

        Raises
        ------
        SettingsError
            If an argument is no number or no label of its kind.
        MissingAnswerError
            In a replay with ``on_miss="raise"``.
        """
        if self.settings.mode == "off":
            return Advice(abstained=True, reason="the advisor is off")
        question = _question(
            symbol, price, change_24h, signal, regime, portfolio_pnl, confidence, high_volatility, position, headline,
            reasoning,
        )  # fmt: skip
        watch = self._watch(symbol)
        idle = question.signal is Action.HOLD and not self.settings.consult_on_hold
        fired = watch.look(
            signal=question.signal,
            change_24h=question.change_24h,
            regime=question.regime,
            high_volatility=question.high_volatility,
            figures=indicators,
            judge=not idle,
        )
        reason = self._why_not_ask(symbol, watch.bars, fired, idle=idle)
        if reason:
            advice = Advice(abstained=True, reason=reason)
            advice = _told(advice, fired) if fired else advice
        else:
            self._asked_at[symbol] = watch.bars
            advice = self._consult(question, fired)
            self.consultations.append(Consultation(symbol=symbol, at=at, signal=question.signal, advice=advice))
        self._tally.count(advice, at)
        return advice

    def pass_bars(
        self,
        symbol: str,
        figures: NDArray[np.float64],
        regimes: Sequence[Regime],
        *,
        first_at: dt.datetime | None = None,
        last_at: dt.datetime | None = None,
    ) -> None:
        """Take in bars whose signal was HOLD, at once: as :meth:`advise` for each of them, which abstains.

        Parameters
        ----------
        figures
            (n, 8) raw :data:`UNUSUAL_FIGURES` of the bars after the last one; NaN where there is none.
        regimes
            Their n labels.
        first_at, last_at
            UTC times of the first and the last of them.
        """
        if self.settings.mode == "off" or not len(figures):
            return
        self._watch(symbol).pass_bars(figures, regimes)
        self._tally.count_held(len(figures), NO_TRADE, first_at, last_at)

    def _watch(self, symbol: str) -> MarketWatch:
        watch = self._watches.get(symbol)
        if watch is None:
            watch = self._watches[symbol] = MarketWatch(self.settings.triggers)
        return watch

    def report(self) -> AdvisorReport:
        """What the advisor did in this run, of which model, and what to mind when reading its results."""
        return self._tally.report(self.settings, self._answerer, consultations=len(self.consultations))

    def _why_not_ask(self, symbol: str, bar: int, fired: tuple[Fired, ...], *, idle: bool) -> str:
        if idle:
            return NO_TRADE
        if not fired:
            return "no trigger fired"
        last = self._asked_at.get(symbol)
        if last is not None and bar - last < self.settings.min_bars:
            return f"the model was asked less than {self.settings.min_bars} bars ago"
        return ""

    def _consult(self, question: Question, fired: tuple[Fired, ...]) -> Advice:
        settings = self.settings
        asked = replace(question, reasons=tuple(trigger.value for trigger, _ in fired))
        prompt = build_prompt(asked, blind=settings.blind, change_step=settings.change_step, pnl_step=settings.pnl_step)
        answer = self._answerer.answer(prompt)
        if isinstance(answer, NoAnswer):
            return _told(Advice(abstained=True, reason=answer.reason, failed=answer.failed), fired)
        return _told(_read(answer, settings.server.api), fired)


def _question(
    symbol: str, price: float, change_24h: float | None, signal: Action | Direction | str, regime: Regime | str | None,
    portfolio_pnl: float | None, confidence: float | None, high_volatility: bool | None, position: float, headline: str,
    reasoning: str,
) -> Question:  # fmt: skip
    faults = Faults("advise")
    faults.number("price", price, above=0.0)
    faults.number("position", position)
    change_24h = _known(faults, "change_24h", change_24h)
    portfolio_pnl = _known(faults, "portfolio_pnl", portfolio_pnl)
    if confidence is not None:
        faults.number("confidence", confidence, low=0.0, high=1.0 + _ROUNDING)
    texts: tuple[tuple[str, object], ...] = (("symbol", symbol), ("headline", headline), ("reasoning", reasoning))
    for name, text in texts:
        if not isinstance(text, str):
            faults.add(f"{name} must be text, got {text!r}")
    faults.raise_if_any()
    return Question(
        symbol=symbol,
        price=float(price),
        change_24h=change_24h,
        signal=signal if isinstance(signal, Action) else Action.parse(signal),
        regime=Regime.parse(regime),
        portfolio_pnl=portfolio_pnl,
        confidence=None if confidence is None else min(float(confidence), 1.0),
        high_volatility=None if high_volatility is None else bool(high_volatility),
        position=position,
        headline=headline,
        reasoning=reasoning,
    )


def _known(faults: Faults, name: str, value: float | None) -> float | None:
    """The number, None where it is unknown (NaN, infinite)."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    faults.number(name, value)
    return value


def _read(answer: RecordedAnswer, api: str) -> Advice:
    about = Advice(
        abstained=True,
        failed=True,
        model=answer.model,
        model_digest=answer.model_digest,
        key=answer.key,
        seconds=answer.seconds,
    )
    if answer.status != 200:
        return replace(about, reason=answer.reply)
    raw = answer.reply
    try:
        raw = content_of(api, answer.reply)
        found = parse_answer(raw)
    except UnreadableAnswerError as error:
        return replace(about, reason=f"unreadable answer: {error}", raw=_storable(raw))
    return replace(about, abstained=False, failed=False, raw=_storable(raw), **found._asdict())


def _storable(text: str) -> str:
    # JSON can spell half a character, which no file or database takes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _told(advice: Advice, fired: tuple[Fired, ...]) -> Advice:
    return replace(
        advice,
        triggers=tuple(trigger for trigger, _ in fired),
        trigger_details=tuple(detail for _, detail in fired),
    )
