"""The plan of a run from its settings, and the contradictions in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.preflight.problems import Problems
from tinv_ext.core.preflight.trained_words import paces_of
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig
from tinv_ext.core.settings.arguments import read_arguments
from tinv_ext.core.settings.presets import preset_values
from tinv_ext.core.training.constraints import CONSTRAINTS, Constraint, in_turn
from tinv_ext.core.training.gradients import Clip
from tinv_ext.core.training.loss_types import WITH_THRESHOLD, Huber
from tinv_ext.core.training.loss_weights import WEIGHTS
from tinv_ext.core.training.noise_samples import NoiseRules
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.optimizer_rows import optimizer_name
from tinv_ext.core.training.rates import ADAFACTOR, FALLING, PIECEWISE, LearningRate, relative_step
from tinv_ext.core.training.scheduler_classes import rates_of_class
from tinv_ext.core.training.schedules import Schedule, parse_schedule
from tinv_ext.core.training.standstill import SUCCESSORS
from tinv_ext.core.training.stopping import Rule
from tinv_ext.core.training.timesteps import OPTIONS
from tinv_ext.core.training.trainer import Plan
from tinv_ext.core.training.word_rates import last_step

assert {*WEIGHTS, *CONSTRAINTS} <= set(SETTINGS), "each row of WEIGHTS and CONSTRAINTS has the name of a setting"


def make_plan(
    config: TrainConfig,
    start: int,
    resumed: bool,
    lengths: Mapping[str, float] | None = None,
    largest: int = 0,
    stop: Rule | None = None,
) -> Plan:
    """The plan from step `start` on. A resumed run may be at its last step: then only its file is missing.

    `lengths` are typical ones of a token's vector by encoder (`typical_length.py`); `largest` is the size of the
    largest batches, where that is not the run's; `stop` may end the run before (`stopping.py`).
    """
    rates = parse_schedule(config.learning_rate)
    clip = None if config.clip_mode == "disabled" else Clip(config.clip_mode, parse_schedule(config.clip_value).at)
    steps = config.steps if rates.end is None else min(config.steps, rates.end)
    found = Problems([*_rate_problems(config, rates, steps), *_timestep_problems(config)])
    paces = found.attempt(paces_of, config) or {}
    steps, problems = last_step(paces, steps), found.found
    if steps < start or (steps == start and not resumed):
        problems.append(
            message(
                "preflight.no_steps_left",
                "Max steps counts from the embedding's own step 0. The embedding is already at step {start}, and the "
                "run would end at step {end}. Set more than {start}.",
                start=start,
                end=steps,
            )
        )
    if problems:
        raise InputError(problems)
    rate = _rate_of(config, rates, steps)
    sizes, objective = (largest or config.batch_size, config.gradient_accumulation_steps), objective_of(config)
    after = _after(config)
    successors = SUCCESSORS.get(optimizer_name(config.optimizer), ())
    usual, ema = dict(lengths or {}), (config.ema_decay, config.ema_inv_gamma)
    less = config.downweight_odd_images
    return Plan(steps, *sizes, rate, clip, objective, after, usual, stop, *ema, successors, paces, less)


def objective_of(config: TrainConfig) -> Objective:
    """What the settings say is minimised."""
    options = OPTIONS.get(config.timestep_sampling, {})
    return Objective(
        timesteps=config.timestep_sampling,
        error=config.loss_type,
        weights=_asked(config, WEIGHTS),
        noise=NoiseRules(
            config.noise_offset,
            config.noise_offset_random_strength,
            config.multires_noise_iterations,
            config.multires_noise_discount,
            config.ip_noise_gamma,
            config.ip_noise_gamma_random_strength,
            config.adaptive_noise_scale,
        ),
        huber=Huber(config.huber_schedule, config.huber_c, config.huber_scale),
        timestep_options={option: getattr(config, setting) for option, setting in options.items()},
        first=config.min_timestep,
        end=config.max_timestep,
        zero_terminal_snr=config.zero_terminal_snr,
        shift=config.timestep_shift,
    )


def prediction_problems(config: TrainConfig, prediction: str) -> list[Message]:
    """Settings that mean something only for models of noise, or only for models of velocity."""
    needed = {
        "scale_v_pred_loss_like_noise_pred": "v_prediction",
        "zero_terminal_snr": "v_prediction",
        "v_pred_like_loss": "epsilon",
    }
    return [
        message(
            "preflight.other_prediction",
            "{label} ({name}) is only for models that predict {needed}; this one predicts {prediction}. Turn it off, "
            "or load another model.",
            label=SETTINGS[name].label,
            name=name,
            needed=kind,
            prediction=prediction,
        )
        for name, kind in needed.items()
        if getattr(config, name) and kind != prediction
    ]


def on_settings(config: TrainConfig) -> list[Message]:
    """Changed settings that have no effect because of the value of another setting."""
    usual = {**DEFAULTS, **preset_values(config.preset, config.purpose)}
    found = [
        message(
            "preflight.no_effect",
            "{label} ({name}) has no effect, because {other} is {value}.",
            label=SETTINGS[name].label,
            name=name,
            other=other,
            value=getattr(config, other),
        )
        for name, (other, values) in _USED_ONLY_WITH.items()
        if getattr(config, name) != usual[name]
        and (getattr(config, other) not in values if values else not getattr(config, other))
        and not (name == "lr_scheduler_args" and config.lr_scheduler == PIECEWISE)
    ]
    if config.relative_steps:
        found.append(
            message(
                "preflight.rate_by_adafactor",
                "Adafactor finds its learning rates by itself (relative_step): learning_rate, its scheduler and its "
                "warm-up are not used.",
            )
        )
    return found


_HUBER = ("loss_type", WITH_THRESHOLD)
# setting: the other one, and with which values of that it is used; none: with any but 0
_USED_ONLY_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "lr_scheduler_num_cycles": (
        "lr_scheduler",
        ("cosine_with_restarts", "cosine_with_soft_restarts", "warmup_stable_decay"),
    ),
    "lr_scheduler_power": ("lr_scheduler", ("polynomial",)),
    "lr_scheduler_min_lr_ratio": ("lr_scheduler", FALLING),
    "lr_decay_steps": ("lr_scheduler", ("warmup_stable_decay",)),
    "lr_scheduler_timescale": ("lr_scheduler", ("inverse_sqrt",)),
    "lr_scheduler_args": ("lr_scheduler_type", ()),
    "adaptive_noise_scale": ("noise_offset", ()),
    "huber_schedule": _HUBER,
    "huber_c": _HUBER,
    "huber_scale": _HUBER,
    **{setting: ("timestep_sampling", (law,)) for law, options in OPTIONS.items() for setting in options.values()},
    "noise_offset_random_strength": ("noise_offset", ()),
    "downweight_odd_images": ("optimizer", ("ong",)),
    "patience": ("stop_when_done", ("auto", "on")),
    "multires_noise_discount": ("multires_noise_iterations", ()),
    "ip_noise_gamma_random_strength": ("ip_noise_gamma", ()),
}


def _rate_of(config: TrainConfig, rates: Schedule, steps: int) -> Callable[[int], float]:
    if config.relative_steps:
        warming_up = bool(read_arguments(config.optimizer_args).get("warmup_init"))
        return lambda step: relative_step(step, warming_up)
    return LearningRate(
        rates,
        steps,
        config.lr_scheduler,
        _warmup(config, steps),
        config.lr_scheduler_num_cycles,
        config.lr_scheduler_power,
        config.lr_scheduler_min_lr_ratio,
        float(config.examples_per_step) if config.scale_lr else 1.0,
        _span(config, steps),
        _table(config, rates, steps),
        _factors(config),
    ).at


def _span(config: TrainConfig, steps: int) -> float:
    """The share of the steps after the warm-up that a curve takes: its decay, or its timescale."""
    way = max(1, steps - _warmup(config, steps))
    if config.lr_scheduler == "warmup_stable_decay":
        decay = config.lr_decay_steps
        return min(1.0, (int(decay * steps) if decay < 1 else int(decay)) / way)
    return (config.lr_scheduler_timescale or _warmup(config, steps) or _TIMESCALE) / way


_TIMESCALE = 10_000  # transformers' get_inverse_sqrt_schedule


def _table(config: TrainConfig, rates: Schedule, steps: int) -> tuple[float, ...]:
    """The rate of each step, where a class makes them; it begins with the first of the rates."""
    if not config.lr_scheduler_type.strip():
        return ()
    return rates_of_class(config.lr_scheduler_type, read_arguments(config.lr_scheduler_args), rates.at(0), steps)


def _factors(config: TrainConfig) -> Schedule | None:
    """What piecewise_constant multiplies the rate by: diffusers' `step_rules`. InputError if there are none."""
    if config.lr_scheduler != PIECEWISE or config.lr_scheduler_type.strip():
        return None
    given = read_arguments(config.lr_scheduler_args)
    try:
        if [*given] != ["step_rules"]:
            raise InputError([])
        return parse_schedule(str(given["step_rules"]))
    except InputError as error:
        raise InputError(
            message(
                "preflight.step_rules",
                "lr_scheduler=piecewise_constant wants factors of the learning rate, each with the step that it lasts "
                'to, in lr_scheduler_args, and nothing else: "step_rules=1:100,0.1:200,0.01", not "{given}". '
                "{problems: }",
                given=config.lr_scheduler_args,
                problems=error.problems,
            )
        ) from error


