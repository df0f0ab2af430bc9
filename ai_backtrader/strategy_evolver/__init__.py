"""Search for strategies by evolution: breed, evaluate, select, and examine honestly."""

from ai_backtrader.executors import EXECUTORS, connected_cluster, open_executor
from ai_backtrader.strategy_evolver.evolution import Evolution, Island, Member, Score
from ai_backtrader.strategy_evolver.evolver import FitnessFunction, StrategyEvolver
from ai_backtrader.strategy_evolver.exam import Exam
from ai_backtrader.strategy_evolver.fitness import OBJECTIVES, Fitness
from ai_backtrader.strategy_evolver.history import Generation
from ai_backtrader.strategy_evolver.operators import chromosomes, crossover, mutate
from ai_backtrader.strategy_evolver.representation import Representation
from ai_backtrader.strategy_evolver.result import Champion, EvolutionResult, Proof
from ai_backtrader.strategy_evolver.search import evolve
from ai_backtrader.strategy_evolver.segments import Borders, Figures, Split
from ai_backtrader.strategy_evolver.settings import EvolverSettings

__all__ = [
    "EXECUTORS",
    "OBJECTIVES",
    "Borders",
    "Champion",
    "Evolution",
    "EvolutionResult",
    "EvolverSettings",
    "Exam",
    "Figures",
    "Fitness",
    "FitnessFunction",
    "Generation",
    "Island",
    "Member",
    "Proof",
    "Representation",
    "Score",
    "Split",
    "StrategyEvolver",
    "chromosomes",
    "connected_cluster",
    "crossover",
    "evolve",
    "mutate",
    "open_executor",
]
