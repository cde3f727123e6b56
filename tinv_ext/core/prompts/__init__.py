"""Prompts: from text to token ids in chunks of 75, and emphasis."""
