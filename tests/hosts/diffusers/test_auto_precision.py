"""The precision "auto": tested on the model itself against float32, and what is tried where that fails."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.hosts.diffusers import small_pipelines
from tests.messages import ids, said
from tinv_ext import models, toy
from tinv_ext.hosts.diffusers import auto_precision
from tinv_ext.hosts.diffusers.auto_precision import CPUINFO, Placed, Source, candidates, placed_by_test
from tinv_ext.hosts.diffusers.gradient_test import LEAST, cosine, small_step
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.hosts.diffusers.placing import place
from tinv_ext.hosts.diffusers.verdicts import FILE, Verdict, Verdicts, fingerprint

CPU = torch.device("cpu")
AS_ON_CUDA = ("fp16", "bf16", "fp32")


@pytest.fixture
def speed_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without such instructions is slower in half precision; here the gradient alone decides."""
    monkeypatch.setattr(auto_precision, "FASTER", math.inf)
    monkeypatch.setattr(auto_precision, "QUICK", 0.0)


def overflowing(factor: float) -> Any:
    """The toy with the same answers, whose transformers' inner numbers are `factor` times as large."""
    made = toy.pipeline()
    for name, module in made.unet.named_modules():
        if name.endswith(".ff"):
            grown, shrunk = module.net[0].proj, module.net[2]
            half = len(grown.weight) // 2  # of GEGLU: values, then gates
            with torch.no_grad():
                grown.weight[:half] *= factor
                grown.bias[:half] *= factor
                shrunk.weight /= factor
    return made


class Opened:
    """A model that tells in which types it is read."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self.types: list[torch.dtype] = []

    def __call__(self, dtype: torch.dtype) -> Any:
        self.types.append(dtype)
        made = self._make()
        for part in (made.unet, made.text_encoder):
            part.to(dtype)
        return made


def source(read: Callable[[torch.dtype], Any], name: str = "toy") -> Source:
    """A model by that name."""
    return Source(read, lambda: name)


TOY = source(Opened(toy.pipeline))


def dtype_of(placed: Placed) -> torch.dtype:
    """In which the UNet is."""
    return placed.pipeline.unet.dtype  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [small_pipelines.sd2, small_pipelines.sdxl, small_pipelines.inpainting])
def test_the_small_step_is_the_same_each_time_and_leaves_no_trace(make: Callable[[], Any]) -> None:
    """In every family; random numbers of others, gradients and modes included."""
    pipeline = make()
    pipeline.unet.train()
    before = torch.get_rng_state()
    once, again = small_step(pipeline), small_step(pipeline)
    assert all(bool(one.any()) for one in once.gradient.values())
    assert all(torch.equal(one, again.gradient[key]) for key, one in once.gradient.items())
    assert torch.equal(torch.get_rng_state(), before)
    assert pipeline.unet.training
    assert all(weight.requires_grad and weight.grad is None for weight in pipeline.unet.parameters())


def test_the_cosine_is_that_of_the_worst_encoder() -> None:
    """Of a length alone it knows nothing; of no gradient, or one that is not finite, nothing can be said."""
    one, across = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    assert cosine({"l": 3 * one, "g": across}, {"l": one, "g": one}) == pytest.approx(0.6)
    assert math.isnan(cosine({"l": one * math.inf}, {"l": one}))
    assert math.isnan(cosine({"l": one * 0}, {"l": one}))


@pytest.mark.usefixtures("speed_is_no_matter")
def test_the_first_precision_that_agrees_is_taken(tmp_path: Path) -> None:
    """It is told with its cosine, and the model is read once."""
    opened = Opened(toy.pipeline)
    placed = placed_by_test(source(opened), "cpu", tmp_path / FILE, AS_ON_CUDA)
    assert dtype_of(placed) == torch.float16
    assert ids(placed.notes) == ["hosts.precision_verified"]
    assert said(placed.notes, "hosts.precision_verified", precision="fp16")
    assert LEAST <= placed.notes[0].values["cosine"] <= 1
    assert opened.types == [torch.float32]


@pytest.mark.usefixtures("speed_is_no_matter")
def test_a_model_that_overflows_in_float16_is_taken_in_bfloat16(tmp_path: Path) -> None:
    """Its weights are those of the file again, not what float16 has left of them; both is told."""
    opened = Opened(lambda: overflowing(2.0**18))
    placed = placed_by_test(source(opened), "cpu", tmp_path / FILE, AS_ON_CUDA)
    assert dtype_of(placed) == torch.bfloat16
    assert said(placed.notes, "hosts.precision_rejected", precision="fp16", slower="bf16")
    assert said(placed.notes, "hosts.precision_verified", precision="bf16")
    assert opened.types == [torch.float32, torch.bfloat16]
    expected = overflowing(2.0**18).unet.to(torch.bfloat16)
    assert all(torch.equal(one, other) for one, other in zip(placed.pipeline.unet.parameters(), expected.parameters()))


@pytest.mark.usefixtures("speed_is_no_matter")
def test_what_agrees_in_no_half_precision_is_taken_in_float32(tmp_path: Path) -> None:
    """As where a large number that says nothing stands beside what a token says, whose digits are lost to it."""

    def rounding() -> Any:
        made = toy.pipeline()
        with torch.no_grad():
            next(w for name, w in made.text_encoder.named_parameters() if "position_embedding" in name).add_(100.0)
        return made

    placed = placed_by_test(source(Opened(rounding)), "cpu", tmp_path / FILE, AS_ON_CUDA)
    assert dtype_of(placed) == torch.float32
    assert ids(placed.notes) == ["hosts.precision_rejected"] * 2
    assert [note.values["slower"] for note in placed.notes] == ["bf16", "fp32"]


@pytest.mark.usefixtures("speed_is_no_matter")
def test_a_verdict_is_kept_for_the_model_it_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time nothing is computed, and the model is read in what was good alone; another model is tested."""
    file = tmp_path / "not there yet" / FILE
    first = placed_by_test(source(Opened(lambda: overflowing(2.0**18))), "cpu", file, AS_ON_CUDA)
    first.verdicts.write()
    assert not file.parent.exists()
    file.parent.mkdir()
    first.verdicts.write()
    taken: list[Any] = []
    monkeypatch.setattr(
        auto_precision, "small_step", lambda *given, **how: taken.append(1) or small_step(*given, **how)
    )
    opened = Opened(lambda: overflowing(2.0**18))
    again = placed_by_test(source(opened), "cpu", file, AS_ON_CUDA)
    assert (again.notes, opened.types, taken) == (first.notes, [torch.bfloat16], [])
    placed_by_test(source(Opened(toy.pipeline), "another"), "cpu", file, AS_ON_CUDA)
    assert taken


