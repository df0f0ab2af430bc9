"""Chromosomes as Backtrader strategies: :func:`compile_strategy` makes a ``bt.Strategy`` class of one."""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable
from typing import Any

import backtrader as bt

from ai_backtrader.errors import SettingsError
from ai_backtrader.rules import Gene, HoldGene, Operator, Section, Series, StrategyChromosome
from ai_backtrader.strategies.series_lines import SeriesLines
from ai_backtrader.strategies.tuning import tunable_params, with_params

__all__ = ["EvolvedStrategy", "compile_strategy"]

Condition = Callable[[], bool]


class MetaEvolved(type(bt.Strategy)):  # type: ignore[misc]  # Backtrader has no types
    """Metaclass of compiled strategies, by which their classes pickle: as their chromosome's JSON (see below)."""


class EvolvedStrategy(bt.Strategy, metaclass=MetaEvolved):
    """Base of the compiled strategies.

    Trades every feed that it is given by itself, each with the whole account's equity as its measure; sizes of several
    feeds add up. At the close of a bar: flat, it enters long or else short; in a position, the exit section or (with
    ``reverse``) the opposite entry cancels the bracket and closes, and the opposite entry opens the other side with
    the same bar. Orders carry ``order.info["reason"]``: entry, exit, reversal, stop, target or trailing.

    Params:
      - ``position_size``, ``leverage``, ``stop_atr``, ``take_profit_atr``, ``trailing_atr``, ``atr_period``,
        ``reverse``: see :class:`~ai_backtrader.rules.RiskParameters`
      - every number of the genes under its own name (``long1_rsi_period``, ``long1_rsi_below``, ``exit1_hold``)
      - ``use_sizer`` (default: ``False``): leave size and leverage to the strategy's sizer

    Above leverage 1 entries carry ``leverage=``, which :class:`~ai_backtrader.brokers.LeverageBroker` reads;
    Backtrader's own broker takes them as unlevered orders that need the cash.

    Attributes
    ----------
    chromosome
        The rules that the class was made of.
    rules
        The rules in force: the chromosome with the params of this instance.
    """

    chromosome: StrategyChromosome | None = None
    params = (("use_sizer", False),)

    def __init__(self) -> None:
        if self.chromosome is None:
            raise SettingsError("EvolvedStrategy", ["has no rules; make a strategy with compile_strategy(chromosome)"])
        given = {name: getattr(self.p, name) for name in tunable_params(self.chromosome)}
        self.rules = with_params(self.chromosome, given)
        self._desks = [_Desk(self, data) for data in self.datas]

    def notify_order(self, order: Any) -> None:
        """Note the bar at which an entry filled: ``hold > n`` counts from it."""
        if order.status == order.Completed:
            for desk in self._desks:
                if order.ref == desk.entry_ref:
                    desk.entry_bar = len(desk.data)

    def next(self) -> None:
        """Decide at the close of the bar, once a bar for each feed."""
        for desk in self._desks:
            if len(desk.data) != desk.decided:
                desk.decided = len(desk.data)
                desk.decide()


