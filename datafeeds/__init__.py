"""Backtrader feeds over MarketData, and the sample data."""
