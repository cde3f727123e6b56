"""How a run ends by itself, and which of its steps is the result: real runs on a model of a few lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, tensor

from tests.fake_host import FakeHost
from tests.messages import ids, refused, said
from tests.run.test_runner import Configure, Watch, config, host, rows
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.presets import preset_values
from tinv_ext.core.training.state import load_state
from tinv_ext.run import evaluations, run_folder, runner
from tinv_ext.run.events import Prepared, RunControls
from tinv_ext.run.status import Status
from tinv_ext.server.queued_run import Job
from tinv_ext.server.run_history import history

__all__ = ["config", "host"]  # the fixtures of a short run

# with these the word of the model of a few lines is learnt in some 30 steps
ENDS = {"steps": 200, "learning_rate": 0.05, "evaluate_every": 5, "stop_when_done": True, "patience": 20}


def learnt(host: FakeHost) -> Embedding:
    """What prompts find."""
    return read_embedding(host.embeddings_folder / "zworble.pt")


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the evaluations give these means, one after the other."""

    def planted(*means: float) -> None:
        left: Iterator[float] = iter(means)
        monkeypatch.setattr(evaluations, "draw_losses", lambda *given: tensor([next(left)], dtype=torch.float64))

    return planted


def test_a_run_ends_by_itself(host: FakeHost, config: Configure) -> None:
    """Before its last step, and says so; the steps that it took are all there are."""
    watch = Watch()
    status = runner.run(config(**ENDS), host, watch)
    assert status.status == "finished"
    assert 20 < status.steps == status.total < 200
    assert watch.folder.last_status() == status == watch.folder.status()
    assert ids([status.reason])[0] in ("run.done", "run.done_best_saved")
    assert said([status.reason], ids([status.reason])[0], images=20)
    assert rows(watch.folder)[-1]["step"] == str(status.steps)
    whole = runner.run(config(**{**ENDS, "stop_when_done": False, "overwrite": True}), host)
    assert (whole.steps, whole.total) == (200, 200)


@pytest.mark.parametrize("optimizer", ["adamw", "ong", "ssm"])
def test_stopped_and_resumed_it_ends_at_the_same_step(host: FakeHost, config: Configure, optimizer: str) -> None:
    """With the same vectors bit for bit, wherever it was stopped: on an evaluation's step, beside one, at the end."""
    rate = {"adamw": 0.05, "ong": 1, "ssm": 0.1}[optimizer]
    given = {**ENDS, "optimizer": optimizer, "learning_rate": rate, "overwrite": True, "ema_decay": 0.5}
    end = runner.run(config(**given), host)
    expected = learnt(host)
    assert end.steps < 200
    for stop in (1, 7, end.steps - 5, end.steps - 1, end.steps):
        controls, watch = RunControls(), Watch()
        watch.at[stop] = controls.stop.set
        runner.run(config(**given), host, watch, controls)
        resumed = runner.resume(watch.folder.path, host)
        assert replace(resumed, file="") == replace(end, file=""), stop
        assert torch.equal(learnt(host).vectors["clip_l"], expected.vectors["clip_l"]), stop
        assert learnt(host).step == end.file_step


def test_the_best_is_the_result_and_the_last_is_kept(
    host: FakeHost, config: Configure, plant: Callable[..., None]
) -> None:
    """The file holds the vectors of the best evaluation, the run's folder those of the last step, and all say which."""
    plant(5, 4, 1, 2, 3)  # steps 0, 2, 4, 6, 8
    watch = Watch()
    status = runner.run(config(steps=8, evaluate_every=2, save_every=4), host, watch)
    assert (status.steps, status.file_step) == (8, 4)
    assert said([status.reason], "run.best_saved", best=4, last=8)
    assert learnt(host).step == 4
    snapshots = watch.folder.path / "embeddings"
    assert torch.equal(learnt(host).vectors["clip_l"], read_embedding(snapshots / "zworble-4.pt").vectors["clip_l"])
    state, _ = load_state(watch.folder.state, torch.device("cpu"))
    last = read_embedding(snapshots / "zworble-8.pt").vectors["clip_l"]
    assert torch.equal(last, state.values("zworble")["clip_l"])
    assert str(status.reason) in watch.folder.log.read_text("utf-8")


