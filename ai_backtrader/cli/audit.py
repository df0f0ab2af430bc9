"""The audit for the terminal: parameters from text, tables of findings."""

from __future__ import annotations

import ast
from typing import Any

from rich.console import Group
from rich.table import Table

from ai_backtrader.audit import AuditReport
from ai_backtrader.audit.page import compared
from ai_backtrader.errors import SettingsError

__all__ = ["audit_table", "parse_params"]


def parse_params(texts: list[str]) -> dict[str, Any]:
    """Parameters of a strategy from ``name=value`` texts.

    A value that is a Python literal (``20``, ``0.5``, ``None``, ``"text"``, ``(1, 2)``) is taken as such, anything else
    as text.

    Raises
    ------
    SettingsError
        If a text is not ``name=value``.
    """
    wrong = [text for text in texts if not text.partition("=")[0].isidentifier() or "=" not in text]
    if wrong:
        raise SettingsError("--param", [f"expected name=value, got {text!r}" for text in wrong])
    return {name: _value(text) for name, _, text in (pair.partition("=") for pair in texts)}


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def audit_table(report: AuditReport) -> Group:
    """Findings and both runs, for a rich console."""
    title = f"{report.strategy} on {', '.join(report.feeds)} at {report.leverage:g}x"
    runs = Table(title=title, title_justify="left", title_style="bold")
    runs.add_column("The same code on")
    runs.add_column("Backtrader", justify="right")
    runs.add_column("LeverageBroker", justify="right")
    for row in compared(report):
        runs.add_row(*row)
    if report.clean:
        return Group(runs, "Nothing was hidden.")
    findings = Table(title="What Backtrader's broker hid", title_justify="left", title_style="bold", show_lines=True)
    findings.add_column("Finding", style="red", min_width=12)
    findings.add_column("Count", justify="right")
    findings.add_column("Money", justify="right")
    findings.add_column("What happened", ratio=1)
    for finding in report.findings:
        findings.add_row(finding.kind.value, f"{finding.count:,}", f"{finding.money:,.2f}", finding.text)
    return Group(runs, findings)
