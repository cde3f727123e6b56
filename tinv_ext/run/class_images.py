"""Generates the images of the class that a run lacks, before its first step and by its own model."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial

from tinv_ext.core.atomic import make_folder
from tinv_ext.core.errors import HostError
from tinv_ext.core.generation import infotext
from tinv_ext.core.preflight.class_images import ClassImage
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.training.fallbacks import retry_after_freeing
from tinv_ext.hosts.base import Host, model_facts
from tinv_ext.run.events import Generated, RunControls
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.run_folder import write_image


@dataclass
class ClassImageGenerator:
    """Those of one run. Each is written whole; a run that was stopped generates those that are still lacking."""

    prepared: PreparedRun
    host: Host
    reporter: RunReporter
    controls: RunControls
    _left: list[ClassImage] = field(init=False)

    def __post_init__(self) -> None:
        self._left = list(self.prepared.to_generate)

    @property
    def finished(self) -> bool:
        """Whether all are there."""
        return not self._left

    def session(self) -> None:
        """Generate, on the model as training has it, until all are there or somebody wants something else."""
        facts = model_facts(self.host, self.prepared.config.clip_skip)
        total = len(self.prepared.to_generate)
        with self.host.training(self.prepared.config.clip_skip) as model:
            while self._left and not self._wanted_elsewhere():
                image = self._left[0]
                try:
                    shown = retry_after_freeing(model, partial(self.host.generate, image.request, {}))
                except HostError:
                    if self._wanted_elsewhere():  # interrupted in its midst
                        return
                    raise
                make_folder(image.path.parent)
                write_image(shown, image.path, {"parameters": infotext(image.request, facts)})
                del self._left[0]
                self.reporter.report(Generated(total - len(self._left), total))

    def _wanted_elsewhere(self) -> bool:
        if self.host.interrupted():
            self.controls.stop.set()
        return self.controls.stop.is_set() or self.controls.pause.is_set() or self.host.wanted()


def seconds_for_all(prepared: PreparedRun, host: Host) -> float:
    """About how long the images will take, by the first of them with a few steps only; the second time, as the first
    one fills caches. Keeps nothing."""
    first = prepared.to_generate[0].request
    few = replace(first, steps=min(first.steps, _FEW_STEPS))
    with host.training(prepared.config.clip_skip):
        host.generate(few, {})
        begun = time.perf_counter()
        host.generate(few, {})
        seconds = time.perf_counter() - begun
    return seconds * first.steps / few.steps * len(prepared.to_generate)


_FEW_STEPS = 4
