"""The WebUI's Interrupt: it stops a run, but only where a person means the run by it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.hosts.a1111.ldm_model import needs_ldm
from tests.hosts.a1111.test_queue_lock import PATIENCE, generation, wait_until
from tests.messages import refused, said
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import HostError, NotNowError
from tinv_ext.core.formats import write_embedding

pytestmark = needs_ldm


def test_interrupt_is_seen_while_the_run_has_the_model(webui: Any) -> None:
    """Pressed before or after, it is not the run's; pressed within, it is, and leaves nothing behind."""
    state = webui.shared.state
    state.interrupt()  # of an earlier image
    before = webui.snapshot()
    with webui.host.training(1):
        assert not webui.host.interrupted()
        state.interrupt()
        assert webui.host.interrupted()
    assert webui.difference(before, webui.snapshot()) == []
    with webui.host.training(1):
        assert not webui.host.interrupted()


@pytest.mark.parametrize("moment", ["taking", "giving back"])
def test_an_interrupt_is_not_lost_while_the_model_changes_hands(webui: Any, moment: str) -> None:
    """Moving a model takes seconds, and the run has the queue by then: a press stops it after its next step."""
    session = webui.host._variant.session

    @contextlib.contextmanager
    def slow(*given: Any) -> Iterator[Any]:
        with session(*given) as made:
            if moment == "taking":
                webui.shared.state.interrupt()
            yield made
        if moment == "giving back":
            webui.shared.state.interrupt()

    webui.patch.setattr(webui.host._variant, "session", slow)
    with webui.host.training(1):
        assert webui.host.interrupted() == (moment == "taking")
    webui.patch.undo()
    with webui.host.training(1):
        assert webui.host.interrupted() == (moment == "giving back")
        assert not webui.host.interrupted()


def test_reloading_the_ui_interrupts_no_run(webui: Any) -> None:
    """The WebUI interrupts whatever it does for that; nobody has meant the run."""
    with webui.host.training(1):
        webui.shared.state.request_restart()
        assert webui.shared.state.interrupted
        assert not webui.host.interrupted()


def test_an_interrupt_while_a_generation_waits_is_meant_for_it(webui: Any) -> None:
    """While a request waits for the queue, Interrupt is pressed for it."""
    with webui.host.training(1):
        thread = generation(webui.modules["modules.call_queue"].queue_lock, [], "generation")
        wait_until(webui.host.wanted)
        webui.shared.state.interrupt()
        assert not webui.host.interrupted()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("change", ["model", "clip skip"])
def test_what_somebody_has_switched_can_be_switched_back(webui: Any, change: str) -> None:
    """Another checkpoint or clip skip: no training until it is as it was; with a sentence that names both."""
    info = webui.shared.sd_model.sd_checkpoint_info
    name, skip = info.model_name, webui.shared.opts.CLIP_stop_at_last_layers
    if change == "model":
        info.model_name = "another"
    else:
        webui.shared.opts.CLIP_stop_at_last_layers = 2
    with refused("hosts.another_model_loaded", NotNowError) as caught:
        webui.host.training(1).__enter__()
    (problem,) = caught.value.problems
    assert said([problem.values["wanted"]], "hosts.model", model_name=name, clip_skip=skip)
    now = {"model_name": info.model_name, "clip_skip": webui.shared.opts.CLIP_stop_at_last_layers}
    assert said([problem.values["loaded"]], "hosts.model", **now)
    info.model_name, webui.shared.opts.CLIP_stop_at_last_layers = name, skip
    with webui.host.training(1):
        pass


def test_a_file_that_the_webui_would_refuse_takes_no_place(webui: Any, tmp_path: Path) -> None:
    """Its own checker is asked before the old file is replaced; what it takes is written."""
    embedding, path = Embedding("zibbo", {"clip_l": torch.ones(1, 64)}), tmp_path / "zibbo.pt"
    write_embedding(embedding, path, validate_file=webui.host.validate_file)
    before = path.read_bytes()

    def refuse(filename: str, extra_handler: Any) -> None:
        raise ValueError("bad file inside")

    webui.patch.setattr(webui.modules["modules.safe"], "check_pt", refuse)
    with refused("hosts.file_fails_the_safety_check", HostError, reason="bad file inside"):
        write_embedding(embedding, path, validate_file=webui.host.validate_file)
    assert path.read_bytes() == before
    write_embedding(embedding, tmp_path / "zibbo.safetensors", validate_file=webui.host.validate_file)