def test_a_precision_that_is_no_faster_on_a_cpu_is_left_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 agrees here, so it is its time alone that decides."""
    monkeypatch.setattr(auto_precision, "FASTER", 0.0)
    monkeypatch.setattr(auto_precision, "QUICK", 0.0)
    placed = placed_by_test(TOY, "cpu", tmp_path / FILE, ("bf16", "fp32"))
    assert (dtype_of(placed), placed.notes) == (torch.float32, ())
    placed.verdicts.write()
    (kept,) = json.loads((tmp_path / FILE).read_text())
    assert kept["slowness"] > 0
    assert kept["cosine"] >= LEAST


def test_a_cpu_keeps_a_quick_model_in_float32_whatever_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time so short can be any, so that the same settings would not always learn the same word."""
    monkeypatch.setattr(auto_precision, "FASTER", math.inf)
    monkeypatch.setattr(auto_precision, "QUICK", math.inf)  # as the tiny model is, unless something holds it up
    placed = placed_by_test(source(Opened(toy.pipeline)), "cpu", tmp_path / FILE, ("bf16", "fp32"))
    assert (dtype_of(placed), placed.notes) == (torch.float32, ())
    placed.verdicts.write()
    assert not (tmp_path / FILE).exists()


def test_where_memory_does_not_suffice_to_compare_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the precision that is usually best, which is told; the next time it may suffice, so nothing is kept."""

    def no_memory(*given: Any, **how: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(auto_precision, "small_step", no_memory)
    placed = placed_by_test(TOY, "cpu", tmp_path / FILE, AS_ON_CUDA)
    assert dtype_of(placed) == torch.float16
    assert ids(placed.notes) == ["hosts.precision_unverified"]
    placed.verdicts.write()
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "reason", ["\"slow_conv2d_cpu\" not implemented for 'Half'", "GET was unable to find an engine to execute this"]
)
@pytest.mark.usefixtures("speed_is_no_matter")
def test_a_precision_that_the_device_cannot_compute_in_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """With what torch says, though in a run the second would be taken for a lack of memory; float32 is not asked to
    explain itself."""

    def refused(pipeline: Any, timed: bool = False) -> Any:
        if pipeline.unet.dtype == torch.float16:
            raise RuntimeError(reason)
        return small_step(pipeline, timed)

    monkeypatch.setattr(auto_precision, "small_step", refused)
    placed = placed_by_test(TOY, "cpu", tmp_path / FILE, ("fp16", "fp32"))
    assert dtype_of(placed) == torch.float32
    assert placed.notes[0].values["found"] == reason


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", "bf16"),
        ("flags\t\t: fpu amx_tile amx_bf16\n", "bf16"),
        ("Features\t: fp asimd bf16 i8mm\n", "bf16"),
        ("flags\t\t: fpu avx2 avx512f avx512bw avx512vl\n", "fp32"),
        ("bugs\t\t: none_of_bf16\n", "fp32"),
        (None, "fp32"),
    ],
)
def test_a_cpu_is_tried_in_bfloat16_where_it_has_instructions_for_it(
    tmp_path: Path, text: str | None, first: str
) -> None:
    """AVX-512 alone is not enough; nor is a system that does not tell."""
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    assert candidates(CPU, file)[0] == first
    assert candidates(torch.device("meta"), file) == ("fp32",)


def keep(file: Path, key: str, verdict: Verdict) -> None:
    """What is found of half precision, written."""
    known = Verdicts(file, key)
    known.keep("fp16", verdict)
    assert known.of("fp16") == verdict or math.isnan(verdict.cosine)
    known.write()


def test_damaged_verdicts_are_as_none(tmp_path: Path) -> None:
    """Of a file or of an entry; the others stay."""
    file = tmp_path / FILE
    for text in ("", "{", "3", "[3, null]", '[{"of": "a", "precision": "fp16", "cosine": "1"}]'):
        file.write_text(text)
        assert Verdicts(file, "a").of("fp16") is None
    keep(file, "a", Verdict(0.5))
    keep(file, "b", Verdict(math.nan, 1.5, "no"))
    assert Verdicts(file, "a").of("fp16") == Verdict(0.5)
    found = Verdicts(file, "b").of("fp16")
    assert found is not None
    assert (math.isnan(found.cosine), found.slowness, found.trouble) == (True, 1.5, "no")
    keep(file, "a", Verdict(0.75))
    assert Verdicts(file, "a").of("fp16") == Verdict(0.75)
    assert len(json.loads(file.read_text())) == 2


def test_another_checkpoint_has_another_fingerprint(tmp_path: Path) -> None:
    """One block of it is enough where the file is small; so is its length; the same bytes have the same."""
    numbers = torch.randn(1 << 16)
    files = [tmp_path / name for name in ("one", "copy", "changed", "longer")]
    for file in files:
        save_file({"weight": numbers}, file)
    numbers[-1] += 1
    save_file({"weight": numbers}, files[2])
    files[3].write_bytes(files[0].read_bytes() + b" ")
    first, copy, *others = (fingerprint([file]) for file in files)
    assert first == copy
    assert len({first, fingerprint(files[:2]), *others}) == 4


def test_a_host_is_opened_in_what_was_found_and_check_tells_it(tmp_path: Path) -> None:
    """Without bfloat16 in the CPU there is nothing to tell; a precision that is asked for is taken untested."""
    host = models.open_host("toy", tmp_path / "embeddings", device="cpu", verdicts=tmp_path)
    if candidates(CPU, CPUINFO) == ("fp32",):
        assert not (tmp_path / FILE).exists()
    assert "hosts.loaded_pipeline" in ids(host.model_notes)
    told = placed_by_test(TOY, "cpu", None, ("fp32",))
    assert (dtype_of(told), told.notes) == (torch.float32, ())
    note = Verdict(1.0)
    pipeline = toy.pipeline()
    place(pipeline, CPU, "bf16")
    notes = tuple(auto_precision._told("bf16", "fp32", note))
    host = DiffusersHost(pipeline, tmp_path, {"model_name": "toy"}, precision_notes=notes)
    assert said(host.model_notes, "hosts.precision_verified", precision="bf16", cosine=1.0)
    assert not said(host.model_notes, "hosts.half_precision_on_cpu")


def test_what_was_found_is_written_when_the_model_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening it is not yet a run, which may be refused; the log directory is made by the run, never for this."""
    monkeypatch.setattr(auto_precision, "candidates", lambda device: ("bf16", "fp32"))
    monkeypatch.setattr(auto_precision, "QUICK", 0.0)
    log = tmp_path / "textual_inversion"
    host = models.open_host("toy", tmp_path / "embeddings", device="cpu", verdicts=log)
    with host.training(1):
        assert not log.exists()
    log.mkdir()
    host = models.open_host("toy", tmp_path / "embeddings", device="cpu", verdicts=log)
    assert not (log / FILE).exists()
    with host.training(1):
        (kept,) = json.loads((log / FILE).read_text())
    assert kept["precision"] == "bf16"


@pytest.mark.parametrize(("capability", "tried"), [((8, 0), ("fp16", "bf16", "fp32")), ((7, 5), ("fp16", "fp32"))])
def test_a_card_is_tried_in_bfloat16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], tried: tuple[str, ...]
) -> None:
    """That card, not the current one; torch 2.4 and later say yes where it is imitated, too, several times as slow."""
    cards = {torch.device("cuda:1"): capability}
    monkeypatch.setattr(torch.cuda, "get_device_capability", cards.__getitem__)
    assert candidates(torch.device("cuda:1")) == tried
