"""Checkpoint files, with everything of a model in one: what they are, how large, and the pipeline they make."""
