"""Losses, weights, noise and rates against the peers' own functions: numbers that these gave, or what is installed.

How the numbers were recorded: the functions named at the head of tests/data/peers/objective.json, on these tensors.
"""

from __future__ import annotations

import json
import math
from inspect import signature
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, training_utils
from diffusers.optimization import get_scheduler
from torch import Tensor
from transformers.optimization import Adafactor, get_inverse_sqrt_schedule

from tests.messages import ids, refused
from tests.paths import ROOT
from tinv_ext.core.noise import NoiseSchedule
from tinv_ext.core.preflight.plan import make_plan, on_settings
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.arguments import read_arguments
from tinv_ext.core.training.loss_types import ERRORS, Huber
from tinv_ext.core.training.loss_weights import WEIGHTS
from tinv_ext.core.training.noise_samples import NoiseRules
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.optimizers import make_optimizer
from tinv_ext.core.training.rates import LearningRate
from tinv_ext.core.training.schedules import Schedule, parse_schedule
from tinv_ext.core.training.timesteps import shifted

RECORDED: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "peers" / "objective.json").read_text("utf-8"))
TIMESTEPS = torch.tensor([0, 1, 77, 500, 900, 999])
CLOSE = 1e-6  # relative
NOISE: dict[str, dict[str, Any]] = {
    "noise offset": {"noise_offset": 0.1},
    "noise offset random": {"noise_offset": 0.1, "noise_offset_random_strength": True},
    "noise multires": {"multires_noise_iterations": 6, "multires_noise_discount": 0.3},
    "noise multires 10 .8 + offset": {
        "multires_noise_iterations": 10,
        "multires_noise_discount": 0.8,
        "noise_offset": 0.05,
    },
    "noise ip": {"ip_noise_gamma": 0.1},
    "noise ip random": {"ip_noise_gamma": 0.1, "ip_noise_gamma_random_strength": True},
}


def schedule(prediction: str = "epsilon") -> NoiseSchedule:
    """Stable Diffusion's, with the rounding of diffusers."""
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return NoiseSchedule(DDPMScheduler(**betas).alphas_cumprod, prediction)


def close(ours: Tensor, name: str, rtol: float = CLOSE) -> bool:
    """Whether numbers are those recorded."""
    return torch.allclose(ours.double(), torch.tensor(RECORDED[name], dtype=torch.float64), rtol=rtol, atol=0)


@pytest.mark.parametrize("case", [key for key in RECORDED if key.partition(" ")[0] in WEIGHTS])
def test_weights_are_those_of_the_peers(case: str) -> None:
    """For models of noise and of v, from the first timestep to the last."""
    name, number, prediction = case.split()
    assert close(WEIGHTS[name](schedule(prediction), TIMESTEPS, float(number)), case)


@pytest.mark.parametrize(
    "case", [key for key in RECORDED if key.partition(" ")[0] in ("l2", "l1", "huber", "smooth_l1")]
)
def test_losses_are_those_of_kohya(case: str) -> None:
    """Of each example, with thresholds by timestep."""
    error, kind, c, scale = case.split()
    prediction = torch.linspace(-2, 2, 96).view(6, 4, 2, 2)
    target = torch.linspace(1, -1, 96).view(6, 4, 2, 2)
    objective = Objective(error=error, huber=Huber(kind, float(c), float(scale)))
    assert close(objective.losses(prediction, target, schedule(), TIMESTEPS), case)


def test_every_weight_and_error_was_recorded() -> None:
    """A new row needs numbers of its own."""
    assert {key.partition(" ")[0] for key in RECORDED} >= {*WEIGHTS, *ERRORS} - {"log_cosh"}


def test_log_cosh_is_that_of_onetrainer() -> None:
    """modules/modelSetup/mixin/ModelSetupDiffusionLossMixin.py: log(cosh(e)), also where cosh is infinite."""
    errors = torch.tensor([0.0, 0.01, -1.0, 5.0, -200.0])
    found = ERRORS["log_cosh"](errors, torch.zeros(5), None)
    assert torch.allclose(found[:4], torch.log(torch.cosh(errors.double()))[:4].float(), rtol=1e-4, atol=1e-7)
    assert float(found[4]) == pytest.approx(200 - math.log(2))


