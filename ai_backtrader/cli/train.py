"""The ``train`` command: an agent on a file of bars, by the protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from ai_backtrader.cli.files import load_data, open_database
from ai_backtrader.cli.options import (
    AsJson,
    Cash,
    Checkpoint,
    Commission,
    Database,
    Funding,
    LiquidationFee,
    MaintenanceRate,
    Plot,
    Quiet,
    Repair,
    Report,
    Resume,
    Slippage,
    Symbol,
)
from ai_backtrader.cli.output import print_json

if TYPE_CHECKING:
    from ai_backtrader.market import MarketData
    from ai_backtrader.rl import TrainingProgress, TrainingResult

__all__ = ["progress_words", "run_train", "train"]


def train(
    data: Annotated[Path | None, typer.Argument(help="CSV or Parquet file of bars; left out: the sample.")] = None,
    agent: Annotated[str, typer.Option(help="'leverage' (eleven actions) or 'basic' (three).")] = "leverage",
    seeds: Annotated[int, typer.Option(help="Trainings from different random beginnings.")] = 5,
    steps: Annotated[int, typer.Option(help="Environment steps of each.")] = 60_000,
    reward: Annotated[str | None, typer.Option(help="Reward mode; left out: the one that did best.")] = None,
    caution: Annotated[
        float, typer.Option(help="Standard errors by which validation growth must exceed nothing; 0 takes the best.")
    ] = 3.2,
    symbol: Symbol = None,
    repair: Repair = None,
    cash: Cash = 10_000.0,
    commission: Commission = None,
    slippage: Slippage = 0.0,
    maintenance_rate: MaintenanceRate = 0.005,
    liquidation_fee: LiquidationFee = 0.0,
    funding: Funding = None,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    database: Database = None,
    experiences: Annotated[bool, typer.Option(help="Keep the transitions in the database too.")] = False,
    save: Annotated[Path | None, typer.Option(help="Write the trained agent to this file, its card beside it.")] = None,
    as_json: AsJson = False,
    plot: Plot = None,
    report: Report = None,
    quiet: Quiet = False,
) -> None:
    """Train a learning agent: several seeds, chosen on validation bars, judged once on bars none of it has seen."""
    from ai_backtrader.errors import SettingsError
    from ai_backtrader.market import MaintenanceTiers
    from ai_backtrader.reports.html import save_html
    from ai_backtrader.reports.training import save_training_plot, training_table
    from ai_backtrader.rl import EnvironmentSettings, save_agent

    if experiences and database is None:
        raise SettingsError("train", ["--experiences needs --database FILE to keep them in"])
    environment = EnvironmentSettings(
        cash=cash, commission=0.0005 if commission is None else commission, slippage=slippage,
        tiers=MaintenanceTiers.flat(maintenance_rate), liquidation_fee=liquidation_fee, funding=funding,
    )  # fmt: skip
    if reward is not None:
        environment = dataclasses.replace(environment, reward_mode=reward)
    with open_database(database) as kept:
        result = run_train(
            load_data(data, symbol, repair), agent=agent, seeds=seeds, steps=steps, environment=environment,
            caution=caution, checkpoint=checkpoint, resume=resume, ledger=kept, journal=kept if experiences else None,
            show=not (quiet or as_json),
        )  # fmt: skip
    if as_json:
        print_json(result.to_dict())
    else:
        Console().print(training_table(result), highlight=False)
    if result.seeds:
        for path, write, word in (
            (plot, save_training_plot, "Picture"), (report, save_html, "Report"), (save, save_agent, "Agent"),
        ):  # fmt: skip
            if path is not None:
                write(result, path)
                if not as_json:
                    Console().print(f"{word}: {path}", highlight=False)
    if result.interrupted:
        where = (
            f"{checkpoint} holds the training; --resume goes on" if checkpoint else "--checkpoint would let it go on"
        )
        Console(stderr=True).print(f"Stopped: {where}.", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130)


def run_train(data: MarketData, *, show: bool = True, **options: Any) -> TrainingResult:
    """Train as the command does, with progress on stderr in a terminal.

    Parameters
    ----------
    data
        Market data.
    show
        Whether to draw progress.
    **options
        Keyword arguments of :func:`ai_backtrader.rl.train_agent`.
    """
    from ai_backtrader.rl import train_agent

    with _progress(show=show) as on_progress:
        return train_agent(data, on_progress=on_progress, **options)


@contextmanager
def _progress(*, show: bool) -> Iterator[Callable[[TrainingProgress], None]]:
    """Reporter of looks at the validation bars; silent outside a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[say]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with ProgressBar(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as bar:
        task = bar.add_task("Seed", total=None, say="")

        def on_progress(progress: TrainingProgress) -> None:
            bar.update(
                task,
                description=f"Seed {progress.place + 1}/{progress.n_seeds}",
                completed=progress.place * progress.total_steps + progress.steps,
                total=progress.n_seeds * progress.total_steps,
                say=progress_words(progress),
            )

        yield on_progress


def progress_words(progress: TrainingProgress) -> str:
    """One line of progress."""
    return (
        f"{progress.steps_per_second:,.0f} steps/s  loss {progress.loss:.3f}  epsilon {progress.epsilon:.2f}  "
        f"validation equity {progress.validation_equity:,.0f} (best {progress.best_equity:,.0f})"
    )
