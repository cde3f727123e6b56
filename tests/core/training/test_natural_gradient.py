"""The online natural gradient: its formula, both of its forms, its radius, its scale, and what it leaves out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.fake import WIDTH, Fake, dataset, initial
from tests.core.training.test_optimizers import begun, steps, vectors
from tests.messages import refused
from tinv_ext.core.errors import NumericError
from tinv_ext.core.prompts.inputs import PromptInputs
from tinv_ext.core.training.balance import Balance
from tinv_ext.core.training.gradients import Clip
from tinv_ext.core.training.natural_gradient import NaturalGradient
from tinv_ext.core.training.optimizers import make_optimizer, takes_samples
from tinv_ext.core.training.sample_gradients import separated
from tinv_ext.core.training.state import State, load_state, new_state, save_state
from tinv_ext.core.training.trainer import Plan, take_step

CPU = torch.device("cpu")
FIXED = {"scale": 0.02, "lengths": [1.0, 2.0]}


def leaves() -> list[Tensor]:
    """Two words of double precision, of 2×6 and 1×4 numbers."""
    rng = torch.Generator().manual_seed(1)
    shapes = ((2, 6), (1, 4))
    return [torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_() for s in shapes]


def stream(count: int, examples: int) -> list[list[Tensor]]:
    """Gradients of `examples` examples in `leaves`, for so many steps; few directions have most of them."""
    rng = torch.Generator().manual_seed(2)
    uneven = torch.logspace(1, -3, 16, dtype=torch.float64)
    rows = [torch.randn(examples, 16, generator=rng, dtype=torch.float64) * uneven for _ in range(count)]
    return [[row[:, :12].reshape(-1, 2, 6), row[:, 12:].reshape(-1, 1, 4)] for row in rows]


def moved(gradients: list[list[Tensor]], rate: float = 1.0, **options: Any) -> Tensor:
    """All numbers after the steps."""
    params = leaves()
    optimizer = NaturalGradient(params, lr=rate, **{**FIXED, **options})
    for some in gradients:
        optimizer.add(some)
        optimizer.step()
    return torch.cat([param.detach().flatten() for param in params])


def test_the_step_is_the_formulas() -> None:
    """Written out in the vectors' own units: P ← ρP + (1-ρ)Λ + c·Σggᵀ, P₀ = Λ, x ← x - P⁻¹Σg, Λ = diag 1/s²."""
    s = torch.tensor([2 * 1.0 / 6**0.5] * 12 + [2 * 2.0 / 4**0.5] * 4, dtype=torch.float64)
    prior = torch.diag(1 / s**2)
    x, matrix, kept = torch.cat([one.detach().flatten() for one in leaves()]), prior.clone(), 0.975**3
    for some in stream(7, 3):
        g = torch.cat([part.flatten(1) for part in some], 1)
        matrix = kept * matrix + (1 - kept) * prior + 0.02 * g.T @ g
        x = x - torch.linalg.solve(matrix, g.sum(0))
    assert torch.allclose(moved(stream(7, 3), radius=1e6), x, rtol=1e-10, atol=0)


@pytest.mark.parametrize("scale", [0.02, 5.0])
def test_low_rank_is_dense(scale: float) -> None:
    """The same steps to 1e-6 and better while no gradient is forgotten; with fewer than that, other ones."""
    start = torch.cat([one.detach().flatten() for one in leaves()])
    dense, low, short = (
        moved(stream(30, 3), scale=scale, form=form, rank=rank)
        for form, rank in (("dense", 128), ("low_rank", 128), ("low_rank", 6))
    )
    assert (dense - low).norm() / (dense - start).norm() < 1e-6
    assert (dense - short).norm() / (dense - start).norm() > 1e-3


def test_no_step_leaves_the_radius() -> None:
    """However large the gradient: in units of the prior, radius/prior·√D; the rate scales that."""
    huge = [[part * 1e9 for part in stream(1, 3)[0]]]
    start = torch.cat([one.detach().flatten() for one in leaves()])
    units = torch.tensor([2 / 6**0.5] * 12 + [4 / 4**0.5] * 4, dtype=torch.float64)
    for rate in (1.0, 0.5):
        reach = ((moved(huge, rate, scale=1e-30) - start) / units).norm()
        assert float(reach) == pytest.approx(rate * 0.75 / 2 * 16**0.5)


