"""Evaluations that are not finite, as of a model that overflows in float16: told, and nowhere else to be seen."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, tensor

from tests.fake_host import FakeHost, FakeModel
from tests.messages import ids, said
from tests.run.test_runner import Configure, Watch, config, host, rows
from tinv_ext.core.model import Model
from tinv_ext.run import evaluations, runner
from tinv_ext.run.events import Evaluated, Noticed, RunControls
from tinv_ext.server.queued_run import Job

__all__ = ["config", "host"]  # the fixtures of a short run


def notices(watch: Watch) -> list[str]:
    """What the owner of the run was told."""
    return [event.text for event in watch.events if isinstance(event, Noticed)]


@dataclass
class Half(FakeModel):
    """Gives NaN until it was made more precise twice, as in float16 with a loss scale."""

    upcasts: int = 0

    def upcast(self) -> str | None:
        self.upcasts += 1
        return ["a smaller loss scale", "full precision", None][min(self.upcasts, 3) - 1]

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Any) -> Tensor:
        answer = super().denoise(noisy, timesteps, condition)
        return answer if self.upcasts >= 2 else answer * math.nan


class HalfHost(FakeHost):
    """Keeps the models that it gave."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.models: list[Half] = []

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        self.models.append(Half())
        yield self.models[-1]


def test_the_first_evaluation_is_measured_after_an_upcast(config: Configure, host: FakeHost, tmp_path: Path) -> None:
    """With the number of a precise model; each model that the run takes is made as precise once, not twice."""
    given = {"evaluate_every": 2, "overwrite": True}
    right, watch, controls = Watch(), Watch(), RunControls()
    runner.run(config(**given), host, right)
    half = HalfHost(tmp_path / "embeddings")
    let_go = [3]
    half.wanted = lambda: bool(let_go) and watch.steps[-1] == let_go[0] and bool(let_go.pop())  # type: ignore[method-assign]
    runner.run(config(**given), half, watch, controls)
    assert [row["evaluation"] for row in rows(watch.folder)] == [row["evaluation"] for row in rows(right.folder)]
    assert [model.upcasts for model in half.models] == [0, 2, 2]  # to encode, and before and after the pause
    told = notices(watch)
    assert ids(told) == ["run.evaluated_more_precisely"] * 2
    assert said(told, "run.evaluated_more_precisely", what="full precision")


def test_one_that_is_not_finite_is_told_once_and_has_no_row(
    config: Configure, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's JSON holds the finite ones; so does the curve, and the run goes on."""
    losses = [math.nan, 5.0, math.nan, math.inf, 3.0, 2.0, 6.0]  # steps 0 to 6
    measured = iter(losses)
    monkeypatch.setattr(evaluations, "draw_losses", lambda *given: tensor([next(measured)]))
    watch, job = Watch(), Job("1", config())
    controls = RunControls()

    def report(event: Any) -> None:
        watch(event)
        job.on_event(event)
        json.dumps(job.view(), allow_nan=False)  # as JSONResponse does

    assert runner.run(config(evaluate_every=1), host, report, controls).status == "finished"
    finite = [(step, loss) for step, loss in enumerate(losses) if math.isfinite(loss)]
    assert [(event.step, event.loss) for event in watch.events if isinstance(event, Evaluated)] == finite
    assert job.evaluations == finite
    assert [(int(row["step"]), float(row["evaluation"])) for row in rows(watch.folder) if row["evaluation"]] == finite
    told = [text for text in notices(watch) if ids([text]) == ["run.evaluation_not_finite"]]
    assert len(told) == 2, "once until there was a finite one"
    assert said(told, "run.evaluation_not_finite", step=0)
    assert said(told, "run.evaluation_not_finite", step=2)


def test_memory_that_did_not_suffice_is_not_tried_again(
    config: Configure, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single images from then on: each failure would have the model give up what makes its steps fast."""
    sizes: list[int] = []

    def scarce(model: Model, eval_set: Any, vectors: Any, size: int) -> Tensor:
        sizes.append(size)
        if size > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return tensor([1.0 / len(sizes)])

    monkeypatch.setattr(evaluations, "draw_losses", scarce)
    watch = Watch()
    assert runner.run(config(evaluate_every=2), host, watch).status == "finished"
    assert sizes == [8, 1, 1, 1, 1]
    assert sum(isinstance(event, Evaluated) for event in watch.events) == 4


def test_a_snapshot_without_a_finite_evaluation_is_never_the_best(
    config: Configure, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one before the first finite evaluation, nor one whose own was none."""
    losses = iter([math.nan, math.nan, 5.0, 1.0, math.nan, 4.0, 6.0])  # steps 0 to 6
    monkeypatch.setattr(evaluations, "draw_losses", lambda *given: tensor([next(losses)]))
    watch = Watch()
    runner.run(config(save_every=1, evaluate_every=1, keep_snapshots=2), host, watch)
    snapshots = {path.stem for path in (watch.folder.path / "embeddings").iterdir()}
    assert snapshots == {"zworble-3", "zworble-5", "zworble-6"}


def test_a_curve_with_one_that_is_not_finite_is_taken_up(config: Configure, host: FakeHost) -> None:
    """As earlier versions wrote it: the snapshot of that step is not the best of the run that resumes."""
    watch, controls = Watch(), RunControls()
    watch.at[2] = controls.stop.set
    runner.run(config(save_every=1, evaluate_every=1, keep_snapshots=2), host, watch, controls)
    lines = watch.folder.curve.read_text().splitlines()
    lines[2] = lines[2].rpartition(",")[0] + ",nan"  # step 1
    watch.folder.curve.write_text("\n".join(lines) + "\n")
    assert runner.resume(watch.folder.path, host).status == "finished"
    snapshots = {path.stem for path in (watch.folder.path / "embeddings").iterdir()}
    assert "zworble-1" not in snapshots
    assert {"zworble-5", "zworble-6"} <= snapshots
