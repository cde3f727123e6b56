"""The end of a run: the embedding where prompts find it, what it replaces kept aside, and its thumbnail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinv_ext.core.atomic import atomic_copy
from tinv_ext.core.formats.image_read import carries_embedding
from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.suffixes import EMBEDDING_SUFFIXES, TENSOR_SUFFIXES
from tinv_ext.core.training.progress import Best
from tinv_ext.hosts.base import Host
from tinv_ext.run import thumbnail
from tinv_ext.run.embedding_file import EmbeddingWriter
from tinv_ext.run.previews import Previews
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.snapshots import Snapshots


@dataclass(frozen=True)
class FinalEmbedding:
    """The file in the host's folder of embeddings; where that is not of the last step, `snapshots` keep the last."""

    config: TrainConfig
    host: Host
    reporter: RunReporter
    writer: EmbeddingWriter
    previews: Previews
    snapshots: Snapshots

    @property
    def best(self) -> dict[str, Best | None]:
        """For each word the vectors that are written instead of those of the last step, where these are not as good."""
        state, wanted = self.writer.state, self.config.result == "best"
        return {
            name: state.progress.result_of(name, state.vectors, state.step) if wanted else None
            for name in self.writer.names
        }

    @property
    def steps(self) -> dict[str, int]:
        """For each word the step whose vectors are written."""
        return {name: best.step if best else self.writer.state.step for name, best in self.best.items()}

    def write(self) -> Path:
        """Write that of each word and have the host know them; the file of the first.

        NotNowError if the disk is full, HostError if one cannot be written.
        """
        best = self.best
        if any(best.values()):
            self.snapshots.write_once(self.writer.state.step)
        files = {name: self.host.embeddings_folder / f"{name}{self.writer.suffix}" for name in self.writer.names}
        replaced = [old for file in files.values() for old in self._back_up(file)]
        folder = self.reporter.folder.diffusers
        if self.writer.write_folder(folder, best):
            self.reporter.notify(
                message("run.folder_for_diffusers", "The folder for diffusers: {folder}", folder=folder)
            )
        for name, file in files.items():
            self.writer.write("embedding", file, best[name], name)
        for old in replaced:
            self._remove(old)
        for name, file in files.items():
            self._put_thumbnail(name, file)
        self.host.refresh_embeddings(files)
        return files[self.config.name]

    def _back_up(self, file: Path) -> list[Path]:
        """Copy the files of this name that a prompt would find into the run folder.

        Those that writing `file` will not replace are returned.
        """
        others = []
        there = sorted(file.parent.iterdir()) if file.parent.is_dir() else []
        for old in there:
            if old.stem.lower() != file.stem.lower() or old.suffix.lower() not in EMBEDDING_SUFFIXES:
                continue
            if not old.exists():
                continue  # a link to nothing
            if old.suffix.lower() not in TENSOR_SUFFIXES and not carries_embedding(old):
                continue  # an image of the person's own, such as the thumbnail
            self._back_up_one(old)
            if old != file and not (file.exists() and old.samefile(file)):  # other capitals, one file
                others.append(old)
        return others

    def _back_up_one(self, old: Path) -> None:
        backup = self.reporter.folder.backup(old)
        atomic_copy(old, backup)
        self.reporter.log(f"{old.name} was there before; it is kept as {backup}")

    def _remove(self, old: Path) -> None:
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            self.reporter.notify(
                message(
                    "run.replaced_file_not_removed",
                    "{path} was replaced but could not be removed ({reason}): remove it, or prompts may find it.",
                    path=old,
                    reason=error.strerror,
                )
            )

    def _put_thumbnail(self, name: str, file: Path) -> None:
        """A word's last preview as its thumbnail, if wanted; what hinders it is logged and stops nothing."""
        if self.config.thumbnail == "none":
            return
        folder = self.reporter.folder
        try:
            if folder.last_preview(self.config.name) is None and self.config.thumbnail != "auto":
                self.previews.generate()
            own = thumbnail.own_thumbnails(file)
            source = folder.last_preview(name)
            if own and self.config.thumbnail != "replace":
                self.reporter.log(f"{own[0].name} is there already, so the thumbnail was left as it was")
            elif source:
                for old in own:
                    self._back_up_one(old)
                    old.unlink()
                self.reporter.log(f"the thumbnail is {thumbnail.write_thumbnail(source, file)}")
        except Exception as error:  # noqa: BLE001 (a sampler may raise anything, and the embedding is written)
            self.reporter.log(f"no thumbnail was made: {error}")


def outcome(final: FinalEmbedding, reason: str) -> str:
    """How the run ended, for people: why, if not at its last step, and which step was saved, if not that.

    `reason` is why it was stopped.
    """
    state, steps = final.writer.state, final.steps
    best = next(iter(steps.values()))
    plan = final.writer.prepared.plan
    back = plan.stop.looks_back(state.step - state.progress.start) if plan.stop else 0
    images = back * plan.batch_size * plan.accumulate
    if len(set(steps.values())) > 1:
        saved = _of_words(steps, state.step)
        if state.progress.ended:
            reason = message("run.no_improvement", "No improvement in the last {images:image|images}.", images=images)
        return message("run.reason_and_saved", "{reason} {saved}", reason=reason, saved=saved) if reason else saved
    if state.progress.ended and best != state.step:
        return message(
            "run.done_best_saved",
            "No improvement in the last {images:image|images}. Step {best} is the best and was saved; step {last} is "
            "in the run's folder.",
            images=images,
            best=best,
            last=state.step,
        )
    if state.progress.ended:
        return message(
            "run.done",
            "No improvement in the last {images:image|images}, so the run ended; step {last} was saved.",
            images=images,
            last=state.step,
        )
    if best == state.step:
        return reason
    saved = message(
        "run.best_saved",
        "Step {best} is the best by evaluation and was saved; step {last} is in the run's folder.",
        best=best,
        last=state.step,
    )
    return message("run.reason_and_saved", "{reason} {saved}", reason=reason, saved=saved) if reason else saved


def _of_words(steps: Mapping[str, int], last: int) -> Message:
    """That several words are of different steps."""
    return message(
        "run.best_of_words_saved",
        "Of each word the best step by its own evaluation was saved: {words:, }; step {last} is in the run's folder.",
        words=[
            message("run.word_of_step", "{word} (step {step})", word=word, step=step) for word, step in steps.items()
        ],
        last=last,
    )
