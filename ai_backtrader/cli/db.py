"""``ai-backtrader db``: look at a learning database, check it, hand it on, make it smaller."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ai_backtrader.cli.options import AsJson
from ai_backtrader.cli.output import print_json

__all__ = ["db_app"]

db_app = typer.Typer(help="Look after a learning database.", no_args_is_help=True)

DatabaseFile = Annotated[Path, typer.Argument(help="The database: ai_learning.db.")]


class ExportFormat(StrEnum):
    """File formats of an export."""

    CSV = "csv"
    PARQUET = "parquet"


@db_app.command()
def info(database: DatabaseFile, as_json: AsJson = False) -> None:
    """Say what is in it."""
    from ai_backtrader.learning_db import LearningDatabase

    with LearningDatabase(database, read_only=True) as opened:
        found = opened.info()
    if as_json:
        print_json(found)
        return
    table = Table(title=f"{found['path']}: {found['bytes'] / 1e6:,.1f} MB", title_justify="left", title_style="bold")
    table.add_column("Table")
    table.add_column("Rows", justify="right")
    for name, rows in found["rows"].items():
        table.add_row(name, f"{rows:,}")
    for agent, transitions in found["transitions"].items():
        table.add_row(f"transitions of {agent}", f"{transitions:,}")
    console = Console()
    console.print(table)
    if found["first_trade"] is not None:
        console.print(f"Trades from {found['first_trade'][:19]} to {found['last_trade'][:19]}", highlight=False)


@db_app.command()
def verify(database: DatabaseFile, as_json: AsJson = False) -> None:
    """Check every page and every row; leave with exit code 3 when something is wrong."""
    from ai_backtrader.learning_db import verify_file

    report = verify_file(database)
    if as_json:
        print_json({"ok": report.ok, "rows": dict(report.rows), "problems": list(report.problems)})
    else:
        console = Console()
        for problem in report.problems:
            console.print(problem, highlight=False, markup=False, soft_wrap=True)
        verdict = "sound" if report.ok else "damaged"
        console.print(f"{database}: {verdict}, {sum(report.rows.values()):,} rows read", highlight=False, markup=False)
    if not report.ok:
        raise typer.Exit(3)


@db_app.command()
def export(
    database: DatabaseFile,
    folder: Annotated[Path, typer.Argument(help="Where the files go; made if it is missing.")],
    file_format: Annotated[ExportFormat, typer.Option("--format", help="Kind of file.")] = ExportFormat.CSV,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; again for more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write its tables as files, one a table."""
    from ai_backtrader.learning_db import LearningDatabase

    with LearningDatabase(database, read_only=True) as opened:
        files = opened.export(folder, format=file_format.value, tables=table)
    if as_json:
        print_json({name: str(path) for name, path in files.items()})
        return
    for path in files.values():
        Console().print(str(path), highlight=False, markup=False, soft_wrap=True)
    if not files:
        Console().print("Nothing to export: the tables are empty", highlight=False)


@db_app.command()
def prune(
    database: DatabaseFile,
    max_experiences: Annotated[
        int, typer.Option(help="Transitions to keep per agent and feature version; the newest stay.")
    ],
    compact: Annotated[bool, typer.Option("--compact", help="Give the room back to the disk.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the oldest experiences."""
    from ai_backtrader.learning_db import LearningDatabase, LearningDatabaseError

    if not database.is_file():
        raise LearningDatabaseError(f"{database}: no such file. Check the path")
    with LearningDatabase(database, strict=True) as opened:
        deleted = opened.prune(max_experiences=max_experiences, compact=compact)
        left = opened.info()
    if as_json:
        print_json({"deleted_chunks": deleted, "transitions": left["transitions"], "bytes": left["bytes"]})
    else:
        Console().print(f"{deleted:,} chunks deleted; {left['bytes'] / 1e6:,.1f} MB", highlight=False)
