"""All routes, a file for each subject; imported when they are first asked, not while the WebUI starts."""

from __future__ import annotations

from tinv_ext.server.routes import (
    embedding_changes,
    embeddings,
    generation,
    history,
    images,
    outlook,
    page,
    preparing,
    presets,
    queue_order,
    settings,
    templates,
    training,
    watch,
)

SUBJECTS = (
    training,
    watch,
    settings,
    page,
    embeddings,
    embedding_changes,
    generation,
    history,
    queue_order,
    presets,
    preparing,
    images,
    outlook,
    templates,
)
"""Files of routes: each has a function `routes`."""
