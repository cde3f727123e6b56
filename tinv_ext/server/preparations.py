"""Preparations in a thread of their own: one at a time, and it goes on whoever looks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import message
from tinv_ext.prepare.captions import Captioner
from tinv_ext.prepare.plan import NewImage, Plan, PlannedImage
from tinv_ext.prepare.preparation import Progress, prepare, refuse_missing
from tinv_ext.server.failures import errors_told


class Preparations:
    """The preparation at work, or the last one. `captioners` are those of the program around it, by name."""

    def __init__(self, captioners: Callable[[], Mapping[str, Captioner]] = dict) -> None:
        self.captioners = captioners
        self.progress: Progress | None = None
        self.error: TinvError | None = None
        self.plan: Plan | None = None
        self._starting = threading.Lock()
        self._over = threading.Event()
        self._stop = threading.Event()
        self._over.set()

    @property
    def folder(self) -> Path:
        """The folder that is written into."""
        return self.plan.options.folder if self.plan else Path()

    @property
    def at_work(self) -> bool:
        """Whether one is."""
        return not self._over.is_set()

    def images(self) -> list[tuple[PlannedImage, NewImage]]:
        """The new images that there are, each with the one that it was made of."""
        planned = self.plan.used if self.plan and self.plan.options.target else ()
        made = ((image, new) for image in planned for new in image.made)
        return [(image, new) for image, new in made if new.path.is_file()]

    def start(self, plan: Plan, captioners: Mapping[str, Captioner]) -> None:
        """Begin to carry out a plan. `InputError` while another one is at work, or if a captioner is missing."""
        refuse_missing(plan.options, captioners)
        with self._starting:
            if not self._over.is_set():
                raise InputError(
                    message("server.preparing", "A preparation is at work. Wait until it is done, or stop it.")
                )
            self._over.clear()
        self.progress, self.error, self.plan = Progress(0, len(plan.used)), None, plan
        self._stop.clear()
        threading.Thread(target=self._work, args=(plan, captioners), name="tinv-prepare", daemon=True).start()

    def stop(self) -> None:
        """Have it stop after the image at hand; what is written stays."""
        self._stop.set()

    def forget(self, folder: Path) -> None:
        """Say no more of the last one, if it was of this folder and has been undone."""
        if not self.at_work and self.plan and self.folder == folder:
            self.progress, self.error, self.plan = None, None, None

    def _work(self, plan: Plan, captioners: Mapping[str, Captioner]) -> None:
        try:
            with errors_told():
                for progress in prepare(plan, captioners, self._stop.is_set):
                    self.progress = progress
        except TinvError as error:
            self.error = error
        finally:
            self._over.set()
