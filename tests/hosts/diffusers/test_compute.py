"""The computing half of a step reads nothing back and moves nothing, on every family's real modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.hosts.diffusers import small_pipelines
from tinv_ext.core.data.captions import CaptionRules
from tinv_ext.core.data.dataset import Batch, Dataset, Example
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.data.subsets import Subset
from tinv_ext.core.model import Model
from tinv_ext.core.prompts.inputs import repeated
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.forward import StepInputs, assemble, compute, predict
from tinv_ext.core.training.natural_gradient import NaturalGradient
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.optimizers import make_optimizer
from tinv_ext.core.training.sample_gradients import add_sample_gradients
from tinv_ext.core.training.state import new_state
from tinv_ext.core.training.trainer import Plan, take_step
from tinv_ext.core.training.transfer import _map
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.hosts.diffusers.pipelines import texts_of

MAKERS = [small_pipelines.sd1, small_pipelines.sd2, small_pipelines.sdxl]


def inputs_of(model: Model, words: dict[str, dict[str, Tensor]]) -> StepInputs:
    """A batch of two with a weight for each pixel, one prompt longer than a chunk."""
    word = Word("qzx", tuple(model.tokenizer.ids("qzx")), 2)
    read = PromptReader(model.tokenizer, (word,), emphasis=True).read
    prompts = (read("a (qzx:1.2)"), read("qzx on a table, " * 20))
    weights = torch.ones(2, 1, 8, 8)
    batch = Batch(torch.randn(2, 4, 8, 8), prompts, (uncropped(64, 64),) * 2, weights)
    return assemble(model, batch, words, torch.randn(2, 4, 8, 8), torch.tensor([501, 120]))


def vectors_of(model: Model) -> dict[str, dict[str, Tensor]]:
    """Two vectors of the word for each encoder."""
    return {"qzx": {name: torch.randn(2, width, requires_grad=True) for name, width in model.widths.items()}}


def computed(model: Model, inputs: StepInputs, words: dict[str, dict[str, Tensor]]) -> Tensor:
    """Forward and backward of one batch: the loss."""
    loss = compute(model, inputs, words, Objective()).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


@pytest.mark.parametrize("make", MAKERS)
def test_compute_reads_no_value_back(make: Callable[[], Any], tmp_path: Path) -> None:
    """With tensors that have shapes and no values, where any read-back raises; forward and backward."""
    with DiffusersHost(make(), tmp_path, {}).training(1) as model:
        words = vectors_of(model)
        inputs = inputs_of(model, words)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = _map(inputs, mode.from_tensor)
            vectors = {"qzx": {name: mode.from_tensor(value) for name, value in words["qzx"].items()}}
            loss = computed(model, fake, vectors)
            assert loss.shape == ()
            with pytest.raises(DataDependentOutputException):
                float(loss.detach())
        assert all(vector.grad is not None and vector.grad.shape == vector.shape for vector in vectors["qzx"].values())


class Still(TorchDispatchMode):
    """Notes each operation that takes tensors of one device and gives one of another."""

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[str] = []
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {one.device.type for one in args if isinstance(one, Tensor) and one.dim()}
        self.count += 1
        if given and isinstance(result, Tensor) and result.device.type not in given:
            self.moves.append(str(func))
        return result


@pytest.mark.skipif(
    transformers.__version__.startswith("4.30."),
    reason="its CLIP fills the causal mask with a tensor, a read-back of its own (modeling_clip.py, _make_causal_mask)",
)
@pytest.mark.parametrize("make", MAKERS)
def test_compute_moves_nothing(make: Callable[[], Any], tmp_path: Path) -> None:
    """On a model of another device than the CPU's, where a tensor that was left behind would be an error."""
    pipeline = make().to("meta")
    with DiffusersHost(pipeline, tmp_path, {}).training(1) as model:
        words = {"qzx": {name: v.detach().to("meta").requires_grad_() for name, v in vectors_of(model)["qzx"].items()}}
        inputs = inputs_of(model, words)
        assert inputs.latents.device.type == inputs.prompts.slots.device.type == "meta"
        with Still() as watch:
            computed(model, inputs, words)
    assert watch.count > 500
    assert watch.moves == []


