"""The parameter optimizer: the best parameters by symbol and regime, and what finding them cost."""
