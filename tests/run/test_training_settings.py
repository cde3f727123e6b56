"""Settings of rates and losses in a run: what a model cannot have is refused, and what changes a step is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.fake_host import FakeHost, FakeModel
from tests.messages import refused
from tinv_ext.core.errors import NumericError
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.state import load_state, save_state
from tinv_ext.run import resume
from tinv_ext.run.preflight import prepare_run
from tinv_ext.run.provenance import state_facts
from tinv_ext.run.setup import balanced, encoded_examples


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A host with a folder of embeddings."""
    (tmp_path / "embeddings").mkdir()
    return FakeHost(tmp_path / "embeddings")


def config(tmp_path: Path, **given: Any) -> TrainConfig:
    """Settings that are right, but for those given."""
    images = tmp_path / "images"
    images.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), (9, 90, 200)).save(images / "a.png")
    return TrainConfig(name="zworble", images=str(images), output=str(tmp_path / "runs"), steps=8, **given)


def test_a_loss_for_other_models_is_refused(host: FakeHost, tmp_path: Path) -> None:
    """With whatever else is wrong, before anything is made."""
    with refused("preflight.other_prediction", name="zero_terminal_snr", prediction="epsilon") as caught:
        prepare_run(config(tmp_path, zero_terminal_snr=True, preview_sampler="none"), host)
    assert len(caught.value.problems) == 2
    host.prediction = "v_prediction"
    assert prepare_run(config(tmp_path, zero_terminal_snr=True), host).plan.objective.zero_terminal_snr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lr_scheduler": "cosine"}, True),
        ({"lr_warmup_steps": 0.25}, True),
        ({"lr_warmup_steps": 3.0}, False),
        ({}, False),
    ],
)
def test_more_steps_change_a_run_whose_rates_depend_on_them(
    host: FakeHost, tmp_path: Path, given: dict[str, Any], told: bool
) -> None:
    """A run that resumes with more steps tells so; without a curve, steps are but where it ends."""
    facts = [
        state_facts(prepare_run(config(tmp_path, **given).but(steps=steps), host), host, torch.device("cpu"))
        for steps in (8, 9)
    ]
    assert bool(resume.differences(*facts)) == told


@pytest.mark.parametrize("name", ["min_snr_gamma", "loss_type", "lr_scheduler", "noise_offset", "pull_to_init"])
def test_another_loss_changes_a_run(host: FakeHost, tmp_path: Path, name: str) -> None:
    """It is told when a run resumes with it."""
    value = {"loss_type": "l1", "lr_scheduler": "linear"}.get(name, 0.5)
    facts = [
        state_facts(prepare_run(config(tmp_path, **given), host), host, torch.device("cpu"))
        for given in ({}, {name: value})
    ]
    assert resume.differences(*facts)


class Half(FakeModel):
    """Its answers are not numbers until it has been made more precise `upcasts_needed` times."""

    upcasts_needed = 2

    def upcast(self) -> str | None:
        self.upcasts_needed -= 1
        return super().upcast()

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        answer = super().denoise(noisy, timesteps, condition)
        return answer * float("nan") if self.upcasts_needed > 0 else answer


class Small(FakeModel):
    """It has room for so many images at once."""

    at_once = 1
    most_at_once = 0

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        if len(noisy) > self.at_once:
            raise MemoryError
        self.most_at_once = max(self.most_at_once, len(noisy))
        return super().denoise(noisy, timesteps, condition)


def test_losses_to_balance_by_are_measured_in_the_memory_that_there_is(host: FakeHost, tmp_path: Path) -> None:
    """One image at a time where memory has no room for a batch, and never more than a step takes at once."""
    tables, most = [], []
    for room, given in ((1, {}), (4, {}), (4, {"micro_batch_size": 2})):
        prepared = prepare_run(config(tmp_path, timestep_balance=1, batch_size=4, **given), host)
        model = Small()
        model.at_once = room
        examples, _ = encoded_examples(prepared, model)
        table = balanced(prepared.new_state(model.device), prepared, model, examples).balance.table
        assert table is not None
        tables.append(table)
        most.append(model.most_at_once)
    assert most == [1, 4, 2]
    assert torch.allclose(tables[0], tables[1])
    assert torch.allclose(tables[0], tables[2])


def test_losses_that_are_no_numbers_are_not_balanced_by(host: FakeHost, tmp_path: Path) -> None:
    """One is left out; where all are, a more precise model measures them, or the run fails before its first step."""
    prepared = prepare_run(config(tmp_path, timestep_balance=1), host)

    def table(model: FakeModel) -> Tensor:
        examples, _ = encoded_examples(prepared, model)
        state = balanced(prepared.new_state(model.device), prepared, model, examples)
        save_state(state, tmp_path / "state", {})
        read, _ = load_state(tmp_path / "state", model.device)
        assert read.balance.table is not None
        return read.balance.table

    clean, one_left_out = table(FakeModel()), table(FakeModel(poison_at=1))
    assert not torch.equal(clean, one_left_out)
    assert one_left_out.isfinite().all()
    assert float((one_left_out / clean).log().abs().max()) < 0.02  # a curve through the others; seen: 0.009
    assert torch.equal(table(Half(remedies=["a smaller loss scale", "full precision"])), clean)
    with refused("run.nothing_to_balance_by", NumericError):
        table(Half(remedies=["a smaller loss scale"]))