@pytest.mark.parametrize("make", MAKERS)
def test_shapes_depend_on_the_batch_alone(make: Callable[[], Any], tmp_path: Path) -> None:
    """Other prompts of as many chunks, other places of the word: tensors of the same shapes."""
    with DiffusersHost(make(), tmp_path, {}).training(1) as model:
        words = vectors_of(model)
        read = PromptReader(model.tokenizer, (Word("qzx", tuple(model.tokenizer.ids("qzx")), 2),)).read
        shapes = []
        for texts in (("qzx", "a red ball"), ("a qzx beside a qzx", "qzx , qzx , qzx")):
            prompts = tuple(read(text) for text in texts)
            batch = Batch(torch.randn(2, 4, 8, 8), prompts, (uncropped(64, 64),) * 2)
            tensors: list[Tensor] = []
            _map(assemble(model, batch, words, torch.randn(2, 4, 8, 8), torch.tensor([1, 2])), tensors.append)
            shapes.append([tuple(tensor.shape) for tensor in tensors])
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) >= 6


@pytest.mark.parametrize("make", MAKERS)
def test_a_batch_in_pieces_has_the_same_gradient(make: Callable[[], Any], tmp_path: Path) -> None:
    """Also where its prompts are of different lengths: a piece is padded as the whole batch is.

    The parts of the model are in float64: what is left is the rounding of the float32 vectors and losses, on any
    machine, and not that of its matrix products, whose order depends on the size of a batch.
    """
    pipeline = make()
    for part in (pipeline.unet, *texts_of(pipeline)):
        part.double()
    texts = ("[name]", "a photo of [name], " + "a red ball on the table beside a blue one, " * 9, "[name] in the snow")
    gradients = []
    with DiffusersHost(pipeline, tmp_path, {}).training(1) as model:
        reader = PromptReader(model.tokenizer, (Word("qzx", tuple(model.tokenizer.ids("qzx")), 2),))
        subset = Subset(("[filewords]",), CaptionRules("qzx"))
        rng = torch.Generator().manual_seed(1)
        latents = [LatentDistribution(torch.randn(4, 8, 8, generator=rng), torch.zeros(4, 8, 8)) for _ in texts]
        examples = [Example(text, one, text, uncropped(64, 64), subset) for text, one in zip(texts, latents)]
        vectors = {name: torch.randn(2, width, generator=rng) * 0.1 for name, width in model.widths.items()}
        for pieces in (1, 3):
            state = new_state({"qzx": vectors}, 3, torch.device("cpu"))
            seen: list[Tensor] = []
            state.optimizer.register_step_pre_hook(
                lambda *_, state=state, seen=seen: seen.extend(one.clone() for one in state.gradients())
            )
            take_step(state, Plan(1, 3, 1, lambda step: 0.1), model, Dataset(examples, reader, "once", 0), pieces)
            gradients.append(torch.cat([one.flatten() for one in seen]))
    whole, parts = gradients
    assert (parts - whole).abs().max() <= 3e-7 * whole.abs().max()  # seen: 8e-8


