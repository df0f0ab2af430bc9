"""Search for strategies by evolution: breed, evaluate, select, and examine honestly."""

from ai_backtrader.strategy_evolver.evolution import Evolution, Island, Member, Score
from ai_backtrader.strategy_evolver.history import Generation
from ai_backtrader.strategy_evolver.operators import chromosomes, crossover, mutate
from ai_backtrader.strategy_evolver.representation import Representation
from ai_backtrader.strategy_evolver.settings import EvolverSettings

__all__ = ["Evolution", "EvolverSettings", "Generation", "Representation", "chromosomes", "crossover", "mutate"]
