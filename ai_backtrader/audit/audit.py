"""The audit: one strategy, two brokers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import backtrader as bt

from ai_backtrader.analyzers.recording import times_of
from ai_backtrader.audit.compare import ACCOUNT, account_findings, first_refusal, gathered, refused_exits
from ai_backtrader.audit.findings import AuditEvent, FindingKind
from ai_backtrader.audit.record import Record, Witness
from ai_backtrader.audit.report import AuditReport, audited_run
from ai_backtrader.audit.settings import AuditError, AuditSettings
from ai_backtrader.audit.shadow import Found, follow
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.checks import Faults
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData

__all__ = ["audit_strategy"]


def audit_strategy(strategy_class: Any, data: MarketData | Sequence[MarketData], **settings: Any) -> AuditReport:
    """Say what Backtrader's own broker hides about a strategy that exists.

    The strategy runs unchanged twice over the same bars: on Backtrader's broker with ``setcommission(leverage=…)``, as
    its user sets it, and on ``LeverageBroker(leverage=…, margin_always=True)``. An analyzer that only looks writes down
    the first run; its fills are then followed with the margin that an exchange asks for (isolated, maintenance by tier,
    on the mark price where the data have one). Every finding but the last two kinds is a fact of that first run alone.

    Parameters
    ----------
    strategy_class
        Subclass of ``backtrader.Strategy``; see :func:`load_strategy` for one in a file.
    data
        One feed, or several, which may differ in bar length: a longer bar reaches the strategy together with the short
        bar in which it ends, not at its start.
    **settings
        See :class:`AuditSettings`: ``leverage``, ``cash``, ``commission``, ``slippage``, ``tiers``,
        ``liquidation_fee``, ``funding``, ``funding_hours``, ``params`` (of the strategy), ``sizer`` (a class) and
        ``sizer_params``.

    Returns
    -------
    AuditReport
        Findings with dates, bars and money; both equity curves; both metrics.

    Raises
    ------
    AuditError
        If the strategy raises on Backtrader's own broker; the message names bar and error.
    SettingsError
        If a setting is wrong, the class is no strategy, or there are no data.

    Examples
    --------
    >>> import backtrader as bt
    >>> from ai_backtrader.datafeeds import load_sample
    >>> class Hold(bt.Strategy):
    ...     def next(self):
    ...         if not self.position:
    ...             self.buy(size=5_000)
    >>> audit_strategy(Hold, load_sample().head(500)).clean
    True
    """
    account = AuditSettings(**settings)
    feeds = (data,) if isinstance(data, MarketData) else tuple(data)
    faults = Faults("audit_strategy")
    if not (isinstance(strategy_class, type) and issubclass(strategy_class, bt.Strategy)):
        faults.add(f"strategy_class must be a subclass of backtrader.Strategy, got {strategy_class!r}")
    if not feeds or any(not isinstance(feed, MarketData) for feed in feeds):
        faults.add(f"data must be MarketData or several of them, got {data!r}")
    faults.raise_if_any()
    names = _names(feeds)

    broker = bt.brokers.BackBroker()
    broker.setcommission(commission=account.commission, leverage=account.leverage)
    first, error, _ = _run(strategy_class, feeds, names, account, broker)
    if error is not None:
        raise AuditError(_failure(strategy_class, first, names, error, "Backtrader's own broker")) from error

    exchange = LeverageBroker(
        leverage=account.leverage,
        max_leverage=max(125.0, account.leverage),
        margin_always=True,
        tiers=account.table,
        liquidation_fee=account.liquidation_fee,
        funding=account.funding,
        funding_hours=account.funding_hours,
    )
    exchange.setcommission(commission=account.commission)
    second, error, exchange = _run(strategy_class, feeds, names, account, exchange)

    found = follow(first, feeds, names, account)
    found += refused_exits(first, names)
    found += first_refusal(first, second, names)
    found += _failed_there(strategy_class, second, names, error)
    findings = [*gathered(found), *account_findings(first, account.cash)]
    return AuditReport(
        strategy=strategy_class.__name__,
        feeds=tuple(names),
        leverage=float(account.leverage),
        start_cash=float(account.cash),
        findings=tuple(sorted(findings, key=lambda finding: finding.first_bar)),
        backtrader=audited_run("Backtrader", first, start=account.cash),
        exchange=audited_run(
            "exchange", second, start=account.cash,
            liquidations=tuple(exchange.liquidations), funding=exchange.funding_paid(),
            interest=float(sum(exchange.d_credit.values())),
        ),
        data_sha256=tuple(feed.fingerprint for feed in feeds),
    )  # fmt: skip


def _names(feeds: tuple[MarketData, ...]) -> list[str]:
    """A name for each feed, told apart where the symbol is the same (a market in two bar lengths)."""
    names: list[str] = []
    for feed in feeds:
        name, number = feed.symbol, 2
        while name in names:
            name, number = f"{feed.symbol}#{number}", number + 1
        names.append(name)
    return names


def _run(
    strategy_class: Any, feeds: tuple[MarketData, ...], names: list[str], account: AuditSettings, broker: Any
) -> tuple[Record, Exception | None, Any]:
    """The record of a run, with the error that ended it, if one did, and the broker."""
    record = Record()
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = broker
    cerebro.broker.setcash(account.cash)
    if account.slippage:
        cerebro.broker.set_slippage_perc(account.slippage)
    for feed, name in zip(feeds, names, strict=True):
        cerebro.adddata(PerpetualData(dataname=feed, name=name))
    cerebro.addstrategy(strategy_class, **dict(account.params))
    if account.sizer is not None:
        cerebro.addsizer(account.sizer, **dict(account.sizer_params))
    cerebro.addanalyzer(Witness, record=record)
    try:
        cerebro.run()
    except Exception as error:  # anything that a user's code may raise: it is named, with the bar, by the caller
        return record, error, cerebro.broker
    return record, None, cerebro.broker


def _failed_there(strategy_class: Any, record: Record, names: list[str], error: Exception | None) -> list[Found]:
    if error is None:
        return []
    steps = times_of(record.numbers).astype("datetime64[s]").tolist()
    if not steps:
        raise AuditError(_failure(strategy_class, record, names, error, "LeverageBroker")) from error
    text = _failure(strategy_class, record, names, error, "LeverageBroker")
    event = AuditEvent(bar=record.steps, time=steps[-1], feed=ACCOUNT, money=0.0, text=text)
    return [(FindingKind.STRATEGY_FAILS, event)]


def _failure(strategy_class: Any, record: Record, names: list[str], error: Exception, where: str) -> str:
    place = f"bar {record.steps}"
    if record.steps:
        place += f", after {str(times_of(record.numbers)[-1].astype('datetime64[m]')).replace('T', ' ')},"
    return (
        f"{strategy_class.__name__} raised {type(error).__name__}: {error} on {place} of {', '.join(names)}, on {where}"
    )
