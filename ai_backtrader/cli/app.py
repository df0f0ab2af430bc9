"""Commands, their options, and how failures leave the process.

Exit codes: 0 done; 1 the data, the settings or a file are wrong; 2 the command line is wrong; 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ai_backtrader.cli.files import load_data
from ai_backtrader.cli.options import (
    AsJson,
    Cash,
    Checkpoint,
    Commission,
    DataFile,
    DataFiles,
    Funding,
    Jobs,
    LiquidationFee,
    MaintenanceRate,
    MaxLeverage,
    Params,
    Plot,
    Quiet,
    Repair,
    Resume,
    RiskBudget,
    Seed,
    Short,
    Slippage,
    StrategyClass,
    StrategyFile,
    Symbol,
)
from ai_backtrader.cli.output import print_json, progress_bar
from ai_backtrader.errors import AIBacktraderError

__all__ = ["main"]

SAMPLE_COMMISSION = (
    0.00005  # of the notional: half a pip, what an FX account pays; the default suits a perpetual's taker
)

app = typer.Typer(
    name="ai-backtrader",
    help="The AI trading engine for Backtrader: real margin, the same answer twice, honest evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at market data.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="File of bars; left out: the sample that ships with us.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    plot: Plot = None,
    quiet: Quiet = False,
) -> None:
    """Trade real data with AIStrategy: EUR/USD, hourly, 2017, or a file of your own."""
    commission = SAMPLE_COMMISSION if data is None else None
    _trade(data, None, None, {"commission": commission, "seed": seed}, as_json=as_json, plot=plot, quiet=quiet)


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
    as_json: AsJson = False,
    plot: Plot = None,
    quiet: Quiet = False,
) -> None:
    """Trade a file of bars with AIStrategy on a broker with real margin."""
    _trade(
        data, symbol, repair,
        {
            "cash": cash, "commission": commission, "slippage": slippage, "max_leverage": max_leverage,
            "risk_budget": risk_budget, "maintenance_rate": maintenance_rate, "liquidation_fee": liquidation_fee,
            "funding": funding, "allow_short": short, "seed": seed,
        },
        as_json=as_json, plot=plot, quiet=quiet,
    )  # fmt: skip


@app.command()
def audit(
    strategy_file: StrategyFile,
    data: DataFiles,
    strategy: StrategyClass = None,
    param: Params = None,
    leverage: Annotated[float, typer.Option(help="As in setcommission(leverage=…).")] = 1.0,
    repair: Repair = None,
    cash: Cash = 10_000.0,
    commission: Commission = None,
    slippage: Slippage = 0.0,
    maintenance_rate: MaintenanceRate = 0.005,
    liquidation_fee: LiquidationFee = 0.005,
    funding: Funding = None,
    as_json: AsJson = False,
    plot: Plot = None,
    html: Annotated[Path | None, typer.Option(help="Write the report to this HTML file.")] = None,
    fail_on_findings: Annotated[bool, typer.Option(help="Leave with exit code 3 when something is found.")] = False,
) -> None:
    """Say what Backtrader's own broker hides about a strategy of yours: it runs unchanged on both brokers."""
    from ai_backtrader.audit import audit_strategy, load_strategy, save_audit_page, save_audit_plot
    from ai_backtrader.cli.audit import audit_table, parse_params
    from ai_backtrader.market import MaintenanceTiers

    params = parse_params(param or [])
    chosen = load_strategy(strategy_file, strategy)
    report = audit_strategy(
        chosen, [load_data(path, None, repair) for path in data],
        leverage=leverage, cash=cash, commission=0.0005 if commission is None else commission, slippage=slippage,
        tiers=MaintenanceTiers.flat(maintenance_rate), liquidation_fee=liquidation_fee, funding=funding, params=params,
    )  # fmt: skip
    if as_json:
        print_json(report.to_dict())
    else:
        Console().print(audit_table(report))
    for path, save, word in ((plot, save_audit_plot, "Picture"), (html, save_audit_page, "Page")):
        if path is not None:
            save(report, path)
            if not as_json:
                Console().print(f"{word}: {path}", highlight=False)
    if fail_on_findings and not report.clean:
        raise typer.Exit(3)


