"""Chromosomes as plain Backtrader files, which import nothing of this package."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from ai_backtrader.checks import Faults
from ai_backtrader.rules import Gene, HoldGene, Operator, Section, Series, StrategyChromosome
from ai_backtrader.strategies.series_source import helpers_of, series_source
from ai_backtrader.strategies.tuning import PREFIXES, constant_name, series_names

__all__ = ["export_source"]

_LINE = 92  # longest line inside a method, unindented
_COMPARISONS = {Operator.BELOW: "<", Operator.ABOVE: ">"}
_CROSSINGS = {Operator.CROSSES_ABOVE: "CrossUp", Operator.CROSSES_BELOW: "CrossDown"}
_METHODS = {"entry_long": "long_entry", "entry_short": "short_entry", "exit": "exit_signal", "filters": "filters"}
_HEADINGS = {"entry_long": "Long when", "entry_short": "Short when", "exit": "Exit when", "filters": "Only if"}
_RISK_COMMENTS = {
    "position_size": "margin as a share of equity",
    "leverage": "multiple of the margin",
    "stop_atr": "distance of the stop in ATR",
    "trailing_atr": "distance of the trailing stop in ATR",
    "take_profit_atr": "distance of the target in ATR",
    "atr_period": "bars",
}


@dataclass
class _Parts:
    """What the genes put into the class: params, indicators, and a condition for each gene by section."""

    params: list[str] = field(default_factory=list)
    indicators: list[str] = field(default_factory=list)
    conditions: dict[str, list[str]] = field(default_factory=dict)


def export_source(chromosome: StrategyChromosome, *, trials: int | None = None) -> str:
    """Source of a plain Backtrader file with the strategy in it.

    The file imports Backtrader and the standard library only. Run as a script on a CSV file it prints the fills. At
    leverage 1 these are the fills of :func:`~ai_backtrader.strategies.compile_strategy` in Cerebro, bit for bit; above
    it, the orders carry ``leverage=``, for a broker that knows it
    (:class:`~ai_backtrader.brokers.LeverageBroker`). Params have the names of the compiled class; parts that the
    chromosome does not use are left out. The class attribute ``evolved_from`` holds the chromosome as JSON text.

    Parameters
    ----------
    chromosome
        The rules.
    trials
        How many strategies the search that found it looked at: kept as the class attribute ``searched_trials``, which
        :func:`~ai_backtrader.analyzers.compare` counts; None where nobody knows.

    Returns
    -------
    str
        Python source, with a class ``Evolved_<first ten digits of the fingerprint>``.

    Raises
    ------
    SettingsError
        If ``trials`` is not a whole number above 0.

    Examples
    --------
    >>> import numpy as np
    >>> source = export_source(StrategyChromosome.random(np.random.default_rng(1)))
    >>> "import backtrader as bt" in source, "ai_backtrader" in source
    (True, False)
    """
    if trials is not None:
        faults = Faults("export_source")
        faults.whole("trials", trials, low=1)
        faults.raise_if_any()
    name = f"Evolved_{chromosome.fingerprint[:10]}"
    parts = _parts(chromosome)
    used = {series.name for series in chromosome.series}
    strategy = _strategy(chromosome, name, parts, trials)
    pieces = [_heading(chromosome, name, trials), *helpers_of(used), strategy, _script(name)]
    return "\n\n".join(pieces)


# ---------------------------------------------------------------------------------------------------------- the genes


def _parts(chromosome: StrategyChromosome) -> _Parts:
    parts = _Parts()
    for name, section in chromosome.sections.items():
        parts.conditions[name] = []
        for position, gene in enumerate(section.genes, start=1):
            comment = f"# {_HEADINGS[name]} {gene.describe()}"
            parts.params.append(comment)
            if gene.series:
                parts.indicators.append(comment)
            parts.conditions[name].append(_gene(f"{PREFIXES[name]}{position}", gene, parts))
    return parts


def _gene(prefix: str, gene: Gene | HoldGene, parts: _Parts) -> str:
    """Write a gene's params and indicators; gives its condition."""
    if isinstance(gene, HoldGene):
        parts.params.append(f"{prefix}_hold={gene.bars},")
        return f"len(self) - self.entry_bar > self.p.{prefix}_hold"
    left = _series(prefix, gene.left, parts)
    if isinstance(gene.right, Series):
        right = _series(f"{prefix}_than", gene.right, parts)
    else:
        constant = constant_name(prefix, gene)
        parts.params.append(f"{constant}={gene.right!r},")
        right = f"self.p.{constant}"
    if gene.operator in _CROSSINGS:
        other = right.replace("self.p.", "p.")
        parts.indicators += _wrapped(f"self.{prefix}_cross = bt.ind.{_CROSSINGS[gene.operator]}({left}, {other})")
        return f"self.{prefix}_cross[0] > 0"
    if gene.upper is not None:
        upper = f"{prefix}_{gene.left.name}_to"
        parts.params.append(f"{upper}={gene.upper!r},")
        return f"{right} <= {left}[0] <= self.p.{upper}"
    if isinstance(gene.right, Series):
        right += "[0]"
    return f"{left}[0] {_COMPARISONS[gene.operator]} {right}"


