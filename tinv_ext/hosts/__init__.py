"""The places where the engine runs: each gives it a model and takes its results."""