def test_zero_terminal_snr_is_that_of_kohya() -> None:
    """In float64: the peer's way through betas loses 4e-5 in float32, ours 1e-5. The last timestep is noise alone."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    exact = NoiseSchedule(torch.cumprod(1 - betas.double(), 0), "v_prediction").with_zero_terminal_snr()
    assert close(exact.alphas_cumprod[TIMESTEPS], "zero_terminal_snr")
    ours = schedule("v_prediction").with_zero_terminal_snr()
    assert float(ours.alphas_cumprod[-1]) == 0.0
    assert ours.alphas_cumprod.dtype == torch.float32
    assert torch.allclose(ours.alphas_cumprod.double(), exact.alphas_cumprod, rtol=2e-5)
    again = ours.with_zero_terminal_snr()
    assert torch.allclose(again.alphas_cumprod, ours.alphas_cumprod, rtol=CLOSE)


def test_without_any_signal_weights_are_finite() -> None:
    """At zero terminal SNR: those of v are what they tend to, and min-SNR of noise is 1."""
    last = torch.tensor([999])
    for prediction, names in (("v_prediction", WEIGHTS), ("epsilon", ["min_snr_gamma", "p2_gamma"])):
        noise = schedule(prediction).with_zero_terminal_snr()
        found = {name: float(WEIGHTS[name](noise, last, 1.0)) for name in names if name != "v_pred_like_loss"}
        assert found["min_snr_gamma"] == (0.0 if prediction == "v_prediction" else 1.0)
        assert all(0 <= weight < 10 for weight in found.values()), found
    prediction, target = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    noise = schedule("v_prediction").with_zero_terminal_snr()
    assert torch.isfinite(Objective(error="huber").losses(prediction, target, noise, last)).all()


@pytest.mark.parametrize("case", NOISE)
def test_noise_is_that_of_kohya(case: str) -> None:
    """From the same random numbers, drawn in the same order: the noise to find, and that which the UNet is given."""
    rules, rng = NoiseRules(**NOISE[case]), torch.Generator().manual_seed(3)
    noise = rules.sample(torch.zeros(2, 4, 16, 16), rng)
    given = rules.perturbed(noise, rng)
    ours = torch.cat([part.flatten()[:6] for part in (noise, noise if given is None else given)])
    assert close(ours, case, rtol=1e-5)  # of one processor to another
    assert (given is None) == (not rules.ip_noise_gamma)


@pytest.mark.parametrize("warmup", [0, 30])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("constant_with_warmup", {}),
        ("linear", {}),
        ("cosine", {}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("polynomial", {"power": 2.0}),
    ],
)
def test_rates_are_those_of_diffusers(name: str, options: dict[str, Any], warmup: int) -> None:
    """At each of 300 steps; where diffusers' polynomial ends at 1e-7, ours is told so."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.005)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=300, **options)
    ours = LearningRate(
        parse_schedule("0.005"),
        300,
        name.removesuffix("_with_warmup"),
        warmup,
        options.get("num_cycles", 1),
        options.get("power", 1.0),
        least=1e-7 / 0.005 if name == "polynomial" else 0.0,
    )
    for step in range(300):
        assert ours.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=CLOSE, abs=1e-15)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("warmup", [0, 40])
def test_inverse_square_roots_are_those_of_transformers(warmup: int) -> None:
    """With a timescale, with that of the warm-up, and with neither."""
    for timescale in (70, None):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.005)
        # Without either number transformers 4.30 divides by zero; later ones mean 10000.
        theirs = get_inverse_sqrt_schedule(optimizer, num_warmup_steps=warmup, timescale=timescale or warmup or 10_000)
        given: dict[str, Any] = {"learning_rate": "0.005", "lr_scheduler": "inverse_sqrt"}
        given |= {"lr_scheduler_timescale": timescale or 0, "lr_warmup_steps": warmup}
        ours = make_plan(TrainConfig.from_dict({**given, "steps": 300}), 0, resumed=False).rate
        for step in range(300):
            assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-15)
            optimizer.step()
            theirs.step()


@pytest.mark.parametrize(("decay", "cycles"), [(100, 1), (0.25, 2), (0, 1)])
def test_a_stable_rate_decays_at_the_end(decay: float, cycles: int) -> None:
    """As transformers' _get_wsd_scheduler_lambda, with kohya's arguments: half as many cycles, a least share."""
    given = {"lr_scheduler": "warmup_stable_decay", "lr_decay_steps": decay, "lr_scheduler_num_cycles": cycles}
    given |= {"steps": 300, "lr_warmup_steps": 30, "lr_scheduler_min_lr_ratio": 0.1, "learning_rate": "0.005"}
    ours = make_plan(TrainConfig.from_dict(given), 0, resumed=False).rate
    steps = int(decay * 300) if decay < 1 else int(decay)
    for step in range(300):
        share = 1.0
        if step < 30:
            assert ours(step) == pytest.approx(0.005 * step / 30)
            continue
        if step >= 300 - steps:
            progress = (step - (300 - steps)) / steps
            share = max(0.0, 0.5 * (1 + math.cos(math.pi * cycles / 2 * 2 * progress))) * 0.9 + 0.1
        assert ours(step) == pytest.approx(0.005 * share)