def _series(prefix: str, series: Series, parts: _Parts) -> str:
    names = series_names(prefix, series)
    parts.params += [f"{name}={value!r}," for name, value in zip(names, series.params, strict=True)]
    statements, line = series_source(series, f"self.{prefix}_{series.name}", [f"p.{name}" for name in names])
    for statement in statements:
        parts.indicators += _wrapped(statement)
    return line


def _wrapped(statement: str) -> list[str]:
    """An assignment whose first call has its arguments on lines of their own where it is long."""
    if len(statement) <= _LINE:
        return [statement]
    head, _, rest = statement.partition("(")
    arguments = [""]
    depth = 0
    for character in rest:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
        if character == "," and not depth:
            arguments.append("")
        else:
            arguments[-1] += character
    tail = rest[len(",".join(arguments)) :]  # from the bracket that closes the call
    return [f"{head}(", *(f"    {argument.strip()}," for argument in arguments), tail]


def _section_method(name: str, section: Section, conditions: list[str], required: int) -> list[str]:
    lines = [f"def {_METHODS[name]}(self):"]
    if required == len(conditions):
        joined, word = conditions, " and "
    elif required == 1:
        joined, word = conditions, " or "
    else:
        counted = [f"        {condition}," for condition in conditions]
        lines += [f"    # At least {required} of {len(section)}.", "    signals = [", *counted, "    ]"]
        return [*lines, f"    return sum(signals) >= {required}"]
    plain = f"    return {word.join(joined)}"
    if len(plain) <= _LINE:
        return [*lines, plain]
    rest = [f"        {word.strip()} {condition}" for condition in joined[1:]]
    return [*lines, "    return (", f"        {joined[0]}", *rest, "    )"]


# ------------------------------------------------------------------------------------------------------ the strategy


def _heading(chromosome: StrategyChromosome, name: str, trials: int | None) -> str:
    searched = (
        ""
        if trials is None
        else f"\nChosen from {trials:,} strategies that a search looked at: its past is the best of as many.\n"
    )
    levered = (
        "\nOrders carry leverage=, which Backtrader's own broker does not know: use a broker that does,\n"
        "or the orders need the cash of their whole value.\n"
        if chromosome.risk.leverage > 1.0
        else ""
    )
    return (
        f'"""{name}: a strategy for Backtrader.\n\n'
        f"{chromosome.describe()}\n{levered}{searched}\n"
        "It decides at the close of each bar; orders fill at the next open. On a CSV file:\n\n"
        f'    python {name.lower()}.py prices.csv\n"""\n\n'
        "import argparse\nimport csv\nimport datetime\n\nimport backtrader as bt\n"
    )


