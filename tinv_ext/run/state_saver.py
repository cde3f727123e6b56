"""Saving the state that a run resumes from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tinv_ext.core.model import Model
from tinv_ext.core.training.fallbacks import Fallbacks, retry_after_freeing
from tinv_ext.core.training.state import State, save_state
from tinv_ext.run.events import Wrote
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.starting_fallbacks import KEPT
from tinv_ext.run.tasks import Moment


@dataclass
class StateSaver:
    """Saves the state every `steps` and at the latest after `seconds` (0: only by steps; no steps: never).

    `facts` are saved with it, to be compared when the run resumes, and what the run has given up.
    """

    state: State
    facts: Mapping[str, Any]
    fallbacks: Fallbacks
    reporter: RunReporter
    steps: int
    seconds: float
    _saved_at: float = field(default_factory=time.monotonic)

    def due(self, moment: Moment) -> bool:
        """Whether it is time."""
        if moment.over:
            return self.steps > 0
        if not self.steps or moment.step is None:
            return False
        overdue = self.seconds and time.monotonic() - self._saved_at >= self.seconds
        return moment.number % self.steps == 0 or bool(overdue)

    def save(self, moment: Moment, model: Model | None) -> None:
        """Write it."""
        retry_after_freeing(None, self.write)

    def write(self) -> None:
        """Write the state, and how the run stands."""
        path = self.reporter.folder.state
        save_state(self.state, path, {**self.facts, KEPT: self.fallbacks.facts()})
        self._saved_at = time.monotonic()
        self.reporter.save()
        self.reporter.report(Wrote("state", self.state.step, path))
