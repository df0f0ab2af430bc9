"""Market data, indicators, features, regimes and margin arithmetic, on arrays."""
