"""What the command line shows, when nobody can see it any more."""

from __future__ import annotations

import io
import threading

import pytest
from tqdm import tqdm

from tests.fake_host import FakeHost
from tests.run.test_runner import Configure, config, host  # noqa: F401  (fixtures)
from tinv_ext.cli.progress import Progress
from tinv_ext.run import runner


class Hung(io.StringIO):
    """A terminal that is closed after so many writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


@pytest.mark.parametrize("writes", [0, 1, 5, 20])
def test_a_closed_terminal_ends_no_run(host: FakeHost, config: Configure, writes: int) -> None:  # noqa: F811
    """Broken at the first word or in the midst of a bar."""
    with Progress(Hung(writes)) as progress:
        assert runner.run(config(save_every=2), host, progress.report).status == "finished"
    with Progress(io.StringIO()) as progress:
        progress._stream.close()
        assert runner.run(config(overwrite=True), host, progress.report).status == "finished"
    assert others_can_show()


def others_can_show() -> bool:
    """Whether another thread can have the lock that all bars share: not where a write failed with it held."""
    thread = threading.Thread(target=_take_and_release, daemon=True)
    thread.start()
    thread.join(5)
    return not thread.is_alive()


def _take_and_release() -> None:
    with tqdm.get_lock():
        pass
