"""The commands of a whole life: ``run`` and ``replay``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from ai_backtrader.cli.files import load_data
from ai_backtrader.cli.options import (
    AsJson,
    Cash,
    Commission,
    Database,
    Funding,
    Jobs,
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
from ai_backtrader.cli.output import print_json

__all__ = ["SAMPLE_COMMISSION", "replay", "run"]

SAMPLE_COMMISSION = 0.00005  # of the notional: half a pip, what an FX account pays
DIFFERENT = 3
"""Exit code of a replay that came to something else."""

OptionalData = Annotated[
    Path | None, typer.Argument(help="CSV (plain or gzip) or Parquet file of bars; left out: the sample.")
]


def run(
    data: OptionalData = None,
    profile: Annotated[str, typer.Option(help="How much work: 'quick', 'standard' or 'thorough'.")] = "quick",
    seed: Seed = 0,
    database: Database = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was killed.")] = False,
    admit: Annotated[
        str, typer.Option(help="Who may vote: what 'passed' its test, or the 'best' found whatever its evidence.")
    ] = "passed",
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Switch a system off, to see what it adds: technical, evolved, rl, online, adaptation, leverage, "
            "allocator; again for more."
        ),
    ] = None,
    jobs: Jobs = 1,
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
    as_json: AsJson = False,
    plot: Plot = None,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Search, train and allocate on the first bars, walk the rest once with all systems, and say what it is worth."""
    from ai_backtrader.cli.run_report import run_table, save_run_plot
    from ai_backtrader.pipeline import run_pipeline
    from ai_backtrader.reports.html import save_html

    if commission is None:
        commission = SAMPLE_COMMISSION if data is None else 0.0005
    try:
        with _progress(show=not (quiet or as_json)) as on_stage:
            result = run_pipeline(
                load_data(data, symbol, repair), profile=profile, seed=seed, database=database, resume=resume,
                jobs=jobs, on_stage=on_stage, admit=admit, cash=cash, commission=commission, slippage=slippage,
                max_leverage=max_leverage, risk_budget=risk_budget, maintenance_rate=maintenance_rate,
                liquidation_fee=liquidation_fee, funding=funding, allow_short=short, without=tuple(without or ()),
                source={
                    "path": None if data is None else str(data.resolve()), "symbol": symbol, "repair": repair,
                },
            )  # fmt: skip
    except KeyboardInterrupt:
        mend = (
            "nothing was kept; with --database FILE a run can be resumed"
            if database is None
            else "the same command with --resume goes on at the stage it had reached"
        )
        Console(stderr=True).print(f"Stopped: {mend}.", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json(result.to_dict())
    else:
        Console().print(run_table(result))
        if database is not None:
            told = f"Repeat it: ai-backtrader replay {result.run_id} --database {database}"
            Console().print(told, highlight=False, markup=False, soft_wrap=True)
    for place, save, word in ((plot, save_run_plot, "Picture"), (report, save_html, "Report")):
        if place is not None:
            save(result, place)
            if not as_json:
                Console().print(f"{word}: {place}", highlight=False)


def replay(
    run_id: Annotated[str, typer.Argument(help="Of the run, as `run` printed it.")],
    database: Annotated[Path, typer.Option(help="Learning database of the run.")],
    data: Annotated[
        Path | None, typer.Option(help="File of bars, where it does not lie any more where the run found it.")
    ] = None,
    jobs: Jobs = 1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Repeat a run and compare: exit code 3 where it comes to something else."""
    from ai_backtrader.pipeline import card_of, replay_run

    source = card_of(run_id, database)["data"]["source"] or {}
    path = data if data is not None or source.get("path") is None else Path(source["path"])
    bars = load_data(path, source.get("symbol"), source.get("repair"))
    with _progress(show=not (quiet or as_json)) as on_stage:
        found = replay_run(run_id, database, bars, jobs=jobs, on_stage=on_stage)
    if as_json:
        print_json(found.to_dict())
    else:
        Console().print(found.verdict, highlight=False, markup=False, soft_wrap=True)
    if found.differences:
        raise typer.Exit(DIFFERENT)


@contextmanager
def _progress(*, show: bool) -> Iterator[Callable[[str, str, float], None]]:
    """One line a stage on stderr; silent outside a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<9}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with ProgressBar(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        tasks: dict[str, Any] = {}

        def on_stage(name: str, words: str, share: float) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=1.0)
            bar.update(tasks[name], completed=share)

        yield on_stage
