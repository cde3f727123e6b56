"""Laws of a run as a whole, on a tiny random Stable Diffusion: what must hold whatever is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from tests.hosts.diffusers.small_pipelines import sd1
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.trainer import Step
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import dry_run, runner
from tinv_ext.run.events import Event, Prepared, RunControls

Train = Callable[..., Tensor]
CHOICES: tuple[dict[str, object], ...] = (
    {"optimizer": "SGDNesterov", "optimizer_args": "momentum=0.8 weight_decay=0.01"},
    {"optimizer": "adafactor", "optimizer_args": "scale_parameter=True"},
    {"optimizer": "adafactor", "lr_scheduler": "adafactor:1e-3"},
    {"lr_scheduler": "cosine_with_restarts", "lr_warmup_steps": 0.25, "lr_scheduler_num_cycles": 2, "scale_lr": True},
    {"loss_type": "huber", "min_snr_gamma": 5, "debiased_estimation_loss": True, "preserve_embedding_norm": True},
    {"noise_offset": 0.1, "noise_offset_random_strength": True, "ip_noise_gamma": 0.1, "multires_noise_iterations": 6},
    {"timestep_sampling": "logit_normal", "min_timestep": 100, "max_timestep": 600, "pull_to_init": 0.01},
    {"optimizer": "ssm", "learning_rate": "0.2:2, 0.1", "timestep_sampling": "stratified", "timestep_balance": 1},
    {"optimizer": "ong", "learning_rate": 1, "timestep_balance": 0.7, "ema_decay": 0.9},
)


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionPipeline:
    """One pipeline for all runs."""
    return sd1()


@pytest.fixture
def train(pipeline: StableDiffusionPipeline, tmp_path: Path) -> Train:
    """Run on four pictures with all that is random switched on; returns the vectors in the file."""
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        Image.new("RGB", (64, 64), (60 * index, 200 - 60 * index, 30)).save(images / f"{index} red, blue, number.png")
    shared = {
        "images": str(images),
        "width": 64,
        "height": 64,
        "num_vectors": 2,
        "steps": 4,
        "overwrite": True,
        "seed": 3,
    }
    shared |= {"template": "subject_filewords", "shuffle_tags": True, "tag_dropout": 0.3}
    shared |= {
        "evaluation_timesteps": 1,
        "preview_steps": 1,
        "preview_every": 0,
        "save_state_every": 3,
        "evaluate_every": 0,
    }

    def run(stops: tuple[int, ...] = (), **given: object) -> Tensor:
        host = DiffusersHost(pipeline, tmp_path / "embeddings", {"model_name": "tiny"})
        values = {"name": "zworble", "output": str(tmp_path / "runs"), **shared, **given}
        folders, controls = [], RunControls()

        def report(event: Event) -> None:
            if isinstance(event, Prepared):
                folders.append(event.folder)
            if isinstance(event, Step) and event.number in stops:
                controls.stop.set()

        runner.run(TrainConfig.from_dict(values), host, report, controls)
        for _ in stops:
            controls.stop.clear()
            runner.resume(folders[0].path, host, report=report, controls=controls)
        return read_embedding(tmp_path / "embeddings" / "zworble.pt").vectors["clip_l"]

    return run


def test_the_same_seed_gives_the_same_run(train: Train) -> None:
    """Bit for bit; another seed, template, way of sampling, order of tags or clip skip gives another."""
    plain = train()
    assert torch.equal(train(), plain)
    changes = (
        {"seed": 4},
        {"template": "subject"},
        {"latent_sampling": "once"},
        {"tag_dropout": 0.0},
        {"clip_skip": 2},
    )
    for change in changes:
        assert not torch.equal(train(**change), plain), change


def test_a_run_that_was_stopped_equals_one_that_was_not(train: Train) -> None:
    """Twice interrupted, with fresh hosts and the state from disk: the same vectors bit for bit."""
    assert torch.equal(train(stops=(1, 3)), train())


@pytest.mark.once
@pytest.mark.parametrize("given", CHOICES, ids=str)
def test_that_holds_for_whatever_is_chosen(train: Train, given: dict[str, object]) -> None:
    """A run that was stopped equals one that was not, and differs from one with the defaults."""
    whole = train(**given)
    assert torch.equal(train(stops=(1, 3), **given), whole)
    assert not torch.equal(train(), whole)


VARIED = {"flip": "both", "crop_mode": "random", "color_aug": True, "image_variants": 3, "height": 128}


def test_a_run_on_variants_resumes_as_it_was(train: Train, tmp_path: Path) -> None:
    """Which variant a visit sees comes from the state's generator: stopped or not, from the cache or not."""
    _textured(tmp_path / "images")
    whole = train(**VARIED)
    assert torch.equal(train(stops=(1, 3), **VARIED), whole)
    assert torch.equal(train(cache_latents=False, **VARIED), whole)
    plain = train(height=128)
    for name in ("flip", "crop_mode", "color_aug"):
        assert not torch.equal(train(height=128, **{name: VARIED[name]}), plain), name