def test_curve_page_and_history_name_the_step_that_the_file_holds(
    host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that the draws cannot tell apart the later, though the other is lower; after a resume, of those that were
    measured on the same terms."""
    draws = [(5.0, 5.0), (1.0, 1.0), (0.9, 1.2), (3.0, 3.0)]  # steps 0, 2, 4, 6
    left = iter(draws)
    monkeypatch.setattr(evaluations, "draw_losses", lambda *given: tensor(next(left), dtype=torch.float64))
    watch, controls = Watch(), RunControls()
    job = Job("1", config())
    watch.at[6] = controls.stop.set

    def report(event: Any) -> None:
        watch(event)
        job.on_event(event)

    status = runner.run(config(steps=12, evaluate_every=2), host, report, controls)
    assert status.file_step == job.best == 4
    assert [row["best"] for row in rows(watch.folder) if row["evaluation"]] == ["0", "2", "4", "4"]
    assert history(watch.folder)["best"] == [4, 1.05]

    left = iter([(8.0, 8.0), (7.0, 7.0), (9.0, 9.0)])
    status = runner.resume(watch.folder.path, host, {"evaluation_timesteps": 4}, report)
    assert status.file_step == job.best == 10
    told = history(watch.folder)
    assert (told["best"], min(loss for _, loss in told["evaluations"])) == ([10, 7.0], 1.0)


def test_the_last_is_the_result_where_asked_or_where_nothing_is_evaluated(
    host: FakeHost, config: Configure, plant: Callable[..., None]
) -> None:
    """And then nothing is said of another; nor where no evaluation was finite."""
    plant(5, 1, 2, 3, *[math.nan] * 4)
    for given in ({"result": "last", "evaluate_every": 2}, {"evaluate_every": 2}, {"evaluate_every": 0}):
        status = runner.run(config(steps=6, overwrite=True, **given), host)
        assert (status.file_step, status.reason) == (6, "")
        assert learnt(host).step == 6


def test_a_stop_measures_the_step_that_it_stops_at(
    host: FakeHost, config: Configure, plant: Callable[..., None]
) -> None:
    """So that what was learnt since the last evaluation is not lost; a worse one is."""
    for here, saved in ((1.0, 3), (4.5, 2)):
        plant(5, 4, here)
        controls, watch = RunControls(), Watch()
        watch.at[3] = controls.stop.set
        status = runner.run(config(steps=8, evaluate_every=2, overwrite=True), host, watch, controls)
        assert (status.status, status.steps, status.file_step) == ("stopped", 3, saved)
        assert learnt(host).step == saved
        assert bool(status.reason) == (saved == 2)


def test_a_run_that_ended_goes_on_only_on_other_terms(host: FakeHost, config: Configure) -> None:
    """Resumed as it is, it stays; with more steps or more patience it takes steps, and its patience begins again."""
    watch = Watch()
    ended = runner.run(config(**ENDS), host, watch)
    folder = watch.folder.path
    assert runner.resume(folder, host) == ended
    assert runner.resume(folder, host, {"preview_every": 0}) == ended
    further = runner.resume(folder, host, {"patience": 40})
    assert further.steps >= ended.steps + 40
    more = runner.resume(folder, host, {"steps": 400})
    assert more.steps >= further.steps + 40
    assert runner.resume(folder, host, {"stop_when_done": False}).steps == 400


def test_a_state_from_before_goes_on(host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows nothing of evaluations: what is measured from there on counts."""
    from tinv_ext.core.training import progress, state

    controls, watch = RunControls(), Watch()
    watch.at[10] = controls.stop.set
    runner.run(config(**ENDS), host, watch, controls)
    monkeypatch.setattr(state, "from_file", lambda *given: progress.Progress())
    status = runner.resume(watch.folder.path, host)
    assert status.status == "finished"
    assert 10 + 20 < status.steps < 200
    assert status.file_step is not None
    assert status.file_step > 10


def test_more_draws_where_they_decide(host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images have one draw each; a run that is to end by itself measures eight or more."""
    seen: list[int] = []
    real = evaluations.draw_losses

    def counted(*given: Any) -> Tensor:
        losses = real(*given)
        seen.append(len(losses))
        return losses

    monkeypatch.setattr(evaluations, "draw_losses", counted)
    runner.run(config(steps=2, evaluate_every=1), host)
    runner.run(config(**{**ENDS, "steps": 5, "overwrite": True}), host)
    assert set(seen[:2]) == {3}
    assert set(seen[3:]) == {9}


def test_a_preset_ends_a_run_where_it_can_tell(host: FakeHost, config: Configure) -> None:
    """`fast` ends by itself; with evaluations too rare, with none, or on one picture it takes all its steps."""
    fast = config().to_dict()
    for name in preset_values("fast", "object").keys() - {"steps"}:
        del fast[name]
    fast |= {"preset": "fast", "overwrite": True, "steps": 300}
    ended = runner.run(TrainConfig.from_dict(fast), host)
    assert (ended.status, ended.total) == ("finished", ended.steps)
    assert 60 <= ended.steps < 300
    for given in ({"evaluate_every": 0}, {"evaluate_every": 61}):
        assert runner.run(TrainConfig.from_dict({**fast, **given}), host).steps == 300
    for path in sorted(Path(fast["images"]).iterdir())[1:]:
        path.unlink()
    assert runner.run(TrainConfig.from_dict(fast), host).steps == 300


@pytest.mark.parametrize(("steps", "told"), [(121, True), (120, False)])
def test_that_it_may_end_is_told_where_it_can(host: FakeHost, config: Configure, steps: int, told: bool) -> None:
    """Not of a run that is over before its patience is."""
    fast = {name: value for name, value in config().to_dict().items() if name not in preset_values("fast", "object")}
    watch = Watch()
    runner.run(TrainConfig.from_dict({**fast, "preset": "fast", "overwrite": True, "steps": steps}), host, watch)
    prepared = next(event.prepared for event in watch.events if isinstance(event, Prepared))
    assert ("preflight.may_end" in ids(prepared.notices)) == told


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"evaluate_every": 0}, "preflight.stop_without_evaluation"),
        ({"evaluate_every": 11}, "preflight.stop_too_rare"),
        ({"evaluate_every": 5, "batch_size": 3}, "preflight.stop_too_rare"),
    ],
)
def test_what_it_cannot_go_by_is_told_before(host: FakeHost, config: Configure, given: Any, problem: str) -> None:
    """And nothing is started."""
    settings = config(**{**ENDS, **given})
    with refused(problem):
        runner.run(settings, host)
    assert not Path(settings.output).exists()


def test_one_picture_is_told_before(host: FakeHost, config: Configure) -> None:
    """Alone, or several times over; without the rule it is trained on as ever."""
    folder = Path(config().images)
    pictures = sorted(folder.iterdir())
    for path in pictures[1:]:
        path.write_bytes(pictures[0].read_bytes())
    with refused("preflight.stop_on_one_image", count=3):
        runner.run(config(**ENDS), host)
    for path in pictures[1:]:
        path.unlink()
    with refused("preflight.stop_on_one_image", count=1):
        runner.run(config(**ENDS), host)
    assert not Path(config().output).exists()
    assert runner.run(config(evaluate_every=2), host).status == "finished"


def test_a_status_from_before_is_read(tmp_path: Path) -> None:
    """It does not say which step its file is from; one that says nonsense is none."""
    folder = run_folder.RunFolder(tmp_path)
    folder.write_status(Status("finished", 6, "zworble.pt", total=6, file_step=4))
    text = (tmp_path / "status.json").read_text()
    assert folder.status().file_step == 4
    (tmp_path / "status.json").write_text(text.replace('"file_step": 4', '"file_step": null'))
    assert folder.status().file_step is None
    (tmp_path / "status.json").write_text(text.replace('"file_step": 4', '"file_step": -4'))
    with refused("run.no_status", FormatError):
        folder.status()