class _Desk:
    """What the strategy does with one feed. Its indicators belong to the strategy, in whose ``__init__`` it is made."""

    def __init__(self, strategy: EvolvedStrategy, data: Any) -> None:
        self.strategy, self.data = strategy, data
        self.decided = 0
        self.entry_ref = 0  # Backtrader's references start at 1
        self.entry_bar = 0
        self.children: tuple[Any, ...] = ()
        rules = strategy.rules
        required = rules.required
        self._lines = SeriesLines(data)
        self._long = self._section(rules.entry_long, required.entry_long)
        self._short = self._section(rules.entry_short, required.entry_short)
        self._exit = self._section(rules.exit, required.exit)
        self._filters = self._section(rules.filters, required.filters) if rules.filters.genes else None
        self._risk = rules.risk
        self._atr: Any = self._lines.atr(rules.risk.atr_period) if rules.risk.needs_atr else None

    def decide(self) -> None:
        """Send the orders of this bar."""
        held = self.strategy.getposition(self.data).size
        if not held:
            if self._enters(1):
                self._enter(1)
            elif self._enters(-1):
                self._enter(-1)
            return
        other_side = -1 if held > 0 else 1
        turns = self._risk.reverse and self._enters(other_side)
        if turns or self._exit():
            for child in self.children:
                self.strategy.cancel(child)
            self.children = ()
            self.strategy.close(self.data, reason="reversal" if turns else "exit")
            if turns:
                self._enter(other_side)

    def _enters(self, side: int) -> bool:
        return (self._long if side > 0 else self._short)() and (self._filters is None or self._filters())

    def _enter(self, side: int) -> None:
        strategy, data, risk = self.strategy, self.data, self._risk
        close = data.close[0]
        oargs: dict[str, Any] = {"reason": "entry"}
        if strategy.p.use_sizer:
            size = strategy.getsizing(data, isbuy=side > 0)
        else:
            size = strategy.broker.getvalue() * risk.position_size * risk.leverage / close
            if risk.leverage > 1.0:
                oargs["leverage"] = risk.leverage
        if not size > 0.0:
            return
        bracket: dict[str, Any] = {"stopexec": None, "limitexec": None}
        if risk.stop_atr:
            bracket |= {"stopexec": bt.Order.Stop, "stopargs": {"reason": "stop"}}
            bracket["stopprice"] = close - side * (risk.stop_atr * self._atr[0])
        elif risk.trailing_atr:
            trailing = {"reason": "trailing", "trailamount": risk.trailing_atr * self._atr[0]}
            bracket |= {"stopexec": bt.Order.StopTrail, "stopargs": trailing}
        if risk.take_profit_atr:
            bracket |= {"limitexec": bt.Order.Limit, "limitargs": {"reason": "target"}}
            bracket["limitprice"] = close + side * (risk.take_profit_atr * self._atr[0])
        send = strategy.buy_bracket if side > 0 else strategy.sell_bracket
        entry, *children = send(data=data, size=size, exectype=bt.Order.Market, oargs=oargs, **bracket)
        self.entry_ref = entry.ref
        self.children = tuple(child for child in children if child is not None)

    def _section(self, section: Section, required: int) -> Condition:
        """Whether at least ``required`` genes are true; a section without genes is false."""
        genes = [self._gene(gene) for gene in section.genes]
        if not genes:
            return lambda: False
        if required == 1:
            return lambda: any(gene() for gene in genes)
        if required == len(genes):
            return lambda: all(gene() for gene in genes)
        return lambda: sum(gene() for gene in genes) >= required

    def _gene(self, gene: Gene | HoldGene) -> Condition:
        if isinstance(gene, HoldGene):
            bars = gene.bars
            return lambda: len(self.data) - self.entry_bar > bars
        left = self._lines.line(gene.left)
        right: Any = self._lines.line(gene.right) if isinstance(gene.right, Series) else gene.right
        match gene.operator:
            case Operator.CROSSES_ABOVE:
                crosses = bt.ind.CrossUp(left, right)
                return lambda: bool(crosses[0])
            case Operator.CROSSES_BELOW:
                crosses = bt.ind.CrossDown(left, right)
                return lambda: bool(crosses[0])
            case Operator.BETWEEN:
                upper: Any = gene.upper
                return lambda: bool(right <= left[0] <= upper)
            case Operator.BELOW:
                if isinstance(gene.right, Series):
                    return lambda: bool(left[0] < right[0])
                return lambda: bool(left[0] < right)
        if isinstance(gene.right, Series):
            return lambda: bool(left[0] > right[0])
        return lambda: bool(left[0] > right)


def compile_strategy(chromosome: StrategyChromosome) -> type[EvolvedStrategy]:
    """A ``bt.Strategy`` class of a chromosome, for ``cerebro.addstrategy`` and ``cerebro.optstrategy``.

    Parameters
    ----------
    chromosome
        The rules.

    Returns
    -------
    type
        Class ``Evolved_<first ten digits of the fingerprint>``; its docstring is the rules in words, its ``params`` are
        the numbers in them (see :class:`EvolvedStrategy`), validated when the strategy is made. Pickles to worker
        processes under fork, spawn and forkserver.

    Raises
    ------
    SettingsError
        If it is no chromosome.

    Notes
    -----
    Equal chromosomes give the same class. Backtrader keeps every class for ever: search with
    :mod:`ai_backtrader.simulation`, compile what is left.

    Examples
    --------
    >>> from ai_backtrader.rules import Gene, Section
    >>> rules = StrategyChromosome(entry_long=Section((Gene(Series("rsi", (14,)), "<", 30.0),)))
    >>> strategy = compile_strategy(rules)
    >>> strategy.__name__.startswith("Evolved_"), strategy.params.long1_rsi_below
    (True, 30.0)
    """
    given: object = chromosome
    if not isinstance(given, StrategyChromosome):
        raise SettingsError("compile_strategy", [f"chromosome must be a StrategyChromosome, got {given!r}"])
    return _compiled(chromosome)


@functools.cache
def _compiled(chromosome: StrategyChromosome) -> type[EvolvedStrategy]:
    body = {
        "__module__": __name__,
        "__doc__": chromosome.describe(),
        "chromosome": chromosome,
        "params": tuple(tunable_params(chromosome).items()),
    }
    made: type[EvolvedStrategy] = MetaEvolved(f"Evolved_{chromosome.fingerprint[:10]}", (EvolvedStrategy,), body)
    return made


def _compile_json(text: str) -> type[EvolvedStrategy]:
    return compile_strategy(StrategyChromosome.from_json(text))


def _reduce(cls: Any) -> str | tuple[Any, ...]:
    # A class made at run time cannot be found by name in a worker process: it travels as its rules.
    if "chromosome" in vars(cls) and cls.chromosome is not None:
        return (_compile_json, (cls.chromosome.to_json(),))
    return str(cls.__qualname__)


copyreg.pickle(MetaEvolved, _reduce)
