"""The audit as one HTML file that needs no network."""

from __future__ import annotations

import base64
import html
import io
import math
from os import PathLike
from pathlib import Path

from ai_backtrader.audit.plots import save_audit_plot
from ai_backtrader.audit.report import AuditReport

__all__ = ["audit_page", "save_audit_page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --line: #d0d0d0; --bad: #b34700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181c; --line: #3a3f47; --bad: #ff9d5c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
       margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.kind { color: var(--bad); font-weight: 600; }
img { max-width: 100%; background: #ffffff; border-radius: 6px; }
"""

_ROWS: tuple[tuple[str, str, str, float, str], ...] = (
    ("Final account value", "final_equity", ",.2f", 1.0, ""),
    ("Lowest account value", "lowest_equity", ",.2f", 1.0, ""),
    ("Return", "total_return", "+,.2f", 100.0, " %"),
    ("Sharpe ratio", "sharpe_ratio", ",.2f", 1.0, ""),
    ("Largest drawdown", "max_drawdown", ",.2f", 100.0, " %"),
    ("Fills", "fills", ",.0f", 1.0, ""),
    ("Fees", "fees", ",.2f", 1.0, ""),
    ("Funding paid", "funding", ",.2f", 1.0, ""),
    ("Refused orders", "refused_orders", ",.0f", 1.0, ""),
    ("Liquidations", "liquidations", ",.0f", 1.0, ""),
)


def compared(report: AuditReport) -> list[tuple[str, str, str]]:
    """Rows of the table that sets the two runs side by side: name, Backtrader, exchange."""
    own, real = report.backtrader.metrics, report.exchange.metrics
    return [
        (name, _figure(own[key] * scale, form, unit), _figure(real[key] * scale, form, unit))
        for name, key, form, scale, unit in _ROWS
    ]


def _figure(value: float, form: str, unit: str) -> str:
    return format(value, form) + unit if math.isfinite(value) else "–"


def audit_page(report: AuditReport) -> str:
    """HTML of a report: verdict, picture, findings, both runs; one file, light and dark.

    Raises
    ------
    AIBacktraderError
        Without matplotlib, or when the run has no bars.
    """
    picture = io.BytesIO()
    save_audit_plot(report, picture)
    encoded = base64.b64encode(picture.getvalue()).decode("ascii")
    title = html.escape(f"Audit of {report.strategy} on {', '.join(report.feeds)} at {report.leverage:g}x")
    rows = "\n".join(
        f'<tr><td class="kind">{html.escape(finding.kind.value)}</td><td class="number">{finding.count:,}</td>'
        f'<td class="number">{finding.money:,.2f}</td><td>{html.escape(finding.text)}</td></tr>'
        for finding in report.findings
    )
    found = (
        f'<table><tr><th>Finding</th><th class="number">Count</th><th class="number">Money</th><th>What happened</th>'
        f"</tr>\n{rows}</table>"
        if rows
        else "<p>Nothing was hidden.</p>"
    )
    runs = "\n".join(
        f'<tr><td>{name}</td><td class="number">{own}</td><td class="number">{real}</td></tr>'
        for name, own, real in compared(report)
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<img alt="Account value on both brokers" src="data:image/png;base64,{encoded}">
<h2>What Backtrader's broker hid</h2>
{found}
<h2>The same code on two brokers</h2>
<table><tr><th></th><th class="number">Backtrader</th><th class="number">LeverageBroker</th></tr>
{runs}</table>
<p>Times are UTC, money is in account currency. Past results say nothing about future ones.</p>
</body></html>
"""


def save_audit_page(report: AuditReport, path: str | PathLike[str]) -> None:
    """Write :func:`audit_page` to a file."""
    Path(path).write_text(audit_page(report), encoding="utf-8")
