"""What a strategy that exists hides: it runs unchanged on Backtrader's broker and on one with real margin."""

from ai_backtrader.audit.audit import audit_strategy
from ai_backtrader.audit.findings import AuditEvent, Finding, FindingKind
from ai_backtrader.audit.loading import load_strategy
from ai_backtrader.audit.lookahead import check_lookahead
from ai_backtrader.audit.lookahead_report import Difference, LookaheadReport, OrderEvent, Verdict
from ai_backtrader.audit.page import audit_page, save_audit_page
from ai_backtrader.audit.plots import plot_audit, save_audit_plot
from ai_backtrader.audit.report import AuditedRun, AuditReport
from ai_backtrader.audit.settings import AuditError, AuditSettings

__all__ = [
    "AuditError",
    "AuditEvent",
    "AuditReport",
    "AuditSettings",
    "AuditedRun",
    "Difference",
    "Finding",
    "FindingKind",
    "LookaheadReport",
    "OrderEvent",
    "Verdict",
    "audit_page",
    "audit_strategy",
    "check_lookahead",
    "load_strategy",
    "plot_audit",
    "save_audit_page",
    "save_audit_plot",
]