@pytest.mark.parametrize("make", MAKERS)
def test_a_prompt_that_comes_twice_is_encoded_once(make: Callable[[], Any], tmp_path: Path) -> None:
    """Where its emphasis is the same, too; what the UNet is given is the same, and so are the vectors' gradients."""
    with DiffusersHost(make(), tmp_path, {}).training(1) as model:
        words = vectors_of(model)
        word = Word("qzx", tuple(model.tokenizer.ids("qzx")), 2)
        read = PromptReader(model.tokenizer, (word,), emphasis=True).read
        prompts = tuple(map(read, ("a (qzx:1.2)", "a qzx", "a (qzx:1.2)", "a qzx", "a (qzx:1.2)")))
        inputs = model.assemble_prompts(prompts, words, [uncropped(64, 64)] * 5)
        assert len(inputs.slots) == 2
        assert inputs.order is not None
        assert inputs.order.tolist() == [0, 1, 0, 1, 0]
        assert inputs.weights is not None
        inputs = replace(inputs, weights=None)  # as below: an untrained model's mean is 0 but for rounding
        leaves = list(words["qzx"].values())
        found = []
        for given in (inputs, repeated(inputs)):
            condition = model.encode(given, words)
            values = [one for one in (condition.context, condition.pooled) if one is not None]
            assert [len(one) for one in values] == [5] * len(values)
            factors = torch.linspace(0.5, 2.0, 5)
            loss = sum(((one.flatten(1)[:, :40] * factors[:, None]) ** 2).sum() for one in values)
            found.append([*values, *torch.autograd.grad(loss, leaves)])
        for one, other in zip(*found):
            assert (one - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("make", MAKERS)
def test_each_example_has_its_own_gradient_of_one_prompt(make: Callable[[], Any], tmp_path: Path) -> None:
    """Though their prompt is encoded once, two examples do not share their gradients."""
    with DiffusersHost(make(), tmp_path, {}).training(1) as model:
        words = vectors_of(model)
        inputs = inputs_of(model, words)
        prompt = PromptReader(model.tokenizer, (Word("qzx", tuple(model.tokenizer.ids("qzx")), 2),)).read("a qzx")
        inputs = replace(inputs, prompts=model.assemble_prompts((prompt,) * 2, words, [uncropped(64, 64)] * 2))
        assert len(inputs.prompts.slots) == 1
        leaves = list(words["qzx"].values())
        losses = compute(model, inputs, words, Objective())
        alone = [torch.autograd.grad(loss, leaves, retain_graph=True) for loss in losses]
        optimizer = make_optimizer("ong", leaves, {"lengths": [1.0] * len(leaves)})
        assert isinstance(optimizer, NaturalGradient)
        add_sample_gradients(model, inputs, words, Objective(), 0.5, optimizer)
    for rows, expected in zip(optimizer._gradients[0], alone):
        right = torch.cat([(one * 2 / leaf.shape[1] ** 0.5).flatten() for one, leaf in zip(expected, leaves)])
        assert (rows - right * 4 * 8 * 8 / 2).norm() <= 1e-4 * (right * 4 * 8 * 8 / 2).norm()


@pytest.mark.parametrize("make", MAKERS)
def test_each_example_has_its_own_gradient(make: Callable[[], Any], tmp_path: Path) -> None:
    """From one backward: each example's alone, in every encoder, with weights and prompts of two chunks."""
    with DiffusersHost(make(), tmp_path, {}).training(1) as model:
        words = vectors_of(model)
        inputs = replace(inputs_of(model, words), pixel_weights=torch.rand(2, 1, 8, 8))
        # no emphasis: it divides by a mean, which is 0 but for rounding after an untrained model's last LayerNorm
        inputs = replace(inputs, prompts=replace(inputs.prompts, weights=None))
        leaves = list(words["qzx"].values())
        losses = compute(model, inputs, words, Objective())
        alone = [torch.autograd.grad(loss, leaves, retain_graph=True) for loss in losses]
        probe = torch.randn(2, 4, 8, 8)
        probed_alone = torch.autograd.grad(probed(model, inputs, words, probe)[1], leaves)
        optimizer = make_optimizer("ong", leaves, {"lengths": [1.0] * len(leaves)})
        assert isinstance(optimizer, NaturalGradient)
        found = add_sample_gradients(model, replace(inputs, probe=probe), words, Objective(), 0.5, optimizer)
    units = torch.cat([torch.full((leaf.numel(),), 2 / leaf.shape[1] ** 0.5) for leaf in leaves])
    for rows, expected, factor in (
        (optimizer._gradients[0][0], alone[0], 4 * 8 * 8 / 2),
        (optimizer._gradients[0][1], alone[1], 4 * 8 * 8 / 2),
        (optimizer._probes[0][1], probed_alone, 1.0),
    ):
        right = torch.cat([one.flatten() for one in expected]) * units * factor
        assert (rows - right).norm() <= 1e-4 * right.norm()
    assert torch.allclose(found, losses.detach(), rtol=1e-5)
    for leaf, first, second in zip(leaves, *alone):
        assert leaf.grad is not None
        assert (leaf.grad - (first + second) / 2).norm() <= 1e-4 * (first + second).norm()


def probed(model: Model, inputs: StepInputs, words: dict[str, dict[str, Tensor]], probe: Tensor) -> Tensor:
    """Σ u·r·√weight of each example, written out."""
    prediction, target = predict(model, inputs, words, Objective())
    assert inputs.pixel_weights is not None
    return ((prediction - target) * inputs.pixel_weights.sqrt() * probe).flatten(1).sum(1)