def _strategy(chromosome: StrategyChromosome, name: str, parts: _Parts, trials: int | None) -> str:
    risk, required = chromosome.risk, chromosome.required._asdict()
    holds = any(isinstance(gene, HoldGene) for gene in chromosome.exit.genes)
    setup = list(parts.indicators)
    if risk.needs_atr:
        setup += ["# What stops and targets are measured in", "self.atr = bt.ind.ATR(self.data, period=p.atr_period)"]
    if any(" p." in line or "(p." in line or "=p." in line for line in setup):
        setup.insert(0, "p = self.p")
    if risk.needs_atr and _leaves(chromosome):
        setup.append("self.children = []")
    if holds:
        setup += ["self.entry = None", "self.entry_bar = 0"]
    methods = [
        _section_method(section, chromosome.sections[section], conditions, required[section])
        for section, conditions in parts.conditions.items()
        if conditions
    ]
    if holds:
        methods.append(
            [
                "def notify_order(self, order):",
                "    if order.status == order.Completed and self.entry is not None and order.ref == self.entry.ref:",
                "        self.entry_bar = len(self)",
            ]
        )
    methods += [_next(chromosome), *_leave(chromosome), _enter(chromosome, holds)]
    body = ["params = dict(", *(f"    {line}" for line in [*_risk_params(chromosome), *parts.params]), ")", ""]
    if setup:
        body += ["def __init__(self):", *(f"    {line}" for line in setup), ""]
    for method in methods:
        body += [*method, ""]
    body += [*_rules_as_data(chromosome, trials), ""]
    return f"class {name}(bt.Strategy):\n" + textwrap.indent("\n".join(body[:-1]), "    ") + "\n"


def _rules_as_data(chromosome: StrategyChromosome, trials: int | None) -> list[str]:
    """What ``compare`` simulates beside the file's run: readers of the file need not look at it."""
    text, width = chromosome.to_json(), _LINE - 8
    pieces = [text[place : place + width] for place in range(0, len(text), width)]
    return [
        "# The rules that this file was written from, for programs.",
        "evolved_from = (",
        *(f"    {piece!r}" for piece in pieces),
        ")",
        *([] if trials is None else [f"searched_trials = {trials}"]),
    ]


def _risk_params(chromosome: StrategyChromosome) -> list[str]:
    risk = chromosome.risk
    used = {
        "position_size": True,
        "leverage": risk.leverage > 1.0,
        "stop_atr": risk.stop_atr,
        "trailing_atr": risk.trailing_atr,
        "take_profit_atr": risk.take_profit_atr,
        "atr_period": risk.needs_atr,
    }
    return [f"{name}={getattr(risk, name)!r},  # {_RISK_COMMENTS[name]}" for name, is_used in used.items() if is_used]


def _next(chromosome: StrategyChromosome) -> list[str]:
    """Method ``next``, with the branches that the chromosome has."""
    filtered = "self.filters() and " if chromosome.filters.genes else ""
    sides = {1: ("long_entry", chromosome.entry_long), -1: ("short_entry", chromosome.entry_short)}
    entries = {side: f"{filtered}self.{method}()" for side, (method, section) in sides.items() if section.genes}
    lines = ["def next(self):", "    if not self.position:"]
    for word, (side, condition) in zip(("if", "elif"), entries.items(), strict=False):
        lines += [f"        {word} {condition}:", f"            self.enter({side})"]
    if _reverses(chromosome):
        for side, condition in entries.items():
            compared = "<" if side > 0 else ">"
            lines += [f"    elif self.position.size {compared} 0 and {condition}:", "        self.leave()"]
            lines.append(f"        self.enter({side})")
    if chromosome.exit.genes:
        lines += ["    elif self.exit_signal():", "        self.leave()"]
    return lines


def _reverses(chromosome: StrategyChromosome) -> bool:
    return chromosome.risk.reverse and bool(chromosome.entry_long.genes) and bool(chromosome.entry_short.genes)


def _leaves(chromosome: StrategyChromosome) -> bool:
    return bool(chromosome.exit.genes) or _reverses(chromosome)


def _leave(chromosome: StrategyChromosome) -> list[list[str]]:
    if not _leaves(chromosome):
        return []
    lines = ["def leave(self):"]
    if chromosome.risk.needs_atr:
        lines += ["    for order in self.children:", "        self.cancel(order)", "    self.children = []"]
    return [[*lines, "    self.close()"]]


