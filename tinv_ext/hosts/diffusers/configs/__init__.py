"""Configs of each model family as diffusers writes them, without weights."""
