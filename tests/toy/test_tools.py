"""The toy's tools: the optimizer, the rate, the folding of the latents, and the tables of figures."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from tests.paths import ROOT
from tinv_ext.toy import parts

TOOLS = ROOT / "tools" / "toy"


def tool(name: str) -> ModuleType:
    """One of the tools as a module."""
    if str(TOOLS) not in sys.path:
        sys.path.insert(0, str(TOOLS))
    return importlib.import_module(name)


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (16, 16)])
def test_muon_makes_a_matrix_about_orthogonal(shape: tuple[int, int]) -> None:
    """All singular values come close to 1, and the left and right vectors stay."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    (found,) = tool("muon").orthogonal([matrix])
    sizes = torch.linalg.svdvals(found)
    assert sizes.min() > 0.5
    assert sizes.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    outside = u.T @ found @ v.T
    assert (outside - torch.diag(torch.diag(outside))).abs().max() < 1e-3


def test_muon_learns() -> None:
    """A layer trained by Muon and AdamW together comes close to another layer."""
    torch.manual_seed(0)
    layer, wanted = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8).requires_grad_(False)
    optimizers = tool("muon").optimizers(layer, 0.05, plain=())
    losses = []
    for _ in range(60):
        given = torch.randn(32, 8)
        loss = (layer(given) - wanted(given)).pow(2).mean()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20


def test_the_rate_warms_up_and_ends_at_zero() -> None:
    """A hundredth at first, the top when warm, nothing at the end of the budget."""
    rate_at = tool("stage").rate_at
    assert rate_at(0.0, 0, 1.0) == 0.01
    assert rate_at(0.2, 500, 1.0) == 1.0
    assert rate_at(1.0, 5000, 1.0) < 1e-9


def test_folding_changes_latents_and_no_picture() -> None:
    """The folded autoencoder draws the same image from latents of mean 0 and spread 1."""
    torch.manual_seed(0)
    vae, folded = parts.vae().eval(), parts.vae().eval()
    mean, spread = torch.tensor([1.0, -2.0, 0.5, 3.0]), torch.tensor([2.0, 0.5, 1.0, 4.0])
    folded.load_state_dict(tool("ship").folded(vae.state_dict(), mean, spread))
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before, after = (each.encode(image).latent_dist for each in (vae, folded))
        wanted = (before.mode() - mean[:, None, None]) / spread[:, None, None]
        torch.testing.assert_close(after.mode() * parts.SCALE, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(after.std * parts.SCALE, torch.full_like(wanted, 0.02))
        torch.testing.assert_close(
            folded.decode(after.mode()).sample, vae.decode(before.mode()).sample, atol=1e-4, rtol=1e-4
        )


def test_a_result_is_measured_against_its_description() -> None:
    """The gap between initial word and description, and another word's result as a control, in one row."""
    learn = tool("learn")
    one = {"concept": "purple-moon", "seed": 1, "evaluation_before": 0.3, "evaluation_after": 0.21}
    one |= {"evaluation_description": 0.2, "identity_before": 0.0, "identity_after": 0.8, "identity_description": 1.0}
    one |= {"editability": 0.6, "editability_description": 0.75}
    other = {"concept": learn.PLAN["others"]["purple-moon"], "seed": 1, "shows": {"purple-moon": 0.1}}
    row = learn.row(one, [one, other])
    assert [round(value, 6) for value in row.values()] == [0.9, 0.8, 0.8, 0.6, 0.8, 0.0, 0.1]


def test_images_until_a_share_of_the_last_identity() -> None:
    """In a straight line between marks; never, where there is none in the end; quartiles over the runs of a preset."""
    recipes = tool("recipes")

    def run(*values: float, preset: str = "fast", leak: float | None = None) -> dict[str, object]:
        curve = dict(zip(("40", "80", "160", "320"), values))  # as JSON has them
        return {"preset": preset, "concept": "star", "seed": 1, "curve": curve, "editability": 1.0, "leak": leak}

    assert recipes.reached(run(0.0, 0.45, 0.9, 1.0)) == pytest.approx(160)
    assert recipes.reached(run(0.0, 0.8, 1.0, 1.0)) == pytest.approx(120)
    assert recipes.reached(run(1.0, 1.0, 1.0, 1.0)) == pytest.approx(36)
    assert recipes.reached(run(0.0, 0.5, 0.0, 0.0)) == float("inf")
    runs = [run(0.0, 0.8, 1.0, 1.0), run(1.0, 1.0, 1.0, 0.5), run(0.0, 0.45, 0.9, 1.0)]
    assert cells(recipes.table(runs)) == ["fast", "3", "120 (120–160)", "", "", "320", "0.83 (0.50)", "1.00", ""]
    runs = [run(0.0, 0.4, 0.82, 0.82, leak=0.5), run(0.0, 0.0, 0.4, 0.82, preset="classic")]
    fast, classic = recipes.table(runs).splitlines()[-2:]
    assert cells(fast)[2:4] == ["144 (144–144)", "156 (156–156)"]
    assert cells(fast)[-1] == "0.50"
    assert cells(classic)[3:5] == ["312 (312–312)", ""]
    early = [
        run(0.0, 1.0, 1.0, 1.0) | {"curve": {"80": 0.5, "100": value, "160": 1.0, "320": 1.0}} for value in (1, 0.5)
    ]
    assert cells(recipes.table(early))[4] == "0.75 (0.50)"


def cells(table: str) -> list[str]:
    """Of the last row."""
    return [cell.strip() for cell in table.splitlines()[-1].split("|")[1:-1]]


@pytest.mark.parametrize("condition", ["usual", "three-images", "one-bad-image", "one-background"])
def test_images_as_people_have_them(condition: str, tmp_path: Path) -> None:
    """As many as the condition says, on as many backgrounds; the judge can tell each concept that is compared."""
    conditions, concepts = tool("conditions"), tool("concepts")
    known = concepts.read()
    assert len(concepts.judged(known)) == 12
    conditions.write(condition, tmp_path / "images", known["star"], known["clover"], 1)
    files = sorted((tmp_path / "images").glob("*.png"))
    assert len(files) == {"three-images": 3, "one-bad-image": 10}.get(condition, 12)
    corners = {Image.open(file).getpixel((0, 0)) for file in files}
    assert (len(corners) == 1) == (condition == "one-background")


def test_every_mark_is_a_step_of_its_preset() -> None:
    """And a multiple of the first, at which snapshots are saved."""
    recipes = tool("recipes")
    for preset, marks in recipes.MARKS.items():
        values = recipes.preset_values(preset, "object")
        assert marks == sorted(marks)
        assert all(mark % marks[0] == 0 for mark in marks)
        assert marks[0] % (values["batch_size"] * values["gradient_accumulation_steps"]) == 0