@pytest.mark.parametrize("rules", ["1:10,0.1:20,0.01:30,0.005", "0.5:1,2", "0.25"])
def test_pieces_are_those_of_diffusers(rules: str) -> None:
    """Factors of one rate for steps below the number of each, as kohya's trainers take them."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.005)
    theirs = get_scheduler("piecewise_constant", optimizer, step_rules=rules)
    given = {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": f"step_rules='{rules}'", "steps": 40}
    unquoted = {**given, "lr_scheduler_args": f"step_rules={rules}"}
    configs = [TrainConfig.from_dict({**written, "learning_rate": "0.005"}) for written in (given, unquoted)]
    plans = [make_plan(config, 0, resumed=False) for config in configs]
    assert "preflight.no_effect" not in ids(on_settings(configs[0]))
    for step in range(40):
        rate = optimizer.param_groups[0]["lr"]
        assert [plan.rate(step) for plan in plans] == pytest.approx([rate, rate], rel=CLOSE)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("arguments", ["", "step_rules=1:x,2", "step_rules=1:20,1:10,1", "step_rules=1 last_epoch=3"])
def test_pieces_that_cannot_be_meant_are_told(arguments: str) -> None:
    """With what was written, beside other problems."""
    given = {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": arguments, "lr_warmup_steps": 100}
    with refused("preflight.step_rules", given=arguments) as caught:
        make_plan(TrainConfig.from_dict({**given, "steps": 40}), 0, resumed=False)
    assert "preflight.warmup_too_long" in ids(caught.value.problems)


@pytest.mark.parametrize("arguments", ["", "warmup_init=True", "scale_parameter=False"])
def test_rates_of_adafactor_are_its_own(arguments: str) -> None:
    """kohya's scheduler adafactor:<rate>, bit for bit what transformers' Adafactor does without a rate."""
    start = torch.randn(2, 768, generator=torch.Generator().manual_seed(1))
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    config = TrainConfig.from_dict(
        {"optimizer": "Adafactor", "lr_scheduler": "adafactor:1e-3", "optimizer_args": arguments, "steps": 60}
    )
    rate = make_plan(config, 0, resumed=False).rate
    by_name = make_optimizer(config.optimizer, [ours], config.optimizer_options)
    peer = Adafactor([theirs], **read_arguments(arguments))
    for step in range(60):
        gradient = torch.randn(2, 768, generator=torch.Generator().manual_seed(step)) * 1e-3
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        by_name.param_groups[0]["lr"] = rate(step)
        by_name.step()
        peer.step()
        assert torch.equal(ours, theirs)
    assert "preflight.rate_by_adafactor" in ids(on_settings(config))


def test_adafactor_goes_by_kohyas_arguments() -> None:
    """relative_step=True means the same without a scheduler; without either, the rate is the run's."""
    asked = TrainConfig.from_dict({"optimizer": "adafactor", "optimizer_args": "relative_step=True", "steps": 9})
    assert asked.relative_steps
    assert make_plan(asked, 0, resumed=False).rate(3) == 0.01
    plain = TrainConfig.from_dict({"optimizer": "adafactor", "learning_rate": "0.002", "steps": 9})
    assert make_plan(plain, 0, resumed=False).rate(3) == 0.002
    with refused("preflight.adafactor_only", optimizer="adamw"):
        make_plan(
            TrainConfig.from_dict({"optimizer": "adamw", "learning_rate": 1e-3, "lr_scheduler": "adafactor"}),
            0,
            resumed=False,
        )


@pytest.mark.parametrize("least", [0.0, 0.2])
def test_curves_of_onetrainer(least: float) -> None:
    """lr_lambda_rex and lr_lambda_cosine_with_restarts with apply_min_factor (modules/util/lr_scheduler_util.py)."""
    rex = LearningRate(Schedule(((1.0, None),)), 200, "rex", least=least)
    soft = LearningRate(Schedule(((1.0, None),)), 200, "cosine_with_soft_restarts", cycles=3, least=least)
    for step in range(200):
        left = 1 - step / 200
        assert rex.at(step) == pytest.approx(least + (1 - least) * left / (0.1 + 0.9 * left))
        wave = 0.5 * (1 + math.cos(step / 200 * 2 * math.pi * 3))
        assert soft.at(step) == pytest.approx(least + (1 - least) * wave)
    assert rex.at(200) == pytest.approx(least)