def test_the_scale_is_measured() -> None:
    """c is a tenth of the geometric mean of |probe|²/|g|² over all examples so far, asked for in twelve steps.

    An example whose ratio is not finite, or that has no gradient in the word, counts for nothing.
    """
    params = leaves()
    optimizer = NaturalGradient(params, lengths=[1.0, 2.0])
    asked, ratios = [], []
    for number, some in enumerate(stream(70, 2), start=1):
        probes = [part * torch.tensor([[[number]], [[3.0]]]) for part in some] if optimizer.probing() else None
        if number == 6:
            some, probes = [[part * torch.tensor([[[0.0]], [[1.0]]]) for part in given] for given in (some, probes)]
        if number == 8:
            probes = [part * float("nan") for part in some]
        optimizer.add(some, probes)
        optimizer.step()
        if probes is None:
            continue
        asked.append(number)
        ratios += [] if number == 8 else [9.0] if number == 6 else [number**2, 9.0]
        expected = 0.1 * math.prod(ratio ** (1 / len(ratios)) for ratio in ratios)
        assert float(optimizer.state[params[0]]["scale"]) == pytest.approx(expected)
    assert asked == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


def test_one_example_does_not_decide_the_scale() -> None:
    """One whose gradient is a thousand times as large as the others': c is what the others say, but for a little."""
    scales = []
    for factor in (1.0, 1000.0):
        params = leaves()
        optimizer = NaturalGradient(params, lengths=[1.0, 2.0])
        for number, some in enumerate(stream(64, 2), start=1):
            probes = [part * 3 for part in some] if optimizer.probing() else None
            optimizer.add([part * factor for part in some] if number == 2 else some, probes)
            optimizer.step()
        scales.append(float(optimizer.state[params[0]]["scale"]))
    assert scales[0] == pytest.approx(0.1 * 9)
    assert scales[1] == pytest.approx(scales[0] * 1000 ** (-2 / 12))


@pytest.mark.parametrize(
    ("batch", "memory", "reach"), [(1, 0.975, 0.25), (2, 0.975, 0.494), (16, 0.975, 0.5), (1, 0.9, 0.5)]
)
def test_a_step_goes_no_further_than_half_the_way(batch: int, memory: float, reach: float) -> None:
    """Where all examples say the same of the curvature, and P is full of them: however many there are in a step."""
    x = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    optimizer = NaturalGradient([x], radius=1e6, memory=memory, lengths=[1.0])
    for _ in range(-(-400 // batch)):
        start = float(x.detach())
        slope = torch.full((batch, 1, 1), 1e4, dtype=torch.float64)
        optimizer.add([slope], [slope] if optimizer.probing() else None)
        optimizer.step()
        optimizer.zero_grad()
    # each gradient is F times the way that is left, with F = 1e8 and a way of 1e-4
    assert (start - float(x.detach())) / 1e-4 == pytest.approx(reach, rel=0.01)


def test_a_run_from_before_there_were_ratios_keeps_its_scale() -> None:
    """Its state has sums of squares in their place: it goes on, with the c that it had."""
    params = leaves()
    optimizer = NaturalGradient(params, lengths=[1.0, 2.0])
    optimizer.state[params[0]].update(step=5, true_trace=torch.tensor(3.0), scale=torch.tensor(0.07))
    (some,) = stream(1, 2)
    optimizer.add(some, some)
    optimizer.step()
    assert (optimizer.state[params[0]]["step"], float(optimizer.state[params[0]]["scale"])) == (6, pytest.approx(0.07))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_probe_that_is_not_finite_spoils_no_later_one(bad: float) -> None:
    """The scale is that of a run which never had it: nothing of it is remembered."""
    scales = []
    for first in (bad, None):
        params = leaves()
        optimizer = NaturalGradient(params, lengths=[1.0, 2.0])
        for number, some in enumerate(stream(8, 2), start=1):
            skipped = number == 1 and first is None
            factor = bad if number == 1 else 3.0
            optimizer.add(some, [part * factor for part in some] if optimizer.probing() and not skipped else None)
            optimizer.step()
        scales.append(float(optimizer.state[params[0]]["scale"]))
    assert scales[0] == pytest.approx(0.1 * 9)
    assert scales[0] == scales[1]


# --- in a run -------------------------------------------------------------------------------------------------------


def test_each_examples_gradient_is_its_own() -> None:
    """From one backward of the batch, in pieces or not: those of each example alone; the mean is what Adam gets."""
    seen: dict[str, list[Tensor]] = {}
    for name, pieces in (("ong", 1), ("ong", 2), ("adamw", 1)):
        state = new_state({"it": {"clip_l": torch.full((2, WIDTH), 0.3)}}, 5, CPU, optimizer=name)
        hook = seen.setdefault(f"{name}{pieces}", [])

        def look(optimizer: torch.optim.Optimizer, *_: Any, hook: list[Tensor] = hook, state: State = state) -> None:
            hook.append(state.leaves()[0].grad.clone())
            if isinstance(optimizer, NaturalGradient):
                hook.append(torch.cat(optimizer._gradients))

        state.optimizer.register_step_pre_hook(look)
        take_step(state, Plan(1, 4, 1, lambda step: 0.0), Fake(loss_scale=1024.0), dataset(), pieces)
    (mean, rows), (in_pieces, rows_in_pieces), (adams,) = seen.values()
    unit = 2 * (0.3 * WIDTH**0.5) / WIDTH**0.5
    assert torch.allclose(mean, adams, rtol=1e-5)
    assert torch.allclose(in_pieces, mean, rtol=1e-5)
    assert torch.allclose(rows_in_pieces, rows, rtol=1e-5)
    assert torch.allclose(rows.mean(0) / unit / (16 / 2), mean.flatten(), rtol=1e-5)  # latents of 16 numbers
    assert rows.std(0).max() > 0


@pytest.mark.parametrize("form", ["dense", "low_rank"])
def test_a_run_resumes_bit_for_bit_in_both_forms(form: str, tmp_path: Path) -> None:
    """With balanced timesteps and averaged vectors; and a step that is taken again leaves no trace."""
    plan = Plan(9, 2, 1, lambda step: 1.0, ema_decay=0.9)

    def fresh() -> State:
        state = new_state(words(), 5, CPU, optimizer="ong", options={"form": form, "rank": 7})
        state.balance = Balance(1.0, torch.linspace(0.5, 0.01, 25, dtype=torch.float64))
        return state

    whole, first, broken = fresh(), fresh(), fresh()
    expected = steps(whole, plan)
    assert steps(broken, plan, Fake(poison_at=5, remedies=["full precision"])) == expected
    before = steps(first, Plan(4, 2, 1, plan.rate, ema_decay=0.9))
    save_state(first, tmp_path / "state", {})
    second, _ = load_state(tmp_path / "state", CPU, optimizer="ong")
    second.balance.power = 1.0
    assert before + steps(second, plan) == expected
    for other in (second, broken):
        assert all(torch.equal(a, b) for a, b in zip(vectors(whole), vectors(other)))
        assert all(torch.equal(a, b) for a, b in zip(whole.averages, other.averages))
        assert torch.equal(whole.balance.table, other.balance.table)
    assert not torch.equal(whole.balance.table, fresh().balance.table)
    assert not torch.equal(whole.values("it")["clip_l"], vectors(whole)[0])


def words() -> dict[str, dict[str, Tensor]]:
    """One word of two vectors."""
    return {"it": {"clip_l": torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1))}}