def _warmup(config: TrainConfig, steps: int) -> int:
    """Steps of warm-up: a number below 1 is a share of all, as with kohya."""
    asked = config.lr_warmup_steps
    return int(asked * steps) if asked < 1 else int(asked)


def _after(config: TrainConfig) -> Constraint:
    return in_turn([CONSTRAINTS[name](number) for name, number in _asked(config, CONSTRAINTS).items()])


def _asked(config: TrainConfig, rows: Iterable[str]) -> dict[str, float]:
    """The numbers of the settings that the rows are named as, without those that are off."""
    numbers = {name: float(getattr(config, name)) for name in rows}
    return {name: number for name, number in numbers.items() if number}


def _rate_problems(config: TrainConfig, rates: Schedule, steps: int) -> list[Message]:
    problems = []
    if len(rates.pieces) > 1 and (config.lr_scheduler != "constant" or config.lr_scheduler_type.strip()):
        problems.append(
            message(
                "preflight.two_schedules",
                'learning_rate has several rates ("{rates}"), and lr_scheduler is {scheduler}. Give one rate, or set '
                "lr_scheduler to constant.",
                rates=config.learning_rate,
                scheduler=config.lr_scheduler_type.strip() or config.lr_scheduler,
            )
        )
    if config.lr_scheduler == ADAFACTOR and not config.relative_steps:
        problems.append(
            message(
                "preflight.adafactor_only",
                "lr_scheduler=adafactor is for the optimizer adafactor, not for {optimizer}. Choose another of them.",
                optimizer=config.optimizer,
            )
        )
    try:
        _factors(config)
    except InputError as error:
        problems += [problem for problem in error.problems if isinstance(problem, Message)]
    if _warmup(config, steps) >= steps:
        problems.append(
            message(
                "preflight.warmup_too_long",
                "The warm-up (lr_warmup_steps) takes {warmup:step|steps}, but the run ends at step {steps}. Set fewer.",
                warmup=_warmup(config, steps),
                steps=steps,
            )
        )
    return problems


