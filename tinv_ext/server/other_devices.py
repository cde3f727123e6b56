"""The devices beside the one that the program's own model is on, and what a run that trains there is checked by."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.hosts.base import Host
from tinv_ext.hosts.offline_samplers import OFFLINE_SAMPLERS
from tinv_ext.scheduler.devices import Device
from tinv_ext.scheduler.steered_run import Order
from tinv_ext.server.queued_run import RunRequest


def beside(own: str, devices: Sequence[Device]) -> list[Device]:
    """Those that are not `own`, the device of the program's model; "cuda" is the first."""
    own = "cuda:0" if own == "cuda" else own
    return [device for device in devices if device.name != own]


def chosen(name: str, host: Host, all_devices: Callable[[], Sequence[Device]]) -> Device:
    """The device of this name. `InputError` where it is none of those beside the model's own, or cannot be used."""
    devices = beside(host.model_files.device, all_devices())
    found = next((device for device in devices if device.name == name), None)
    if found is None:
        raise InputError(
            message(
                "server.no_other_device",
                'There is no other device "{device}" to train on here. There are: {there:, }.',
                device=name,
                there=[device.name for device in devices] or ["-"],
            )
        )
    if importlib.util.find_spec("diffusers") is None:
        raise InputError(
            message(
                "server.no_diffusers",
                "To train on another device than the program's own, its Python needs the package diffusers, which it "
                "does not have. Install it there, or train on the program's own device.",
            )
        )
    return found


class Elsewhere:
    """The host of a run that trains in another process: all is as in this one but how images are generated."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.samplers: Sequence[str] = list(OFFLINE_SAMPLERS)
        self.schedulers: Sequence[str] = []

    def __getattr__(self, name: str) -> Any:
        """Anything else."""
        return getattr(self._host, name)


def elsewhere(host: Host) -> Host:
    """See `Elsewhere`."""
    return cast(Host, Elsewhere(host))


def ordered(request: RunRequest, device: Device | None) -> RunRequest:
    """The same, to be carried out on another device if there is one."""
    if device is None:
        return request
    host = request.host
    order = Order(request.prepared, request.resumes, host.model_files, host.embeddings_folder, device.slot)
    return replace(request, order=order)
