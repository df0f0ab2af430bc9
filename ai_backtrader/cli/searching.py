"""The commands that search: ``evolve`` and ``optimize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ai_backtrader.cli.files import load_data, open_database
from ai_backtrader.cli.options import (
    AsJson,
    Cash,
    Checkpoint,
    Commission,
    Database,
    DataFile,
    Funding,
    Jobs,
    LiquidationFee,
    MaintenanceRate,
    MaxLeverage,
    Params,
    Plot,
    Quiet,
    Repair,
    Report,
    Resume,
    Seed,
    Slippage,
    Symbol,
)
from ai_backtrader.cli.output import print_json

__all__ = ["evolve", "optimize"]


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
    executor: Annotated[str, typer.Option(help="'local' threads, or a cluster: 'dask', 'ray'.")] = "local",
    cluster: Annotated[
        str | None, typer.Option(help="Address of the cluster; without, one of --jobs processes is started.")
    ] = None,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    export: Annotated[Path | None, typer.Option(help="Write the best as a plain Backtrader file.")] = None,
    database: Database = None,
    as_json: AsJson = False,
    plot: Plot = None,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Search strategies, select them on bars the search has not seen, examine them once on sealed ones."""
    from ai_backtrader.cli.evolve import Interrupted, export_best, run_evolve
    from ai_backtrader.executors import connected_cluster
    from ai_backtrader.market import MaintenanceTiers
    from ai_backtrader.reports.evolution import evolution_table, save_evolution_plot
    from ai_backtrader.reports.html import save_html
    from ai_backtrader.strategy_evolver import Fitness

    broker = {
        "cash": cash, "commission": 0.0005 if commission is None else commission, "slippage": slippage,
        "tiers": MaintenanceTiers.flat(maintenance_rate), "liquidation_fee": liquidation_fee, "funding": funding,
    }  # fmt: skip
    try:
        with open_database(database) as kept, connected_cluster(executor, address=cluster, workers=jobs):
            result = run_evolve(
                load_data(data, symbol, repair), broker=broker, n_generations=generations, population=population,
                champions=champions, max_leverage=max_leverage, seed=seed, jobs=jobs, executor=executor,
                checkpoint=checkpoint, resume=resume, fitness=Fitness(min_trades=min_trades, worst_regime=worst_regime),
                show=not (quiet or as_json), ledger=kept, journal=kept,
            )  # fmt: skip
    except Interrupted as stopped:
        Console(stderr=True).print(str(stopped), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(result.to_dict())
    else:
        Console().print(evolution_table(result))
    for path, save, word in (
        (plot, save_evolution_plot, "Picture"), (report, save_html, "Report"), (export, export_best, "Strategy"),
    ):  # fmt: skip
        if path is not None:
            save(result, path)
            if not as_json:
                Console().print(f"{word}: {path}", highlight=False)


def optimize(
    data: DataFile,
    strategy: Annotated[
        str, typer.Option(help="'technical', or FILE.py[:Class] with a strategy of yours. It is run.")
    ] = "technical",
    space: Annotated[
        list[str] | None, typer.Option(help="What to search: name=low:high[:log] or name=a,b,c; again for more.")
    ] = None,
    param: Params = None,
    regime: Annotated[str | None, typer.Option(help="Judge by the trades opened in this regime alone.")] = None,
    trials: Annotated[int, typer.Option(help="Evaluations in all.")] = 100,
    surrogate: Annotated[str, typer.Option(help="'gp', 'et', 'rf', 'de' or 'random'.")] = "gp",
    objective: Annotated[str, typer.Option(help="Name of the score.")] = "sharpe",
    validation: Annotated[float, typer.Option(help="Share of the bars to select on, after the search's.")] = 0.0,
    test: Annotated[float, typer.Option(help="Share of the bars that stays sealed for one look.")] = 0.25,
    leverage: Annotated[float, typer.Option(help="Of the technical strategy.")] = 1.0,
    symbol: Symbol = None,
    repair: Repair = None,
    cash: Cash = 10_000.0,
    commission: Commission = None,
    slippage: Slippage = 0.0,
    maintenance_rate: MaintenanceRate = 0.005,
    liquidation_fee: LiquidationFee = 0.0,
    funding: Funding = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    database: Database = None,
    as_json: AsJson = False,
    plot: Plot = None,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Search the best parameters of a strategy, and say what finding them cost and whether they hold unseen."""
    from ai_backtrader.cli.optimize import run_optimize
    from ai_backtrader.market import MaintenanceTiers
    from ai_backtrader.reports.html import save_html
    from ai_backtrader.reports.optimization import optimization_table, save_optimization_plot

    with open_database(database) as kept:
        result = run_optimize(
            load_data(data, symbol, repair), strategy=strategy, space=space or (), params=param or (),
            leverage=leverage, show=not (quiet or as_json), regime=regime, n_trials=trials, surrogate=surrogate,
            objective=objective, validation=validation, test=test, seed=seed, jobs=jobs, checkpoint=checkpoint,
            resume=resume, cash=cash, commission=0.0005 if commission is None else commission, slippage=slippage,
            tiers=MaintenanceTiers.flat(maintenance_rate), liquidation_fee=liquidation_fee, funding=funding,
            ledger=kept, journal=kept, store=kept,
        )  # fmt: skip
    if as_json:
        print_json(result.to_dict())
    else:
        Console().print(optimization_table(result))
    for path, save, word in ((plot, save_optimization_plot, "Picture"), (report, save_html, "Report")):
        if path is not None:
            save(result, path)
            if not as_json:
                Console().print(f"{word}: {path}", highlight=False)
    if result.interrupted:
        raise typer.Exit(130)