def test_a_scheduler_class_makes_the_rates() -> None:
    """One of torch by its name with its arguments, as it would beside an optimizer; another is told."""
    given = {"lr_scheduler_type": "CosineAnnealingLR", "lr_scheduler_args": "T_max=50 eta_min=1e-4", "steps": 120}
    given["learning_rate"] = "0.005"
    ours = make_plan(TrainConfig.from_dict({**given, "scale_lr": True, "batch_size": 2}), 0, resumed=False).rate
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.005)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=1e-4)
    for step in range(120):
        assert ours(step) == pytest.approx(2 * optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()
    for name, arguments in (("Nowhere", ""), ("StepLR", "gamma=1"), ("ReduceLROnPlateau", ""), ("os.path", "")):
        with refused("training.no_scheduler", name=name):
            wrong = {"lr_scheduler_type": name, "lr_scheduler_args": arguments}
            make_plan(TrainConfig.from_dict(wrong), 0, resumed=False)
    with refused("preflight.two_schedules", scheduler="StepLR"):
        two = {"lr_scheduler_type": "StepLR", "lr_scheduler_args": "step_size=3", "learning_rate": "1:5, 2"}
        make_plan(TrainConfig.from_dict(two), 0, resumed=False)


def test_the_offset_adapts_as_kohyas() -> None:
    """apply_noise_offset of library/custom_train_functions.py, from the same random numbers; never below 0."""
    latents = torch.linspace(-1, 2, 2 * 4 * 8 * 8).view(2, 4, 8, 8)
    for scale in (0.3, -0.2):
        rng = torch.Generator().manual_seed(3)
        ours = NoiseRules(noise_offset=0.1, adaptive_noise_scale=scale).sample(latents, rng)
        rng.manual_seed(3)
        plain = torch.randn(latents.shape, generator=rng)
        strength = torch.clamp(0.1 + scale * torch.abs(latents.mean(dim=(2, 3), keepdim=True)), 0.0, None)
        assert torch.allclose(ours, plain + strength * torch.randn((2, 4, 1, 1), generator=rng))


def test_timesteps_shift_as_onetrainers() -> None:
    """Its formula in _get_timestep_discrete; none moves for 1, and none leaves the schedule."""
    timesteps = torch.tensor([0, 1, 500, 998, 999])
    for shift in (0.5, 3.0):
        wanted = 1000 * shift * timesteps / ((shift - 1) * timesteps + 1000)
        assert torch.equal(shifted(timesteps, shift, 1000), wanted.long())
    assert shifted(timesteps, 1.0, 1000) is timesteps
    drawn = Objective(shift=3.0).sample(torch.zeros(500, 1, 1, 1), schedule(), torch.Generator().manual_seed(1))[1]
    assert (int(drawn.min()) >= 0, int(drawn.max()) <= 999, float(drawn.float().mean()) > 650) == (True, True, True)


def test_a_least_rate_and_a_scale() -> None:
    """transformers' cosine_with_min_lr ends at the share; diffusers' scale_lr multiplies by the images of a step."""
    ours = LearningRate(parse_schedule("0.01"), 100, "cosine", least=0.25, scale=4.0)
    assert ours.at(0) == pytest.approx(0.04)
    assert ours.at(100) == pytest.approx(0.01)
    assert ours.at(50) == pytest.approx(0.04 * (0.25 + 0.75 / 2))


def test_a_list_of_rates_may_have_a_warm_up() -> None:
    """Of the WebUI's grammar the numbers stay what they were."""
    rates = parse_schedule("0.01:10, 0.001")
    plain, warmed = LearningRate(rates, 20), LearningRate(rates, 20, warmup=5)
    assert [plain.at(step) for step in range(20)] == [rates.at(step) for step in range(20)]
    assert [warmed.at(step) for step in (0, 1, 5, 12)] == pytest.approx([0.0, 0.002, 0.01, 0.001])


def test_logit_normal_timesteps_are_those_of_diffusers() -> None:
    """From the same generator."""
    density = getattr(training_utils, "compute_density_for_timestep_sampling", None)
    if density is None or "generator" not in signature(density).parameters:
        pytest.skip("this diffusers has none that takes a generator")
    objective = Objective("logit_normal", timestep_options={"mean": -0.5, "std": 1.3})
    rng = torch.Generator().manual_seed(9)
    timesteps = objective.sample(torch.zeros(512, 1, 1, 1), schedule(), rng)[1]
    shares = density("logit_normal", 512, -0.5, 1.3, generator=torch.Generator().manual_seed(9))
    assert torch.equal(timesteps, (shares * 1000).long())
