"""The training loop and what it is made of: state, step, objective, optimizers, evaluation, fallbacks."""