def test_variants_that_are_equal_change_nothing(train: Train) -> None:
    """Images of one colour look the same flipped, and have no surplus to crop: the same run, bit for bit."""
    assert torch.equal(train(flip="both", crop_mode="random"), train())


def _textured(folder: Path) -> None:
    """Give the images of a folder something to see on one side."""
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        image = Image.new("RGB", (96, 64), (60 * number, 90, 200))
        image.paste((250, 250, 10 * number), (0, 0, 30, 20))
        image.save(path)


def test_looking_does_not_change_the_run(train: Train) -> None:
    """Evaluations, previews, copies and states take nothing from the run's randomness, nor from anybody else's."""
    plain = train()
    before = torch.random.get_rng_state()
    looking = {"evaluate_every": 1, "result": "last", "preview_every": 2, "save_every": 3, "save_state_every": 1}
    assert torch.equal(train(**looking), plain)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_where_latents_come_from_does_not_matter(train: Train, tmp_path: Path) -> None:
    """Encoded now, or read from the cache."""
    fresh = train()
    assert (tmp_path / "runs" / "latents").is_dir()
    assert torch.equal(train(), fresh)
    assert torch.equal(train(cache_latents=False), fresh)


def test_a_run_leaves_the_model_as_it_was(train: Train, pipeline: StableDiffusionPipeline) -> None:
    """Every weight bit for bit, no gradient, every flag; also after a run that failed."""

    def weights() -> list[tuple[Tensor, bool, bool]]:
        parts = (pipeline.unet, pipeline.text_encoder, pipeline.vae)
        return [(p.detach().clone(), p.requires_grad, p.grad is None) for part in parts for p in part.parameters()]

    before = weights()
    train()
    with pytest.raises(RuntimeError, match="boom"):
        _fail(train, pipeline)
    for (one, *flags), (other, *other_flags) in zip(before, weights()):
        assert torch.equal(one, other)
        assert flags == other_flags


def _fail(train: Train, pipeline: StableDiffusionPipeline) -> None:
    """A run in which the UNet breaks at the third call."""
    calls = []

    def boom(module: torch.nn.Module, inputs: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("boom")

    handle = pipeline.unet.register_forward_pre_hook(boom)
    try:
        train()
    finally:
        handle.remove()


def test_a_text_is_measured_as_the_model_is_set(
    pipeline: StableDiffusionPipeline, tmp_path: Path, train: Train
) -> None:
    """Clip skip 0 is the host's, and says the same as 1; 2 says something else."""
    train()
    values = {"name": "zworble-b", "images": str(tmp_path / "images"), "output": str(tmp_path / "runs")}
    host = DiffusersHost(pipeline, tmp_path / "embeddings", {"model_name": "tiny"})
    losses = [
        dry_run.evaluate_text(TrainConfig.from_dict({**values, "clip_skip": skip}), host, "cat") for skip in (0, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]