def _timestep_problems(config: TrainConfig) -> list[Message]:
    if not config.max_timestep or config.min_timestep < config.max_timestep:
        return []
    return [
        message(
            "preflight.no_timesteps",
            "No timestep is left: min_timestep is {first}, and max_timestep {end} is the first that is no longer "
            "used. Set min_timestep below max_timestep.",
            first=config.min_timestep,
            end=config.max_timestep,
        )
    ]


def on_plan(plan: Plan, config: TrainConfig, start: int, epochs: Epochs, images: int) -> list[Message]:
    """Notices: how often each of so many `images` is seen from step `start` on, and rates that end the run early."""
    seen = float((plan.steps - start) * epochs.per_step)
    times = f"{seen / images:.0f}" if seen >= 10 * images else f"{seen / images:.1f}"
    steps, per_step = plan.steps - start, epochs.per_step
    if per_step.denominator == 1:
        told = message(
            "preflight.plan",
            "{steps:step|steps} of {batch:image|images}: each image is seen about {times} times.",
            steps=steps,
            batch=int(per_step),
            times=times,
        )
    else:
        told = message(
            "preflight.plan_mixed",
            "{steps:step|steps} of {batch} images on average: each image is seen about {times} times.",
            steps=steps,
            batch=f"{float(per_step):.3g}",
            times=times,
        )
    notices = [told]
    if plan.stop and plan.steps * config.examples_per_step > config.patience:
        notices.append(
            message(
                "preflight.may_end",
                "The run ends before its last step once {images:image|images} have brought no improvement.",
                images=config.patience,
            )
        )
    if plan.steps < config.steps and plan.steps == last_step(plan.paces, config.steps):
        notices.append(
            message(
                "preflight.words_end",
                "Every word stops by step {end} (stop_training_after), so the run ends there (max steps is {steps}).",
                end=plan.steps,
                steps=config.steps,
            )
        )
    elif plan.steps < config.steps:
        notices.append(
            message(
                "preflight.rates_end",
                "The learning rates end at step {end}, so the run ends there, too (max steps is {steps}).",
                end=plan.steps,
                steps=config.steps,
            )
        )
    if config.scale_lr:
        notices.append(
            message(
                "preflight.rate_scaled",
                "The learning rate is multiplied by the {images:image|images} of a step: at most {most:.3g}.",
                images=config.examples_per_step,
                most=max(map(plan.rate, range(start, plan.steps)), default=0.0),
            )
        )
    return notices + _drawn(plan, start)


_BARS, _HEIGHTS = 40, "▁▂▃▄▅▆▇█"


def _drawn(plan: Plan, start: int) -> list[Message]:
    """The learning rates as a line of bars, where they change."""
    steps = range(start, plan.steps)
    rates = [plan.rate(step) for step in steps[:: max(1, len(steps) // _BARS)]]
    most = max(rates, default=0.0)
    if not rates or min(rates) == most:
        return []
    return [
        message(
            "preflight.rates_drawn",
            "Learning rate: {bars} from {first:.3g} to {last:.3g}, at most {most:.3g}.",
            bars="".join(_HEIGHTS[round(rate / most * (len(_HEIGHTS) - 1))] for rate in rates),
            first=plan.rate(start),
            last=plan.rate(plan.steps - 1),
            most=most,
        )
    ]