def _enter(chromosome: StrategyChromosome, holds: bool) -> list[str]:
    risk = chromosome.risk
    levered = " * self.p.leverage" if risk.leverage > 1.0 else ""
    lines = [
        "def enter(self, side):",
        "    close = self.data.close[0]",
        f"    size = self.broker.getvalue() * self.p.position_size{levered} / close",
        "    if size <= 0:",
        "        return  # the account is empty",
    ]
    if not risk.needs_atr:
        keyword = ", leverage=self.p.leverage" if levered else ""
        keep = "self.entry = " if holds else ""
        return [*lines, "    send = self.buy if side > 0 else self.sell", f"    {keep}send(size=size{keyword})"]
    arguments = ["size=size", "exectype=bt.Order.Market"]
    if levered:
        arguments.append("oargs=dict(leverage=self.p.leverage)")
    if risk.stop_atr:
        arguments.append("stopprice=close - side * (self.p.stop_atr * self.atr[0])")
    elif risk.trailing_atr:
        arguments.append("stopexec=bt.Order.StopTrail")
        arguments.append("stopargs=dict(trailamount=self.p.trailing_atr * self.atr[0])")
    else:
        arguments.append("stopexec=None")
    if risk.take_profit_atr:
        arguments.append("limitprice=close + side * (self.p.take_profit_atr * self.atr[0])")
    else:
        arguments.append("limitexec=None")
    lines.append("    bracket = self.buy_bracket if side > 0 else self.sell_bracket")
    call = [*(f"        {argument}," for argument in arguments), "    )"]
    if not _leaves(chromosome):
        return [*lines, "    bracket(", *call]
    kept = "    self.children = [order for order in children if order is not None]"
    return [*lines, f"    {'self.entry' if holds else '_'}, *children = bracket(", *call, kept]


# -------------------------------------------------------------------------------------------------------- the script

_SCRIPT = '''\
class Fills(bt.Analyzer):
    """Prints every fill."""

    def start(self):
        print("bar,time,price,size,commission,pnl")

    def notify_order(self, order):
        if order.status in (order.Partial, order.Completed):
            fill = order.executed
            bar, time = len(order.data) - 1, order.data.datetime.datetime(0)
            print(bar, time, fill.price, fill.size, fill.comm, fill.pnl, sep=",")


def utc(text):
    """Naive UTC time of an ISO 8601 text."""
    time = datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    return time.astimezone(datetime.timezone.utc).replace(tzinfo=None) if time.tzinfo else time


def feed(path):
    """Feed of a CSV file with a header: time (ISO 8601), open, high, low, close, perhaps volume."""
    with open(path, newline="") as file:
        header = [name.strip().lower() for name in next(csv.reader(file))]
    times = [name for name in ("datetime", "timestamp", "open_time", "date", "time") if name in header]
    missing = [name for name in ("open", "high", "low", "close") if name not in header]
    if missing or not times:
        raise SystemExit(f"{path}: no column {', '.join(missing) or 'datetime'} in {', '.join(header)}")
    columns = {name: header.index(name) for name in ("open", "high", "low", "close")}
    columns["volume"] = header.index("volume") if "volume" in header else -1
    return bt.feeds.GenericCSVData(
        dataname=path,
        dtformat=utc,
        datetime=header.index(times[0]),
        time=-1,
        openinterest=-1,
        nullvalue=0.0,
        timeframe=bt.TimeFrame.Minutes,
        **columns,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("csv", help="prices with a header: datetime, open, high, low, close, volume")
    parser.add_argument("--cash", type=float, default=10_000.0)
    parser.add_argument("--commission", type=float, default=0.0005, help="fraction of the value traded")
    arguments = parser.parse_args()

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed(arguments.csv))
    cerebro.broker.setcash(arguments.cash)
    cerebro.broker.setcommission(commission=arguments.commission)
    cerebro.addstrategy(NAME)
    cerebro.addanalyzer(Fills)
    cerebro.run()
    print(f"final value {cerebro.broker.getvalue()!r}")
'''


def _script(name: str) -> str:
    return _SCRIPT.replace("addstrategy(NAME)", f"addstrategy({name})")
