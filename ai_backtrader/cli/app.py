"""Commands, their options, and how failures leave the process.

Exit codes: 0 done; 1 the data, the settings or a file are wrong; 2 the command line is wrong; 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ai_backtrader.cli.advisor import advisor_app
from ai_backtrader.cli.compare import compare
from ai_backtrader.cli.db import db_app
from ai_backtrader.cli.download import download
from ai_backtrader.cli.files import load_data
from ai_backtrader.cli.inspecting import audit, lookahead
from ai_backtrader.cli.options import (
    Agents,
    AsJson,
    Cash,
    Commission,
    Database,
    DataFile,
    Funding,
    LiquidationFee,
    MaintenanceRate,
    MaxLeverage,
    Plot,
    Quiet,
    Repair,
    Report,
    RiskBudget,
    Seed,
    Short,
    Slippage,
    Symbol,
)
from ai_backtrader.cli.output import print_json, progress_bar
from ai_backtrader.cli.run import replay, run
from ai_backtrader.cli.searching import evolve, optimize
from ai_backtrader.cli.train import train
from ai_backtrader.errors import AIBacktraderError

__all__ = ["main"]

SAMPLE_COMMISSION = (
    0.00005  # of the notional: half a pip, what an FX account pays; the default suits a perpetual's taker
)

SEEN = (
    "The agents that voted were trained on the first part of these bars, selected on the next and looked at the last "
    "once: nothing they earn here is unseen. Their cards say what they do not beat."
)

app = typer.Typer(
    name="ai-backtrader",
    help="The AI trading engine for Backtrader: real margin, the same answer twice, honest evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Download market data, look at them.", no_args_is_help=True)


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="File of bars; left out: the sample that ships with us.")] = None,
    seed: Seed = 0,
    agents: Annotated[
        str | None,
        typer.Option(help="Trained agents that vote; left out: the shipped ones on the sample, none on your bars."),
    ] = None,
    database: Database = None,
    as_json: AsJson = False,
    plot: Plot = None,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Trade real data with AIStrategy: EUR/USD, hourly, 2017, or a file of your own."""
    commission = SAMPLE_COMMISSION if data is None else None
    _trade(
        data,
        None,
        None,
        {"commission": commission, "seed": seed},
        agents=("pretrained" if data is None else "none") if agents is None else agents,
        database=database,
        as_json=as_json,
        plot=plot,
        report=report,
        quiet=quiet,
    )


@app.command()
def backtest(
    data: DataFile,
    symbol: Symbol = None,
    repair: Repair = None,
    cash: Cash = 10_000.0,
    commission: Commission = None,
    slippage: Slippage = 0.0001,
    max_leverage: MaxLeverage = 10.0,
    risk_budget: RiskBudget = 0.02,
    maintenance_rate: MaintenanceRate = 0.005,
    liquidation_fee: LiquidationFee = 0.005,
    funding: Funding = None,
    short: Short = True,
    seed: Seed = 0,
    agents: Agents = "none",
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Search anew on the way, at drift, and say whether it paid (runs twice).")
    ] = False,
    adapt_every: Annotated[int | None, typer.Option(help="With --adapt also on schedule, so many bars apart.")] = None,
    llm: Annotated[
        str, typer.Option(help="Language model that may object: 'off', 'live', 'record' or 'replay' (see `advisor`).")
    ] = "off",
    llm_record: Annotated[Path | None, typer.Option(help="File of its recorded answers.")] = None,
    database: Database = None,
    as_json: AsJson = False,
    plot: Plot = None,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Trade a file of bars with AIStrategy on a broker with real margin."""
    _trade(
        data, symbol, repair,
        {
            "cash": cash, "commission": commission, "slippage": slippage, "max_leverage": max_leverage,
            "risk_budget": risk_budget, "maintenance_rate": maintenance_rate, "liquidation_fee": liquidation_fee,
            "funding": funding, "allow_short": short, "seed": seed, "adapt": adapt, "adapt_every": adapt_every,
        },
        agents=agents, llm=llm, llm_record=llm_record, database=database, as_json=as_json, plot=plot, report=report,
        quiet=quiet,
    )  # fmt: skip


@data_app.command("check")
def check_data(data: DataFile, symbol: Symbol = None, repair: Repair = None, as_json: AsJson = False) -> None:
    """Say whether a file can be traded, and what is odd about it."""
    report = load_data(data, symbol, repair).report
    if as_json:
        print_json(report.to_dict())
    else:
        Console().print(str(report), highlight=False, markup=False)


data_app.command()(download)
for command in (run, replay, optimize, evolve, train, compare, audit, lookahead):
    app.command()(command)
for name, group in (("data", data_app), ("db", db_app), ("advisor", advisor_app)):
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line; errors of ours and of the file system become one line on stderr and exit code 1."""
    try:
        app(standalone_mode=True)
    except (AIBacktraderError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)


def _trade(
    path: Path | None,
    symbol: str | None,
    repair: str | None,
    options: dict[str, Any],
    *,
    agents: str,
    llm: str = "off",
    llm_record: Path | None = None,
    database: Path | None,
    as_json: bool,
    plot: Path | None,
    report: Path | None,
    quiet: bool,
) -> None:
    # Imported here: `ai-backtrader --help` should not wait for Backtrader and Numba.
    from ai_backtrader.cli.backtest import BacktestSettings, advice_words, run_backtest
    from ai_backtrader.reports import result_table, save_plot, to_json

    advisor = None
    if llm != "off":
        from ai_backtrader.llm_advisor import get_advisor

        advisor = get_advisor(mode=llm, store=llm_record)
    settings = BacktestSettings(**{name: value for name, value in options.items() if value is not None})
    data = load_data(path, symbol, repair)
    with progress_bar(f"Trading {data.symbol}", len(data), show=not (quiet or as_json)) as advance:
        result = run_backtest(data, settings, database=database, agents=agents, advisor=advisor, on_progress=advance)
    if as_json:
        print_json(to_json(result))
    else:
        Console().print(result_table(result))
        if path is None and agents == "pretrained":
            Console().print(SEEN, highlight=False)
        if advisor is not None:
            Console().print(advice_words(advisor.report()), highlight=False, markup=False)
    if plot is not None:
        save_plot(result, plot)
        if not as_json:
            Console().print(f"Picture: {plot}", highlight=False)
    if report is not None:
        from ai_backtrader.reports.html import save_html

        save_html(result, report)
        if not as_json:
            Console().print(f"Report: {report}", highlight=False)
