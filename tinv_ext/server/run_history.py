"""What is left of a run, for people who come back to it: its settings, model, curve, snapshots and previews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tinv_ext.core.settings import SETTINGS
from tinv_ext.run.curve import best_of
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.server.shown import Shown

Entry = TypeVar("Entry")
POINTS = 300
"""Of a curve that is told: more than a card, or a chart beside others, has pixels for."""


def history(folder: RunFolder) -> dict[str, Any]:
    """What there is to tell of a run, as JSON can hold it. `settings` are those that it was started with."""
    config, facts = folder.config(), folder.facts()
    shown = Shown.left_by(folder, config.names)
    best = best_of(shown.evaluations, shown.best)
    model = facts.get("model")
    model = model if isinstance(model, Mapping) else {}
    return {
        "id": folder.id,
        "settings": {name: value for name, value in config.to_dict().items() if name in SETTINGS},
        "model": {key: str(model[key]) for key in ("model_name", "model_hash", "family") if model.get(key)},
        "images": facts.get("pictures"),
        "curve": [[row["step"], row["loss"], row["smoothed"]] for row in thinned(shown.curve)],
        "evaluations": [[step, loss] for step, loss in thinned(shown.evaluations)],
        "best": list(best) if best else None,
        "snapshots": sorted(folder.snapshots(config.name)),
        "replaced": list(dict.fromkeys(name for _, name in folder.replaced())),
        "previews": sorted({step for step, _ in folder.previews(*config.names)}),
    }


def preview(folder: RunFolder, step: int | None, index: int = 0) -> Path | None:
    """An image of the preview at a step, or of the last one; None if there is none."""
    made = folder.previews(*folder.config().names)
    wanted = made[-1][0] if step is None and made else step
    images = [path for at, path in made if at == wanted]
    return images[index] if 0 <= index < len(images) else None


def thinned(entries: Sequence[Entry], most: int = POINTS) -> list[Entry]:
    """At most so many of the entries, evenly chosen, the first and the last among them."""
    if len(entries) <= most:
        return list(entries)
    return [entries[index * (len(entries) - 1) // (most - 1)] for index in range(most)]
