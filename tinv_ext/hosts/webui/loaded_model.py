"""What is said of the program's loaded model: what it is called, that there is none, that it is another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tinv_ext.core import families
from tinv_ext.core.errors import HostError, NotNowError
from tinv_ext.core.messages import Message, message

Identity = Mapping[str, str | None]
"""What makes a model the one that a run was begun on: `model_name`, `model_hash`, `vae` and `clip_skip`."""


def description(identity: Identity) -> Message:
    """As a sentence names the model."""
    if identity["vae"]:
        return message(
            "hosts.model_with_vae", "{model_name} [{model_hash}] with VAE {vae} at clip skip {clip_skip}", **identity
        )
    return message("hosts.model", "{model_name} [{model_hash}] at clip skip {clip_skip}", **identity)


def none_loaded() -> HostError:
    """The error where the program has no model."""
    return HostError(
        message(
            "hosts.no_model_loaded",
            "No checkpoint is loaded. Choose one at the top of the page and wait until it is loaded.",
        )
    )


def cannot_be_trained(model_type: Message) -> HostError:
    """The error where the loaded model is of a type that is not trained."""
    return HostError(
        message(
            "hosts.model_cannot_be_trained",
            "The loaded model is {type}, which cannot be trained. {remedy}",
            type=model_type,
            remedy=families.supported(),
        )
    )


def another_loaded(wanted: Identity, loaded: Identity, is_back: Callable[[], bool]) -> NotNowError:
    """The error where a run finds another model than its own; `is_back` tells whether its own is there again."""
    return NotNowError(
        message(
            "hosts.another_model_loaded",
            "This run needs {wanted}, but the WebUI now has {loaded}. Switch back, and the run goes on.",
            wanted=description(wanted),
            loaded=description(loaded),
        ),
        is_back,
    )


def device_name() -> str:
    """Where the program computes, as torch names it. modules/devices.py: `device`, in all of them a torch.device."""
    from modules import devices

    return str(getattr(devices, "device", "cuda"))