@app.command()
def lookahead(
    strategy_file: StrategyFile,
    data: DataFiles,
    strategy: StrategyClass = None,
    param: Params = None,
    repair: Repair = None,
    as_json: AsJson = False,
    fail_on_findings: Annotated[
        bool, typer.Option(help="Leave with exit code 3 unless the strategy is clean.")
    ] = False,
) -> None:
    """Say whether a strategy of yours knows the future, and at which order that shows first."""
    from ai_backtrader.audit import check_lookahead, load_strategy
    from ai_backtrader.cli.audit import parse_params
    from ai_backtrader.cli.lookahead import lookahead_table

    params = parse_params(param or [])
    chosen = load_strategy(strategy_file, strategy)
    report = check_lookahead(chosen, [load_data(path, None, repair) for path in data], **params)
    if as_json:
        print_json(report.to_dict())
    else:
        Console().print(lookahead_table(report), highlight=False)
    if fail_on_findings and not report.clean:
        raise typer.Exit(3)


@app.command()
def evolve(
    data: DataFile,
    generations: Annotated[int, typer.Option(help="Generations to breed.")] = 20,
    population: Annotated[int, typer.Option(help="Strategies alive.")] = 50,
    champions: Annotated[int, typer.Option(help="Most champions to select and examine.")] = 5,
    symbol: Symbol = None,
    repair: Repair = None,
    cash: Cash = 10_000.0,
    commission: Commission = None,
    slippage: Slippage = 0.0,
    max_leverage: MaxLeverage = 1.0,
    maintenance_rate: MaintenanceRate = 0.005,
    liquidation_fee: LiquidationFee = 0.0,
    funding: Funding = None,
    min_trades: Annotated[int, typer.Option(help="Fewer trades in the search are discounted.")] = 30,
    worst_regime: Annotated[bool, typer.Option(help="Judge by the worst of bull, sideways and bear markets.")] = False,
    seed: Seed = 0,
    jobs: Jobs = 1,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    export: Annotated[Path | None, typer.Option(help="Write the best as a plain Backtrader file.")] = None,
    as_json: AsJson = False,
    plot: Plot = None,
    quiet: Quiet = False,
) -> None:
    """Search strategies, select them on bars the search has not seen, examine them once on sealed ones."""
    from ai_backtrader.cli.evolve import Interrupted, export_best, run_evolve
    from ai_backtrader.market import MaintenanceTiers
    from ai_backtrader.reports.evolution import evolution_table, save_evolution_plot
    from ai_backtrader.strategy_evolver import Fitness

    broker = {
        "cash": cash, "commission": 0.0005 if commission is None else commission, "slippage": slippage,
        "tiers": MaintenanceTiers.flat(maintenance_rate), "liquidation_fee": liquidation_fee, "funding": funding,
    }  # fmt: skip
    try:
        result = run_evolve(
            load_data(data, symbol, repair), broker=broker, n_generations=generations, population=population,
            champions=champions, max_leverage=max_leverage, seed=seed, jobs=jobs, checkpoint=checkpoint, resume=resume,
            fitness=Fitness(min_trades=min_trades, worst_regime=worst_regime), show=not (quiet or as_json),
        )  # fmt: skip
    except Interrupted as stopped:
        Console(stderr=True).print(str(stopped), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(result.to_dict())
    else:
        Console().print(evolution_table(result))
    for path, save, word in ((plot, save_evolution_plot, "Picture"), (export, export_best, "Strategy")):
        if path is not None:
            save(result, path)
            if not as_json:
                Console().print(f"{word}: {path}", highlight=False)


@data_app.command("check")
def check_data(data: DataFile, symbol: Symbol = None, repair: Repair = None, as_json: AsJson = False) -> None:
    """Say whether a file can be traded, and what is odd about it."""
    report = load_data(data, symbol, repair).report
    if as_json:
        print_json(report.to_dict())
    else:
        Console().print(str(report), highlight=False, markup=False)


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
    as_json: bool,
    plot: Path | None,
    quiet: bool,
) -> None:
    # Imported here: `ai-backtrader --help` should not wait for Backtrader and Numba.
    from ai_backtrader.cli.backtest import BacktestSettings, run_backtest
    from ai_backtrader.reports import result_table, save_plot, to_json

    settings = BacktestSettings(**{name: value for name, value in options.items() if value is not None})
    data = load_data(path, symbol, repair)
    with progress_bar(f"Trading {data.symbol}", len(data), show=not (quiet or as_json)) as advance:
        result = run_backtest(data, settings, on_progress=advance)
    if as_json:
        print_json(to_json(result))
    else:
        Console().print(result_table(result))
    if plot is not None:
        save_plot(result, plot)
        if not as_json:
            Console().print(f"Picture: {plot}", highlight=False)
