"""The loss that is measured on fixed images, noise and timesteps while a run goes on."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.settings.limits import MAX_STEPS
from tinv_ext.core.settings.setting import Setting

RESULTS = ("best", "last")
STOPS = ("auto", "on", "off")

EVALUATION: Mapping[str, Setting] = {
    "evaluate_every": Setting(
        "Evaluate every N steps",
        "Measures the loss on fixed images, noise and timesteps; 0 = never.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "evaluation_images": Setting(
        "Held-out images",
        "Number of images that are measured but not trained on; 0 = measure on training images.",
        minimum=0,
        maximum=1000,
    ),
    "evaluation_timesteps": Setting(
        "Timesteps per image",
        "Number of fixed timesteps at which each image is measured.",
        minimum=1,
        maximum=100,
    ),
    "stop_when_done": Setting(
        "Stop when it no longer improves",
        "Ends the run before its last step once the evaluation has not improved for so many images. auto: where the "
        "evaluation comes often enough and there is more than one picture.",
        choices=STOPS,
        synonyms={"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"},
    ),
    "patience": Setting(
        "Images without improvement",
        "After so many images without a real improvement of the evaluation, or a third of all that it has seen if that "
        "is more, the run may stop.",
        minimum=1,
        maximum=MAX_STEPS,
    ),
    "result": Setting(
        "Save as the embedding",
        "best: the vectors of the best evaluation; the last ones are kept in the run's folder. last: those of the last "
        "step, as without evaluation.",
        choices=RESULTS,
    ),
}
