"""The toy model learns one concept: the demo, and the measured test of what was learned."""
