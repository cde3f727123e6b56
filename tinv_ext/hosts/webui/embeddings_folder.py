"""The folder of embeddings that the program's prompts can use, and reading it again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from modules import shared

from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import message
from tinv_ext.core.suffixes import RUN_SUFFIXES
from tinv_ext.hosts.webui.queue_lock import holding_queue
from tinv_ext.hosts.webui.txt2img import forget_prompts


class EmbeddingsFolder:
    """That of --embeddings-dir; it remembers which files it has seen."""

    def __init__(self) -> None:
        self._files = self._modification_times()

    @property
    def path(self) -> Path:
        return Path(shared.cmd_opts.embeddings_dir)

    def refresh(self, reload: Callable[[], Collection[str]]) -> None:
        """Have the program read the folder again and forget encoded prompts. HostError if it rejects a new file.

        `reload` does the reading and says which names the program has accepted; it is called with the queue held.
        """
        with holding_queue():
            accepted = reload()
            forget_prompts()
        before, self._files = self._files, self._modification_times()
        new = [path.stem for path, modified in self._files.items() if before.get(path) != modified]
        rejected = [name for name in new if name not in accepted]
        if rejected:
            raise HostError(
                message(
                    "hosts.embedding_rejected",
                    "The WebUI could not load the embedding {names:, }; its console says why. The file is saved in "
                    '"{folder}".',
                    names=rejected,
                    folder=self.path,
                )
            )

    def _modification_times(self) -> dict[Path, int]:
        files = (path for suffix in RUN_SUFFIXES for path in self.path.glob(f"*{suffix}"))
        return {path: path.stat().st_mtime_ns for path in files}
