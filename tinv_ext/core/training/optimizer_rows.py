"""Optimizers as data: a name, the path of the class, its defaults, and what the learning rate means to it.

An optimizer is added as one row of `OPTIMIZERS` (timm's `optim/_optim_factory.py` is the model). Any other that torch
or an installed package has goes by the path of its class, such as "torch.optim.RAdam" or "prodigyopt.Prodigy". Nothing
is imported here: `--help` and the page offer the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer: the path of its class, what it is given unless a run says otherwise, the package to install.

    One with `takes_lengths` measures its steps by the typical length of a token's vector (`typical_length.py`).
    Where there are several words, one with `takes_words` is told which parameters are of one.

    `rate` says what the learning rate means to it: how far a step moves each number ("step"), a factor on the step
    that it finds by itself ("factor"), how far a step moves a word as a share of its usual length ("share"), or
    something else ("").
    """

    path: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    package: str = ""
    rate: str = ""
    takes_lengths: bool = False
    takes_words: bool = False


_NO_DECAY = {"weight_decay": 0.0}  # decay would pull a word towards no meaning
_RATE = {"lr": 1.0}  # wanted by some classes; set before each step
_NESTEROV = {**_RATE, "nesterov": True, "momentum": 0.9}
_OWN_RATE = {"relative_step": False, "scale_parameter": False, "warmup_init": False}  # or it would ignore ours


def _bitsandbytes(name: str, defaults: Mapping[str, Any], rate: str = "step") -> OptimizerRow:
    return OptimizerRow(f"bitsandbytes.optim.{name}", defaults, "bitsandbytes", rate)


def _dadaptation(name: str) -> OptimizerRow:
    return OptimizerRow(f"dadaptation.{name}", {}, "dadaptation", "factor")


# Named as in kohya's sd-scripts (library/train_util.py, get_optimizer), in any case.
OPTIMIZERS: Mapping[str, OptimizerRow] = {
    "adamw": OptimizerRow("torch.optim.AdamW", _NO_DECAY, "torch", "step"),
    "adamw8bit": _bitsandbytes("AdamW8bit", _NO_DECAY),
    "pagedadamw": _bitsandbytes("PagedAdamW", _NO_DECAY),
    "pagedadamw8bit": _bitsandbytes("PagedAdamW8bit", _NO_DECAY),
    "pagedadamw32bit": _bitsandbytes("PagedAdamW32bit", _NO_DECAY),
    "lion": OptimizerRow("lion_pytorch.Lion", {}, "lion-pytorch", "step"),
    "lion8bit": _bitsandbytes("Lion8bit", {}),
    "pagedlion8bit": _bitsandbytes("PagedLion8bit", {}),
    "sgd": OptimizerRow("torch.optim.SGD", _RATE, "torch"),
    "sgdnesterov": OptimizerRow("torch.optim.SGD", _NESTEROV, "torch"),
    "sgdnesterov8bit": _bitsandbytes("SGD8bit", _NESTEROV, ""),
    "adafactor": OptimizerRow("transformers.optimization.Adafactor", _OWN_RATE, "transformers"),
    "prodigy": OptimizerRow("prodigyopt.Prodigy", {}, "prodigyopt", "factor"),
    "dadaptation": _dadaptation("experimental.DAdaptAdamPreprint"),
    "dadaptadam": _dadaptation("DAdaptAdam"),
    "dadaptadagrad": _dadaptation("DAdaptAdaGrad"),
    "dadaptadan": _dadaptation("DAdaptAdan"),
    "dadaptlion": _dadaptation("DAdaptLion"),
    "dadaptsgd": _dadaptation("DAdaptSGD"),
    "ssm": OptimizerRow("tinv_ext.core.training.scalar_moment.ScalarMoment", rate="share", takes_lengths=True),
    "ong": OptimizerRow(
        "tinv_ext.core.training.natural_gradient.NaturalGradient", rate="factor", takes_lengths=True, takes_words=True
    ),
}
DEFAULT = "adamw"


def optimizer_name(name: str) -> str:
    """The name as it stands in `OPTIMIZERS`, whatever its case; that of any other class as it is."""
    return name.lower() if name.lower() in OPTIMIZERS else name


def optimizer_row(name: str) -> OptimizerRow:
    """The row of a name, or one made for the path of a class."""
    return OPTIMIZERS.get(name.lower(), OptimizerRow(name, package=name.partition(".")[0]))
