"""images.csv: which way each image pulls the word, and a sentence about those that do not go with the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.messages import Message, encodable, message
from tinv_ext.core.model import Model
from tinv_ext.core.training.outliers import Named
from tinv_ext.core.training.state import State
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.tasks import Moment

COLUMNS = ("word", "image", "visits", "pull", "error", "deviation", "odd", "weight")
_EVERY = 50  # steps
_TOLD = 5  # images in one sentence


@dataclass(frozen=True)
class OddImages:
    """What the state knows of the run's images (`core/training/outliers.py`), written and told on the way.

    A run that resumes tells of them again, as whoever looks at it now may not have heard of it. `less`: they count less
    in its steps.
    """

    state: State
    reporter: RunReporter
    less: bool = False
    _told: set[Named] = field(default_factory=set)

    def due(self, moment: Moment) -> bool:
        """Every so many steps, and when the run is over; not where the optimizer sees no single examples."""
        now = moment.over or (moment.step is not None and (moment.last or moment.number % _EVERY == 0))
        return now and bool(self.state.outliers.pulls)

    def write(self, moment: Moment, model: Model | None) -> None:
        """Tell of images that are found now; then a row for each image, the one that pulls back most first."""
        outliers = self.state.outliers = self.state.outliers.judged()
        by, weights = outliers.deviations(), outliers.weights() if self.less else {}
        self._tell(sorted(outliers.odd - self._told, key=lambda named: -by.get(named, 0.0)))
        rows = io.StringIO()
        table = csv.writer(rows, lineterminator="\n")
        table.writerow(COLUMNS)
        for named, pull in sorted(outliers.pulls.items(), key=lambda item: -by.get(item[0], 0.0)):
            figures = (pull.visits, f"{pull.mean:.4f}", f"{pull.error:.4f}", f"{by[named]:.2f}" if named in by else "")
            weight = f"{weights.get(named, 1.0):.2f}"
            table.writerow((*map(encodable, named), *figures, int(named in outliers.odd), weight))
        with atomic_write(self.reporter.folder.images) as file:
            file.write(rows.getvalue().encode())

    def _tell(self, odd: Sequence[Named]) -> None:
        if not odd:
            return
        self._told.update(odd)
        images = [*(image for _, image in odd[:_TOLD]), *("…" for _ in odd[_TOLD:][:1])]
        told = message(
            "run.odd_images",
            "{count:image pulls|images pull} the word back from what the others teach it, and may show something else: "
            "{images:, }. Have a look, and take out what does not belong.",
            count=len(odd),
            images=images,
        )
        if self.less:
            told = message(
                "run.odd_images_count_less",
                "{count:image pulls|images pull} the word back from what the others teach it, and may show something "
                "else: {images:, }. {count:It counts|They count} less (downweight_odd_images). Have a look, and take "
                "out what does not belong.",
                count=len(odd),
                images=images,
            )
        self.reporter.notify(told)


def named_odd(text: str) -> list[str]:
    """The images that a notice tells of, by their names; none where it is another notice."""
    return list(text.values["images"]) if isinstance(text, Message) and text.id.startswith("run.odd_images") else []
