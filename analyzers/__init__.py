"""Analyzers for Backtrader."""
