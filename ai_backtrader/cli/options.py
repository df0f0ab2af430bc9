"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Agents",
    "AsJson",
    "Cash",
    "Checkpoint",
    "Commission",
    "DataFile",
    "DataFiles",
    "Database",
    "Funding",
    "Jobs",
    "LiquidationFee",
    "MaintenanceRate",
    "MaxLeverage",
    "Params",
    "Plot",
    "Quiet",
    "Repair",
    "Report",
    "Resume",
    "RiskBudget",
    "Seed",
    "Short",
    "Slippage",
    "StrategyClass",
    "StrategyFile",
    "Symbol",
]

DataFile = Annotated[Path, typer.Argument(help="CSV (plain or gzip) or Parquet file of bars.")]
Symbol = Annotated[str | None, typer.Option(help="Name of the market; taken from the file name if left out.")]
Repair = Annotated[str | None, typer.Option(help="Mends to allow, separated by commas, or 'all'.")]
Cash = Annotated[float, typer.Option(help="Starting cash.")]
Commission = Annotated[float | None, typer.Option(help="Per fill, as a fraction of the notional.")]
Slippage = Annotated[float, typer.Option(help="Per fill, as a fraction of the price.")]
MaxLeverage = Annotated[float, typer.Option(help="Never above this multiple.")]
RiskBudget = Annotated[float, typer.Option(help="Share of the account that may be lost at a stop.")]
MaintenanceRate = Annotated[float, typer.Option(help="Maintenance margin as a fraction of the notional.")]
LiquidationFee = Annotated[float, typer.Option(help="Fee of a liquidation as a fraction of the notional.")]
Funding = Annotated[float | None, typer.Option(help="Rate per 8 hours; left out: the rates in the data, if any.")]
Short = Annotated[bool, typer.Option(help="Trade short as well as long.")]
Seed = Annotated[int, typer.Option(help="Source of every random choice.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Plot = Annotated[Path | None, typer.Option(help="Write a picture of the run to this PNG file.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
StrategyFile = Annotated[Path, typer.Argument(help="Python file with the strategy. It is run: load what you trust.")]
DataFiles = Annotated[list[Path], typer.Option(help="File of bars; again for further feeds.")]
StrategyClass = Annotated[str | None, typer.Option(help="Class to look at, where the file holds several.")]
Params = Annotated[list[str] | None, typer.Option(help="Parameter of the strategy: name=value; again for more.")]
Jobs = Annotated[int, typer.Option(help="Threads; the outcome is the same.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Keep the search in this file as it goes.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")]
Database = Annotated[Path | None, typer.Option(help="Learning database to keep and count everything in.")]
Agents = Annotated[str, typer.Option(help="Trained agents that vote: 'pretrained', 'none', or the file of one.")]
Report = Annotated[Path | None, typer.Option(help="Write the result as an HTML page, to be opened offline.")]
