"""hosts/webui runs in A1111 and in its siblings: it imports only what all have, and does without what some lack.

Seen in the running program, or read in its source, at the commit named. Of what A1111 v1.10.1 has, these lack:

- Forge (lllyasviel/stable-diffusion-webui-forge, dfcdbab6): `sd_hijack`, `lowvram`, `sd_unet` and `hypernetworks` are
  there as stubs, without what A1111 keeps in them.
- Forge Neo (Haoming02/sd-webui-forge-classic, branch neo, as copied in exo101/sd-webui-forge-neo-v3, 5692d2d):
  `sd_hijack`, `devices.nv_rng`, the option `textual_inversion_templates_dir`.
- reForge (Panchovix/stable-diffusion-webui-reForge, 3b56b268): `sd_hijack.current_optimizer`, `sd_hijack.optimizers`.
- Classic (Haoming02/sd-webui-forge-classic, branch classic, 1f95d717): `lowvram`, `hypernetworks`, `sd_schedulers`,
  the options `no_prompt_history` and `textual_inversion_templates_dir`.
"""

from __future__ import annotations

import ast
import importlib
import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.boundaries.sources import files, imports, module_name, tree
from tests.hosts.a1111.ldm_model import stand_in
from tests.hosts.a1111.webui_names import FifoLock, Processing, State
from tests.messages import refused
from tinv_ext.core.errors import HostError
from tinv_ext.core.generation import ImageRequest

ROOM = "tinv_ext.hosts.webui"
# What every one of them has: modules, and the names of each that may be written out. Anything else goes by getattr.
SHARED = {
    "modules.call_queue": {"queue_lock"},
    "modules.devices": set(),
    "modules.processing": {"StableDiffusionProcessing", "StableDiffusionProcessingTxt2Img", "process_images"},
    "modules.sd_samplers": {"all_samplers_map", "samplers"},
    "modules.shared": {"cmd_opts", "opts", "state"},
}
OPTIONAL = {"modules.sd_schedulers": {"schedulers"}, "modules.deepbooru": {"model"}}  # imported inside a try
OPTIONS = {"data", "embeddings_dir"}  # of `opts` and `cmd_opts`, likewise
REQUEST = ImageRequest("a photo of qzx", "blurry", 7, 3.5, 42, 64, 96, scheduler="Karras")


def not_shared(source: ast.Module) -> list[str]:
    """A line for each name of the program in a source file that some of the programs lack."""
    tried = {id(node) for block in ast.walk(source) if isinstance(block, ast.Try) for node in ast.walk(block)}
    written = {id(target) for node in ast.walk(source) if isinstance(node, ast.Assign) for target in node.targets}
    allowed, wrong = dict(SHARED), []
    for node in ast.walk(source):
        if isinstance(node, ast.ImportFrom) and id(node) in tried:
            allowed |= OPTIONAL
    names = {}
    for item in imports(source, ROOM):
        if item.module.partition(".")[0] != "modules":
            continue
        module, _, name = item.module.rpartition(".")
        if item.module in allowed:
            names[name] = allowed[item.module]
        elif name not in allowed.get(module, ()):
            wrong.append(f"line {item.line}: {item.module}")
    for node in ast.walk(source):
        if not isinstance(node, ast.Attribute) or id(node) in written:  # to set one that is lacking does no harm
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and node.attr not in names.get(owner.id, {node.attr}):
            wrong.append(f"line {node.lineno}: {owner.id}.{node.attr}")
        if isinstance(owner, ast.Attribute) and owner.attr in ("opts", "cmd_opts") and node.attr not in OPTIONS:
            wrong.append(f"line {node.lineno}: {owner.attr}.{node.attr}")
    return wrong


def test_it_uses_only_what_all_programs_have() -> None:
    """Imports, attributes of modules, options."""
    sources = [path for path in files() if module_name(path).startswith(ROOM)]
    assert len(sources) > 3
    wrong = {module_name(path): lines for path in sources if (lines := not_shared(tree(path)))}
    assert wrong == {}


