"""Results as HTML pages: one file each, no network, light and dark (extra ``[report]``)."""

from ai_backtrader.reports.html.saving import html_page, save_comparison, save_html, sections_of

__all__ = ["html_page", "save_comparison", "save_html", "sections_of"]
