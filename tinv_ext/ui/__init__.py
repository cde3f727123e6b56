"""The page: it places, makes, acts and speaks. No default, limit or label is its own; they come from the settings."""
