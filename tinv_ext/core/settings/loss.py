"""What is minimised: the loss, its weights by timestep, timesteps and noise. Names are those of kohya's trainers."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.settings.setting import Setting
from tinv_ext.core.training.loss_types import ERRORS, THRESHOLDS
from tinv_ext.core.training.timesteps import TIMESTEPS

LOSS: Mapping[str, Setting] = {
    "loss_type": Setting(
        "Loss",
        "l2: squared error. l1: absolute error. huber, smooth_l1: in between, so that outliers count less.",
        choices=ERRORS,
    ),
    "huber_schedule": Setting(
        "Huber schedule",
        "How the threshold of huber and smooth_l1 falls from the first to the last timestep.",
        choices=THRESHOLDS,
    ),
    "huber_c": Setting(
        "Huber threshold",
        "Errors above it count less than their square; with a schedule, the threshold at the last timestep.",
        minimum=1e-6,
        maximum=1.0,
    ),
    "huber_scale": Setting(
        "Huber scale",
        "Multiplies the threshold of the schedules exponential and constant.",
        minimum=1e-6,
        maximum=1000.0,
    ),
    "min_snr_gamma": Setting(
        "Min-SNR gamma",
        "Timesteps with little noise count less, the lower the more; usual is 5; 0 = off.",
        minimum=0.0,
        maximum=1000.0,
    ),
    "debiased_estimation_loss": Setting(
        "Debiased estimation",
        "Timesteps with much noise count more.",
    ),
    "p2_gamma": Setting(
        "P2 gamma",
        "Timesteps with little noise count less, the higher the more; usual is 1; 0 = off.",
        minimum=0.0,
        maximum=10.0,
    ),
    "scale_v_pred_loss_like_noise_pred": Setting(
        "Scale the loss of v like that of noise",
        "For models that predict v (velocity).",
    ),
    "v_pred_like_loss": Setting(
        "Add a loss like that of v",
        "The share of it; for models that predict noise. 0 = off.",
        minimum=0.0,
        maximum=1000.0,
    ),
    "timestep_sampling": Setting(
        "Timestep sampling",
        "uniform: every timestep is as likely. logit_normal: those in the middle are preferred. stratified: the images "
        "of a batch get timesteps from different parts of the schedule, so that batches are more alike.",
        choices=TIMESTEPS,
    ),
    "timestep_balance": Setting(
        "Timestep balance",
        "Divides the loss by the model's own usual loss at that timestep, to this power. 0 = off; 1 = all timesteps "
        "count alike. The usual loss is measured when the run begins.",
        minimum=0.0,
        maximum=2.0,
    ),
    "logit_mean": Setting(
        "Logit mean",
        "For logit_normal: above 0 prefers timesteps with more noise.",
        minimum=-10.0,
        maximum=10.0,
    ),
    "logit_std": Setting(
        "Logit deviation",
        "For logit_normal: the larger, the wider.",
        minimum=0.01,
        maximum=10.0,
    ),
    "min_timestep": Setting(
        "Min timestep",
        "The first timestep that is trained; few timesteps mean little noise and details.",
        minimum=0,
        maximum=999,
    ),
    "max_timestep": Setting(
        "Max timestep",
        "Only timesteps below this are trained; 0 = all.",
        minimum=1,
        maximum=1000,
        zero=True,
    ),
    "timestep_shift": Setting(
        "Timestep shift",
        "Above 1 prefers timesteps with more noise, below 1 those with less; 1 = as they are sampled.",
        minimum=0.01,
        maximum=100.0,
    ),
    "noise_offset": Setting(
        "Noise offset",
        "Shifts the noise of whole channels, so that very bright and dark images are learned; about 0.05; 0 = off.",
        minimum=0.0,
        maximum=1.0,
    ),
    "noise_offset_random_strength": Setting(
        "Random noise offset",
        "Draws the offset of each batch from 0 up to the noise offset.",
    ),
    "adaptive_noise_scale": Setting(
        "Adaptive noise scale",
        "Adds this times the mean of each channel of an image to the noise offset; may be negative; 0 = off.",
        minimum=-1.0,
        maximum=1.0,
    ),
    "multires_noise_iterations": Setting(
        "Multires noise iterations",
        "Adds noise of so many lower resolutions; 6 to 10 are usual; 0 = off.",
        minimum=0,
        maximum=64,
    ),
    "multires_noise_discount": Setting(
        "Multires noise discount",
        "How much weaker the noise of each lower resolution is.",
        minimum=0.0,
        maximum=1.0,
    ),
    "ip_noise_gamma": Setting(
        "Input perturbation",
        "Strength of noise that the model is given but need not predict; 0.1 is usual; 0 = off.",
        minimum=0.0,
        maximum=1.0,
    ),
    "ip_noise_gamma_random_strength": Setting(
        "Random input perturbation",
        "Draws the strength for each batch from 0 up to the input perturbation.",
    ),
    "zero_terminal_snr": Setting(
        "Zero terminal SNR",
        "Stretches the noise schedule until the last timestep is noise alone; for models that predict v and were "
        "trained so.",
    ),
}
