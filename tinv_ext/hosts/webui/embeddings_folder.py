"""The folder of embeddings that the program's prompts can use, and reading it again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from modules import shared

from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import message
from tinv_ext.hosts.webui.queue_lock import holding_queue
from tinv_ext.hosts.webui.txt2img import forget_prompts


def embeddings_folder() -> Path:
    """That of --embeddings-dir."""
    return Path(shared.cmd_opts.embeddings_dir)


def refresh(reload: Callable[[], Collection[str]], written: Collection[str]) -> None:
    """Have the program read the folder again and forget encoded prompts. HostError if it rejects one of `written`.

    `reload` does the reading and says which names the program has accepted; it is called with the queue held. It does
    not accept those for another kind of model, which people may put there at any time.
    """
    with holding_queue():
        accepted = reload()
        forget_prompts()
    rejected = [name for name in written if name not in accepted]
    if rejected:
        raise HostError(
            message(
                "hosts.embedding_rejected",
                "The WebUI could not load the embedding {names:, }; its console says why. The file is saved in "
                '"{folder}".',
                names=rejected,
                folder=embeddings_folder(),
            )
        )