class Spoilt(Fake):
    """One example of each batch comes out as not a number."""

    def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        answer = super().denoise(noisy, timesteps, condition)
        return torch.cat([answer[:1] * float("nan"), answer[1:]])


def test_examples_that_are_not_finite_are_left_out_and_counted() -> None:
    """The others move the vectors as if they had been alone; the loss is theirs; where none is left, the step fails."""
    state = begun("ong")
    (step,) = steps(state, Plan(1, 3, 1, lambda step: 1.0), Spoilt())
    assert step.left_out == 1
    assert step.loss > 0
    assert step.distance > 0
    assert all(bool(torch.isfinite(one).all()) for one in vectors(state))
    measured = state.optimizer.state[state.leaves()[0]]
    assert int(measured["measured"]) == 2  # the ratios of the others
    assert 0 < float(measured["scale"]) < float("inf")
    with pytest.raises(NumericError):
        steps(begun("ong"), Plan(1, 1, 1, lambda step: 1.0), Spoilt())
    assert steps(begun("ong"), Plan(1, 3, 1, lambda step: 1.0))[0].left_out == 0


@pytest.mark.parametrize("loss_scale", [1 / 1024, 1.0, 1024.0])
def test_probes_are_scaled_as_the_loss_is(loss_scale: float) -> None:
    """In backward, a probe's numbers are about as large as the loss's, and the scale found is as ever."""
    found, slopes = [], []

    class Watched(Fake):
        def denoise(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
            answer = super().denoise(noisy, timesteps, condition)
            answer.register_hook(lambda slope: slopes.append(float(slope.norm())))
            return answer

    for scale in (loss_scale, 1.0):
        state = initial_ong()
        steps(state, Plan(1, 4, 1, lambda step: 1.0), Watched(loss_scale=scale))
        found.append(float(state.optimizer.state[state.leaves()[0]]["scale"]))
    probe, loss = slopes[:2]
    assert 0.1 < probe / loss < 10
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_memory_that_runs_out_changes_nothing_but_rounding() -> None:
    """A batch of four in pieces of one: the same examples, gradients and probes."""
    plan = Plan(5, 4, 1, lambda step: 1.0)
    whole, small = initial_ong(), initial_ong()
    steps(whole, plan)
    steps(small, plan, Fake(most=1))
    assert torch.allclose(vectors(whole)[0], vectors(small)[0], rtol=1e-3, atol=1e-5)


def initial_ong() -> State:
    """As `initial`, with this optimizer."""
    return new_state({"it": {"clip_l": initial().values("it")["clip_l"]}}, 5, CPU, optimizer="ong")


def test_uneven_curvature_is_crossed() -> None:
    """A noisy regression whose directions differ by 10⁴ in curvature: 40 steps of two leave less than 2 % of the loss.

    That is of the average over the last sixth of the steps, as the preset `fast` has it, in nine of ten draws. Steps
    are long, so the last of them leaves more, but never a third. The scale is measured.
    """
    averaged, last = zip(*sorted(left_of_uneven(seed) for seed in range(3, 23)))
    assert averaged[17] < 0.02
    assert averaged[-1] < 0.2
    assert max(last) < 0.33


def left_of_uneven(seed: int) -> tuple[float, float]:
    """Which share of the loss is left, of the average and of the last step. Each example has 16 residuals."""
    rng = torch.Generator().manual_seed(seed)
    uneven = torch.logspace(1, -1, 16, dtype=torch.float64)
    x = torch.zeros(1, 16, dtype=torch.float64, requires_grad=True)
    goal = 0.3 * torch.randn(1, 16, generator=rng, dtype=torch.float64)
    optimizer = NaturalGradient([x])

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def loss(at: Tensor) -> float:
        return float((((at - goal) * uneven) ** 2).sum())

    average, before = x.detach().clone(), loss(x.detach())
    for step in range(1, 41):
        slopes = normal(2, 16, 16) * uneven
        residuals = slopes @ (x.detach() - goal).T + normal(2, 16, 1)
        probes = [(slopes * normal(2, 16, 1)).sum(1, keepdim=True)] if optimizer.probing() else None
        optimizer.add([(slopes * residuals).sum(1, keepdim=True)], probes)
        optimizer.step()
        optimizer.zero_grad()
        average.lerp_(x.detach(), 1 - step / (step + 6))
    return loss(average) / before, loss(x.detach()) / before


@pytest.mark.parametrize("options", [{"prior": 0}, {"memory": 1}, {"form": "sparse"}, {"scale": -1}, {"rank": 0}])
def test_arguments_that_cannot_be_used_are_told(options: dict[str, Any]) -> None:
    """By name."""
    with refused("training.optimizer_values", name="ong"):
        make_optimizer("ong", leaves(), options)
    assert isinstance(make_optimizer("ONG", leaves()), NaturalGradient)


def test_clipping_is_nothing_to_an_optimizer_of_examples() -> None:
    """Its gradients are left as they are; those that others take are clipped, and both lengths are told."""
    for name, clipped in (("ong", False), ("adamw", True)):
        assert takes_samples(name) != clipped
        state, seen = begun(name), []
        state.optimizer.register_step_pre_hook(lambda *_, s=state, to=seen: to.extend(s.gradients()))
        (step,) = steps(state, Plan(1, 2, 1, lambda step: 0.1, Clip("value", lambda step: 1e-9)))
        assert (max(float(one.abs().max()) for one in seen) < 2e-9) == clipped
        assert step.gradient_norm > 1e-6


def test_slots_point_to_each_prompts_own_vectors() -> None:
    """Two words and another embedding in prompts of two chunks: each place finds the row that it found before."""
    trained = {
        "a": {"l": torch.randn(2, 3), "g": torch.randn(2, 5)},
        "b": {"l": torch.randn(1, 3), "g": torch.randn(1, 5)},
    }
    others = torch.randn(4, 3)
    slots = torch.randint(0, 8, (6, 77), generator=torch.Generator().manual_seed(1))
    inputs = PromptInputs(3, {}, slots, {"l": others}, None, torch.zeros(3, 6))
    moved_inputs, copies = separated(inputs, trained)
    before = torch.cat([torch.zeros(1, 3), *(word["l"] for word in trained.values()), others])
    after = torch.cat([torch.zeros(1, 3), *(word["l"] for word in copies.values()), others])
    assert torch.equal(after[moved_inputs.slots], before[slots])
    own = (slots > 0) & (slots < 4)
    by_prompt = [set(moved_inputs.slots[2 * i : 2 * i + 2][own[2 * i : 2 * i + 2]].tolist()) for i in range(3)]
    assert all(len(one) == 3 for one in by_prompt)
    assert len(set.union(*by_prompt)) == 9
    assert copies["b"]["g"].shape == (3, 5)
    assert copies["b"]["g"].requires_grad
