"""The LLM advisor: a model's view, bounded, recorded, replayable."""
