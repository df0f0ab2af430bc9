"""``python -m ai_backtrader`` is the ``ai-backtrader`` command."""

from ai_backtrader.cli import main

main()