@pytest.mark.parametrize(
    "code",
    [
        "from modules import sd_hijack",
        "from modules import lowvram",
        "import modules.sd_unet",
        "from modules.hypernetworks import hypernetwork",
        "from modules.textual_inversion.textual_inversion import Embedding",
        "from modules import sd_schedulers",
        "def f():\n    from modules import sd_schedulers",
        "from modules import devices\nkept = devices.nv_rng",
        "from modules import shared\nkept = shared.cmd_opts.no_prompt_history",
        "from modules import shared\nfolder = shared.cmd_opts.textual_inversion_templates_dir",
        "from modules import shared\nclip_skip = shared.opts.CLIP_stop_at_last_layers",
        "from modules import shared\nmodel = shared.sd_model",
    ],
)
def test_what_one_of_them_lacks_is_found(code: str) -> None:
    """Each of these would fail somewhere, or be a setting of another kind there."""
    assert len(not_shared(ast.parse(code))) == 1


# --- running in what they have ---------------------------------------------------------------------------------------


class Txt2Img(Processing):
    """Of its own, since the caches are attributes of the class."""


def program(sampler_names: list[str]) -> dict[str, dict[str, Any]]:
    """Only what all programs have, as stand-ins that behave as they do. It notes what an image was asked for."""
    opts = SimpleNamespace(data={"CLIP_stop_at_last_layers": 1})
    shared: dict[str, Any] = {"opts": opts, "cmd_opts": SimpleNamespace(), "state": State()}
    asked: list[dict[str, Any]] = []

    def process_images(p: Any) -> Any:
        asked.append({"p": p, "settings": dict(opts.data), "options": dict(vars(shared["cmd_opts"]))})
        torch.manual_seed(p.seed)
        np.random.seed(1)  # noqa: NPY002 (the global one is meant)
        random.seed(1)
        shared["state"].job = "txt2img"
        return SimpleNamespace(images=[Image.new("RGB", (p.width, p.height))])

    return {
        "modules": {},
        "modules.shared": shared,
        "modules.devices": {},
        "modules.call_queue": {"queue_lock": FifoLock()},
        "modules.sd_samplers": {
            "samplers": [SimpleNamespace(name=name) for name in sampler_names],
            "all_samplers_map": dict.fromkeys(sampler_names),
        },
        "modules.processing": {
            "StableDiffusionProcessing": Txt2Img,
            "StableDiffusionProcessingTxt2Img": Txt2Img,
            "process_images": process_images,
            "asked": asked,
        },
    }


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The program's modules in `sys.modules`, and ours to be imported afresh."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "modules" or name.startswith(ROOM)]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc"):
        monkeypatch.setattr(Txt2Img, name, [None, None, None], raising=False)  # as Forge has them
    yield stand_in(program(["DDIM", "Euler a"]), monkeypatch)
    for name in [name for name in sys.modules if name.startswith(ROOM)]:
        del sys.modules[name]


def ours(name: str) -> Any:
    """A module of the room."""
    return importlib.import_module(f"{ROOM}.{name}")


def test_an_image_is_made_in_the_least_of_them(modules: dict[str, ModuleType]) -> None:
    """What is asked for arrives; afterwards randomness, progress and settings are as they were."""
    shared, before = modules["modules.shared"], torch.get_rng_state()
    image = ours("txt2img").generate(REQUEST, {"CLIP_stop_at_last_layers": 2})
    assert image.size == (64, 96)
    (asked,) = modules["modules.processing"].asked
    assert (asked["p"].prompt, asked["p"].seed) == ("a photo of qzx", 42)
    assert asked["settings"] == {"CLIP_stop_at_last_layers": 2, "live_previews_enable": False}
    assert asked["options"] == {}
    assert not hasattr(asked["p"], "scheduler")  # the stand-in is older than v1.9
    assert shared.opts.data == {"CLIP_stop_at_last_layers": 1}
    assert shared.state.job == ""
    assert torch.equal(torch.get_rng_state(), before)
    assert not hasattr(modules["modules.devices"], "nv_rng")
    assert not hasattr(shared.cmd_opts, "no_prompt_history")


def test_what_only_some_of_them_have_is_restored_there(modules: dict[str, ModuleType]) -> None:
    """A1111's generator of its own, and its option."""
    shared, devices = modules["modules.shared"], modules["modules.devices"]
    generator = object()
    shared.cmd_opts.no_prompt_history, devices.nv_rng = False, generator
    generate = modules["modules.processing"].process_images

    def and_use_it(p: Any) -> Any:
        devices.nv_rng = None
        return generate(p)

    modules["modules.processing"].process_images = and_use_it
    ours("txt2img").generate(REQUEST, {})
    assert modules["modules.processing"].asked[0]["options"] == {"no_prompt_history": True}
    assert (shared.cmd_opts.no_prompt_history, devices.nv_rng) == (False, generator)


