"""Steps, rates and gradients."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.settings.arguments import argument_problems
from tinv_ext.core.settings.checks import schedule_problems
from tinv_ext.core.settings.limits import MAX_STEPS
from tinv_ext.core.settings.presets import PRESETS, PURPOSES
from tinv_ext.core.settings.setting import Setting
from tinv_ext.core.training.optimizer_rows import OPTIMIZERS
from tinv_ext.core.training.rates import CURVES

CLIP_MODES = ("disabled", "value", "norm")
CHECKPOINTING = ("auto", "on", "off")

TRAINING: Mapping[str, Setting] = {
    "preset": Setting(
        "Preset",
        "Chooses the settings that you leave alone. fast: few images, for most words; thorough: the same with more "
        "images; classic: the WebUI's own trainer; kohya, diffusers: as their documentation has it. A learning rate or "
        "an optimizer without a preset means classic.",
        choices=PRESETS,
    ),
    "purpose": Setting(
        "What the word is for",
        "Chooses template, number of vectors and steps where you leave them alone. negative: a word for negative "
        "prompts, learned from images of what is unwanted.",
        choices=PURPOSES,
    ),
    "steps": Setting(
        "Max steps",
        "Training ends at this step, counted from the embedding's own step 0.",
        minimum=1,
        maximum=MAX_STEPS,
    ),
    "max_train_epochs": Setting(
        "Max epochs",
        "Training ends after so many passes through all images and their repeats, instead of max steps; 0 = by steps.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "optimizer": Setting(
        "Optimizer",
        "adamw, lion, sgd, adafactor, prodigy or another name that kohya's trainers know; tinv_ext's own ssm (learning "
        'rate 0.2) and ong (learning rate 1); or the path of a class such as "torch.optim.RAdam". Some need a package '
        "of their own.",
        suggestions=OPTIMIZERS,
    ),
    "optimizer_args": Setting(
        "Optimizer arguments",
        "What the optimizer is given beside the learning rate: weight_decay=0.01 betas=0.9,0.999.",
        check=argument_problems,
    ),
    "learning_rate": Setting(
        "Embedding Learning rate",
        "One rate, or several with the step that each lasts to: 0.005:100, 1e-3:1000, 1e-5.",
        check=schedule_problems,
    ),
    "lr_scheduler": Setting(
        "Learning rate scheduler",
        "How one learning rate falls until the last step; constant also for several rates. piecewise_constant: "
        "multiplied by lr_scheduler_args, such as step_rules=1:100,0.1:200,0.01. adafactor: as that optimizer wants.",
        choices=CURVES,
        synonyms={"constant_with_warmup": "constant", "cosine_with_min_lr": "cosine"},
    ),
    "lr_warmup_steps": Setting(
        "Warm-up steps",
        "The learning rate grows from 0 in the first steps; below 1 it is a share of all steps.",
        minimum=0.0,
        maximum=float(MAX_STEPS),
    ),
    "lr_scheduler_num_cycles": Setting(
        "Cycles",
        "For cosine_with_restarts, with soft ones, and warmup_stable_decay: how often the learning rate falls.",
        minimum=1,
        maximum=1000,
    ),
    "lr_scheduler_power": Setting(
        "Power",
        "For polynomial: 1 falls like linear, higher ones sooner.",
        minimum=0.01,
        maximum=100.0,
    ),
    "lr_scheduler_min_lr_ratio": Setting(
        "Least learning rate",
        "What the scheduler leaves of the learning rate in the end, as a share.",
        minimum=0.0,
        maximum=1.0,
    ),
    "lr_decay_steps": Setting(
        "Decay steps",
        "For warmup_stable_decay: in how many of the last steps the learning rate falls; below 1 a share of all steps.",
        minimum=0.0,
        maximum=float(MAX_STEPS),
    ),
    "lr_scheduler_timescale": Setting(
        "Timescale",
        "For inverse_sqrt: after three times so many steps the learning rate is half; 0 = the warm-up steps, or 10000.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "lr_scheduler_type": Setting(
        "Scheduler class",
        "A class that makes the learning rates instead: one of torch.optim.lr_scheduler, such as CosineAnnealingLR, or "
        "the path of another.",
    ),
    "lr_scheduler_args": Setting(
        "Scheduler arguments",
        "What the scheduler class is given: T_max=100 eta_min=1e-5; for piecewise_constant its step_rules.",
        check=argument_problems,
    ),
    "scale_lr": Setting(
        "Scale learning rate",
        "Multiply the learning rate by the images of a step.",
    ),
    "batch_size": Setting(
        "Batch size",
        "Images per forward pass.",
        minimum=1,
        maximum=1024,
    ),
    "gradient_accumulation_steps": Setting(
        "Gradient accumulation steps",
        "Batches that make up one step. They are computed together where memory allows.",
        minimum=1,
        maximum=1024,
    ),
    "micro_batch_size": Setting(
        "Micro-batch size",
        "Computes each step so many images at a time, which takes less memory and gives the same gradient. 0 = as many "
        "as fit.",
        minimum=0,
        maximum=1024,
    ),
    "gradient_checkpointing": Setting(
        "Gradient checkpointing",
        "Slower, same gradient, much less memory. auto: only once memory runs out; Check tells what fits.",
        choices=CHECKPOINTING,
        synonyms={"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"},
    ),
    "offload_weights": Setting(
        "Keep the model's weights in main memory",
        "Much slower, same gradient, far less memory of the GPU. auto: only once memory runs out.",
        choices=CHECKPOINTING,
        synonyms={"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"},
    ),
    "clip_mode": Setting(
        "Gradient Clipping",
        "Limit each component (value) or the length (norm) of the gradient.",
        choices=CLIP_MODES,
    ),
    "clip_value": Setting(
        "Gradient clip value",
        "The limit; like the learning rate, it can change with the step.",
        check=schedule_problems,
    ),
    "preserve_embedding_norm": Setting(
        "Keep the length of the vectors",
        "Each vector stays as long as it was in the beginning; only its direction is learned.",
    ),
    "max_vector_norm": Setting(
        "Longest vectors",
        "No vector grows longer than this many times an ordinary word's, such as 1.5, unless it began longer; 0 = no "
        "limit.",
        minimum=0.0,
        maximum=1000.0,
    ),
    "pull_to_init": Setting(
        "Pull to the start",
        "Share of the way back to the initial vectors that each step takes, such as 0.001; 0 = none.",
        minimum=0.0,
        maximum=1.0,
    ),
    "ema_decay": Setting(
        "EMA decay",
        "Makes the embedding an average over the last steps: 0.9 is about the last 10, 0.99 the last 100. 0 = off.",
        minimum=0.0,
        maximum=0.9999,
    ),
    "ema_inv_gamma": Setting(
        "EMA warm-up",
        "The average begins short and grows with the run, until it is as long as EMA decay says: 9 is over the last "
        "ninth of the steps so far, 4 over the last quarter.",
        minimum=1.0,
        maximum=1000.0,
    ),
    "downweight_odd_images": Setting(
        "Learn less from odd images",
        "An image that pulls the word back from what the others teach it counts less, the more clearly it does. Turn "
        "it off if such images show what the word is to learn as well. For the optimizer ong.",
    ),
    "seed": Setting(
        "Seed",
        "The same seed gives the same run.",
        minimum=0,
        maximum=2**63 - 1,
    ),
}
