"""What the options of other programs are called here: a table for each program, from which aliases and docs come."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.settings.peers.diffusers import DIFFUSERS, DREAMBOOTH
from tinv_ext.core.settings.peers.dreamartist import DREAMARTIST
from tinv_ext.core.settings.peers.kohya import KOHYA
from tinv_ext.core.settings.peers.kohya_gui import KOHYA_GUI
from tinv_ext.core.settings.peers.onetrainer import ONETRAINER
from tinv_ext.core.settings.peers.option import Option
from tinv_ext.core.settings.peers.webui import TRAIN, WEBUI

PEERS: Mapping[str, Mapping[str, Option]] = {
    "kohya-ss/sd-scripts": KOHYA,
    "kohya's GUI": KOHYA_GUI,
    "diffusers": DIFFUSERS,
    "diffusers' DreamBooth (images of the class)": DREAMBOOTH,
    "the WebUI": WEBUI,
    "OneTrainer": ONETRAINER,
    "DreamArtist": DREAMARTIST,
}
"""Every table, by program."""
OPTIONS: Mapping[str, Option] = {
    **TRAIN,
    **DREAMBOOTH,
    **DIFFUSERS,
    **KOHYA,
    "overwrite_old": WEBUI["overwrite_old"],
}
"""The options that are taken by name, whatever program somebody knows them from. No name has two meanings."""

__all__ = ["OPTIONS", "PEERS", "Option"]