def test_a_prompt_cache_keeps_its_length(modules: dict[str, ModuleType]) -> None:
    """Forge's has three entries: with two, the embeddings are missing from the infotext of a repeated prompt."""
    ours("txt2img").generate(REQUEST, {})
    p = modules["modules.processing"].asked[0]["p"]
    assert p.cached_c == p.cached_uc == [None, None, None]
    assert p.cached_c is not Txt2Img.cached_c
    Txt2Img.cached_c = ["a photo of qzx", "as the old vectors had it", "TI: qzx"]
    ours("txt2img").forget_prompts()
    assert Txt2Img.cached_c == [None, None, None]


def test_an_unknown_sampler_is_refused(modules: dict[str, ModuleType]) -> None:
    """The program would quietly take another."""
    request = ImageRequest("x", "", 5, 3.0, 1, 64, 64, sampler="Magic")
    with refused("hosts.no_such_sampler", HostError, sampler="Magic", samplers=["DDIM", "Euler a"]):
        ours("txt2img").generate(request, {})


def test_lists_are_those_of_the_program(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hidden samplers; schedule types where there is a choice."""
    assert ours("samplers").samplers() == ["DDIM", "Euler a"]
    assert ours("samplers").schedulers() == []
    modules["modules.sd_samplers"].samplers_hidden = {"DDIM"}
    assert ours("samplers").samplers() == ["Euler a"]
    schedulers = {"schedulers": [SimpleNamespace(label="Karras")]}
    monkeypatch.setattr(modules["modules"], "sd_schedulers", SimpleNamespace(**schedulers), raising=False)
    assert ours("samplers").schedulers() == ["Karras"]


def test_the_queue_and_interrupt_are_those_of_the_program(modules: dict[str, ModuleType]) -> None:
    """They need nothing of the model."""
    lock, state = modules["modules.call_queue"].queue_lock, modules["modules.shared"].state
    interrupt = ours("interrupt").Interrupt()
    press: Callable[[], None] = state.interrupt
    with ours("queue_lock").holding_queue(), interrupt.watched():
        assert lock._lock.locked()
        state.interrupt()
    assert interrupt.taken()
    assert not interrupt.taken()
    assert not lock._lock.locked()
    assert not state.interrupted
    assert state.interrupt == press


class Interrogator:
    """With the methods of v1.10.1's and Forge's, which both keep the order load, caption, unload."""

    def __init__(self, lock: Any) -> None:
        self.lock, self.calls = lock, list[str]()

    def load(self) -> None:
        self.calls.append(f"load {self.lock._lock.locked()}")

    def generate_caption(self, image: Image.Image) -> str:
        self.calls.append(f"caption {image.mode}")
        if image.width == 1:
            raise RuntimeError("no")
        return "a cat"

    def unload(self) -> None:
        self.calls.append("unload")


def test_each_caption_takes_its_turn_at_the_queue(
    modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models are put away after each image, also after one that fails; a program without them has no captioners."""
    lock = modules["modules.call_queue"].queue_lock
    assert ours("interrogators").captioners() == {}
    interrogator = Interrogator(lock)
    modules["modules.shared"].interrogator = interrogator
    tagger = SimpleNamespace(tag=lambda image: f"tags {lock._lock.locked()}")
    monkeypatch.setitem(sys.modules, "modules.deepbooru", ModuleType("modules.deepbooru"))
    monkeypatch.setattr(modules["modules"], "deepbooru", SimpleNamespace(model=tagger), raising=False)
    captioners = ours("interrogators").captioners()
    with captioners["blip"]() as caption, captioners["deepbooru"]() as tag:
        assert not lock._lock.locked()
        assert (caption(Image.new("RGB", (2, 2))), tag(Image.new("RGB", (2, 2)))) == ("a cat", "tags True")
        with pytest.raises(RuntimeError):
            caption(Image.new("RGB", (1, 1)))
    assert interrogator.calls == ["load True", "caption RGB", "unload"] * 2
    assert not lock._lock.locked()
