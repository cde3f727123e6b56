"""Single-file checkpoints: which family they are, the configs of their parts, and the pipeline built of both."""
