"""The online learner: health, drift and outcome patterns, from trade to trade."""
