"""The WebUI as `hosts.base.Host`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import devices, processing, safe, sd_hijack, sd_vae, shared
from PIL import Image

from tinv_ext.core.errors import HostError, NotNowError
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Model, Vectors, Words
from tinv_ext.core.prompts.reader import Word
from tinv_ext.core.suffixes import RUN_SUFFIXES
from tinv_ext.hosts.a1111.devices import OnDemand
from tinv_ext.hosts.a1111.encoders import token_table
from tinv_ext.hosts.a1111.model import WebuiModel
from tinv_ext.hosts.a1111.model_type import family, loaded_model
from tinv_ext.hosts.a1111.patches import active_loras
from tinv_ext.hosts.a1111.session import session
from tinv_ext.hosts.prompt_vectors import ClipTokenTable, count
from tinv_ext.hosts.webui.interrupt import Interrupt
from tinv_ext.hosts.webui.queue_lock import holding_queue, others_waiting
from tinv_ext.hosts.webui.samplers import samplers, schedulers
from tinv_ext.hosts.webui.txt2img import generate

_SDXL_SIZE = 1024  # its config does not say
_SD2_V_SIZE = 768  # all of SD2 that predict velocity; their config has the size of the others


@dataclass(frozen=True)
class _Inside:
    """What a picture drawn in the midst of training needs of it."""

    clip_skip: int
    vae: OnDemand


class A1111Host:
    """The model that the WebUI has loaded now. It keeps to that one: while another is loaded, there is no training.

    It takes the WebUI's queue by itself, in `training` and wherever else it needs it: call it without holding it.
    """

    def __init__(self) -> None:
        sd_model = loaded_model()
        self._family = family(sd_model)
        self._identity = _identity(sd_model)
        self._inside: _Inside | None = None
        self._interrupt = Interrupt()
        self._files = self._written()

    @property
    def token_table(self) -> ClipTokenTable:
        return token_table(self._model())

    @property
    def facts(self) -> Mapping[str, str | None]:
        """What was loaded and set when the host was made."""
        return {**self._identity, "family": self._family}

    @property
    def native_size(self) -> int:
        """Width and height in pixels that the model was made for."""
        sd_model = self._model()
        if self._family == "SDXL":
            return _SDXL_SIZE
        if self._family == "SD2" and sd_model.parameterization == "v":
            return _SD2_V_SIZE
        return int(sd_model.image_size) * 8  # ldm/models/diffusion/ddpm.py: latents have an eighth of the size

    @property
    def clip_skip(self) -> int:
        return int(self._identity["clip_skip"] or 1)

    @property
    def embeddings_folder(self) -> Path:
        """Where embeddings lie that prompts can use (--embeddings-dir)."""
        return Path(shared.cmd_opts.embeddings_dir)

    @property
    def samplers(self) -> Sequence[str]:
        return samplers()

    @property
    def schedulers(self) -> Sequence[str]:
        return schedulers()

    @property
    def model_notes(self) -> Sequence[str]:
        attention = getattr(sd_hijack.current_optimizer, "name", None) or "plain"
        said = [
            f"The model is {_said(self._identity)} ({self._family}), its UNet in {_kind(devices.dtype_unet)}, its VAE "
            f"in {_kind(devices.dtype_vae)}; attention {attention}."
        ]
        loras = active_loras()
        if loras:
            said.append(f"LoRA {', '.join(loras)} is in the model from the last picture; it is taken out for the run.")
        if getattr(self._model(), "lowvram", False):
            said.append("--medvram or --lowvram is suspended for the run: UNet and text encoder stay on the device.")
        return said

    def known_words(self) -> Sequence[Word]:
        tokenizer = self.token_table.tokenizer
        return [Word(name, tuple(tokenizer.ids(name)), count(vectors)) for name, vectors in _known().items()]

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        """The loaded model frozen and ready, the queue held. On any exit all is put back and who waited let in."""
        with holding_queue():
            sd_model = self._model()
            with session(sd_model) as vae, self._interrupt.watched(), ExitStack() as undo:
                self._inside = _Inside(clip_skip, vae)
                try:
                    yield WebuiModel(sd_model, token_table(sd_model), clip_skip, _known(), vae, undo)
                finally:
                    self._inside = None

    def generate(self, request: ImageRequest, words: Words) -> Image.Image:
        """One picture by txt2img. During training it has the run's clip skip, else the one that is set."""
        if self._inside is None:
            with holding_queue():
                return generate(self._model(), request, words, None)
        self._inside.vae.bring()  # the next training step sends it away again
        return generate(self._model(), request, words, self._inside.clip_skip)

    def wanted(self) -> bool:
        """Whether somebody waits for the WebUI's queue."""
        return others_waiting()

    def let_others_in(self) -> None:
        """Nothing is left to do: leaving `training` has let those through who waited."""

    def interrupted(self) -> bool:
        """Whether the WebUI's Interrupt was pressed while nobody else's request ran or waited."""
        return self._interrupt.pressed

    def validate_file(self, file: Path) -> None:
        """The WebUI's own safe unpickler looks at a file that is no safetensors, as it will when it loads it.

        v1.10.1 modules/safe.py, check_pt: raises whatever it stumbles over, and ends well for a file that is good.
        """
        if file.read_bytes()[8:9] == b"{":  # safetensors: the length of the header, then JSON
            return
        try:
            safe.check_pt(str(file), None)
        except Exception as error:
            raise HostError(f"The WebUI's safe unpickler would refuse the embedding ({error}).") from error

    def refresh_embeddings(self) -> None:
        """Have the WebUI read its folder again, and forget what it encoded. `HostError` if it refuses a new file."""
        with holding_queue():
            # v1.10.1 modules/textual_inversion/textual_inversion.py: unforced, it overlooks an overwritten file
            database = sd_hijack.model_hijack.embedding_db
            database.load_textual_inversion_embeddings(force_reload=True)
            # modules/processing.py keeps the last prompts' conditions by text alone: they hold the word as it was
            processing.StableDiffusionProcessing.cached_c = [None, None]
            processing.StableDiffusionProcessing.cached_uc = [None, None]
            processing.StableDiffusionProcessingTxt2Img.cached_hr_c = [None, None]
            processing.StableDiffusionProcessingTxt2Img.cached_hr_uc = [None, None]
        before, self._files = self._files, self._written()
        new = [path.stem for path, when in self._files.items() if before.get(path) != when]
        refused = [name for name in new if name not in database.word_embeddings]
        if refused:
            raise HostError(
                f"The WebUI does not take the embedding {', '.join(refused)}: see its console. The file lies in "
                f'"{self.embeddings_folder}" nevertheless.'
            )

    def _written(self) -> dict[Path, int]:
        files = (path for suffix in RUN_SUFFIXES for path in self.embeddings_folder.glob(f"*{suffix}"))
        return {path: path.stat().st_mtime_ns for path in files}

    def _model(self) -> Any:
        """The loaded model, as long as it is the one that this host was made for."""
        sd_model = loaded_model()
        now = _identity(sd_model)
        if now != self._identity:
            raise NotNowError(
                f"The run belongs to {_said(self._identity)}, but the WebUI has {_said(now)} now. Set it as it was and "
                "press Resume."
            )
        return sd_model


def _identity(sd_model: Any) -> dict[str, str | None]:
    """v1.10.1 modules/sd_models.py, CheckpointInfo; modules/sd_vae.py."""
    info = sd_model.sd_checkpoint_info
    clip_skip = str(shared.opts.CLIP_stop_at_last_layers)
    loaded = {"model_name": info.model_name, "model_hash": info.shorthash, "vae": sd_vae.get_loaded_vae_name()}
    return {**loaded, "clip_skip": clip_skip}


def _said(identity: Mapping[str, str | None]) -> str:
    vae = f" with the VAE {identity['vae']}" if identity["vae"] else ""
    return f"{identity['model_name']} [{identity['model_hash']}]{vae} at clip skip {identity['clip_skip']}"


def _known() -> dict[str, Vectors]:
    """The vectors of the embeddings that fit the loaded model, by name and encoder.

    v1.10.1 modules/textual_inversion/textual_inversion.py: `vec` is a tensor, for SDXL a dict of two.
    """
    found = sd_hijack.model_hijack.embedding_db.word_embeddings
    return {name: item.vec if isinstance(item.vec, dict) else {"": item.vec} for name, item in found.items()}


def _kind(kind: Any) -> str:
    return str(kind).removeprefix("torch.")
