"""Strategies for Backtrader."""
