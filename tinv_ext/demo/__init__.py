"""The tiny model taught one concept: the demo, and the test of what was learnt."""
