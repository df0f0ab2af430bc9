"""What a run was, for readers: terminal tables, JSON, pictures (extra ``[report]``); pages in ``reports.html``."""

from ai_backtrader.reports.cerebro_plot import save_cerebro_plot
from ai_backtrader.reports.figures import to_json, verdict
from ai_backtrader.reports.plots import plot_run, save_plot
from ai_backtrader.reports.tables import result_table, result_text

__all__ = ["plot_run", "result_table", "result_text", "save_cerebro_plot", "save_plot", "to_json", "verdict"]
