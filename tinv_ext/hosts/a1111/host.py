"""The WebUI as `hosts.base.Host`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import devices, safe, sd_vae, shared
from PIL import Image

from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.errors import HostError, NotNowError
from tinv_ext.core.families import VAE_FACTOR
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import Model, Words
from tinv_ext.core.prompts.reader import Word
from tinv_ext.core.suffixes import RUN_SUFFIXES
from tinv_ext.hosts.a1111 import attention, embedding_db
from tinv_ext.hosts.a1111.devices import OffloadedModule
from tinv_ext.hosts.a1111.encoders import token_table
from tinv_ext.hosts.a1111.model import WebuiModel, prediction_of
from tinv_ext.hosts.a1111.model_type import family_of, loaded_model
from tinv_ext.hosts.a1111.patches import active_loras, tiling_restored
from tinv_ext.hosts.a1111.session import session
from tinv_ext.hosts.dtypes import dtype_name
from tinv_ext.hosts.prompt_vectors import ClipTokenTable
from tinv_ext.hosts.webui.interrupt import Interrupt
from tinv_ext.hosts.webui.queue_lock import holding_queue, others_waiting
from tinv_ext.hosts.webui.samplers import samplers, schedulers
from tinv_ext.hosts.webui.txt2img import forget_prompts, generate


@dataclass(frozen=True)
class _Training:
    """What a preview in the middle of training needs of it."""

    clip_skip: int
    vae: OffloadedModule


class A1111Host:
    """The model that the WebUI has loaded now. While another one is loaded, this host does not train.

    It takes the WebUI's queue by itself, in `training` and wherever else it needs it: call it without holding it.
    """

    def __init__(self) -> None:
        sd_model = loaded_model()
        self._family = family_of(sd_model)
        self._identity = _identity(sd_model)
        self._training: _Training | None = None
        self._interrupt = Interrupt()
        self._files = self._modification_times()

    @property
    def token_table(self) -> ClipTokenTable:
        return token_table(self._model())

    @property
    def facts(self) -> Mapping[str, str | None]:
        """What was loaded and set when the host was made."""
        return {**self._identity, "family": self._family.name}

    @property
    def native_size(self) -> int:
        """Width and height in pixels that the model was made for."""
        sd_model, family = self._model(), self._family
        if family.codebase == "sgm":  # whose config does not say
            return family.native_size
        if family.native_size_v and sd_model.parameterization == "v":  # the config has the size of the others
            return family.native_size_v
        return int(sd_model.image_size) * VAE_FACTOR  # ldm/models/diffusion/ddpm.py: the latent's size

    @property
    def prediction(self) -> str:
        return prediction_of(self._model())

    @property
    def clip_skip(self) -> int:
        return int(self._identity["clip_skip"] or 1)

    @property
    def embeddings_folder(self) -> Path:
        """The folder of embeddings that prompts can use (--embeddings-dir)."""
        return Path(shared.cmd_opts.embeddings_dir)

    @property
    def samplers(self) -> Sequence[str]:
        return samplers()

    @property
    def schedulers(self) -> Sequence[str]:
        return schedulers()

    @property
    def model_notes(self) -> Sequence[str]:
        notes = [
            message(
                "hosts.loaded_model",
                "Model: {model} ({family}), UNet in {unet_dtype}, VAE in {vae_dtype}, cross-attention: {attention}.",
                model=_description(self._identity),
                family=self._family.name,
                unet_dtype=dtype_name(devices.dtype_unet),
                vae_dtype=dtype_name(devices.dtype_vae),
                attention=attention.chosen(),
            )
        ]
        loras = active_loras()
        if loras:
            notes.append(
                message(
                    "hosts.loras_are_removed",
                    "The last image left LoRA {loras:, } in the model; the run removes it and puts it back afterwards.",
                    loras=loras,
                )
            )
        if getattr(self._model(), "lowvram", False):
            notes.append(
                message(
                    "hosts.lowvram_is_suspended",
                    "--medvram or --lowvram is suspended for the run: UNet and text encoder stay on the device.",
                )
            )
        return notes

    def known_words(self) -> Sequence[Word]:
        tokenizer = self.token_table.tokenizer
        known = embedding_db.known_vectors()
        return [Word(name, tuple(tokenizer.ids(name)), count_vectors(vectors)) for name, vectors in known.items()]

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        """The loaded model frozen and ready, the queue held. Any exit restores everything and lets others in."""
        with holding_queue():
            sd_model = self._model()
            with session(sd_model) as vae, self._interrupt.watched(), ExitStack() as undo:
                self._training = _Training(clip_skip, vae)
                try:
                    known = embedding_db.known_vectors()
                    yield WebuiModel(sd_model, token_table(sd_model), clip_skip, known, vae, undo)
                finally:
                    self._training = None

    def generate(self, request: ImageRequest, words: Words) -> Image.Image:
        """One image by txt2img. During training it has the run's clip skip, otherwise the WebUI's."""
        if self._training is None:
            with holding_queue():
                return self._txt2img(request, words, {})
        self._training.vae.load()  # the next training step offloads it again
        return self._txt2img(request, words, {"CLIP_stop_at_last_layers": self._training.clip_skip})

    def _txt2img(self, request: ImageRequest, words: Words, settings: Mapping[str, Any]) -> Image.Image:
        sd_model = self._model()
        # The user may have chosen another checkpoint, which waits for the queue: a generation would load it now.
        own_checkpoint = {"sd_model_checkpoint": sd_model.sd_checkpoint_info.title}
        with tiling_restored(), embedding_db.registered(words, sd_model):
            return generate(request, {**own_checkpoint, **settings})

    def wanted(self) -> bool:
        """Whether somebody waits for the WebUI's queue."""
        return others_waiting()

    def let_others_in(self) -> None:
        """Nothing is left to do: on leaving `training`, everybody who waited went first."""

    def interrupted(self) -> bool:
        """Whether the WebUI's Interrupt was pressed while nobody else's request ran or waited."""
        return self._interrupt.pressed

    def validate_file(self, file: Path) -> None:
        """Have the WebUI's own safe unpickler check a file that is not safetensors, as it will when it loads it.

        v1.10.1 modules/safe.py, check_pt: raises whatever error it meets, and returns for a good file.
        """
        if file.read_bytes()[8:9] == b"{":  # safetensors: the length of the header, then JSON
            return
        try:
            safe.check_pt(str(file), None)
        except Exception as error:
            raise HostError(
                message(
                    "hosts.file_fails_the_safety_check",
                    "The embedding would not pass the WebUI's safety check for pickle files ({reason}).",
                    reason=str(error),
                )
            ) from error

    def refresh_embeddings(self) -> None:
        """Have the WebUI read its folder again and forget encoded prompts. HostError if it rejects a new file."""
        with holding_queue():
            accepted = embedding_db.reload()
            forget_prompts()
        before, self._files = self._files, self._modification_times()
        new = [path.stem for path, modified in self._files.items() if before.get(path) != modified]
        rejected = [name for name in new if name not in accepted]
        if rejected:
            raise HostError(
                message(
                    "hosts.embedding_rejected",
                    "The WebUI could not load the embedding {names:, }; its console says why. The file is saved in "
                    '"{folder}".',
                    names=rejected,
                    folder=self.embeddings_folder,
                )
            )

    def _modification_times(self) -> dict[Path, int]:
        files = (path for suffix in RUN_SUFFIXES for path in self.embeddings_folder.glob(f"*{suffix}"))
        return {path: path.stat().st_mtime_ns for path in files}

    def _model(self) -> Any:
        """The loaded model, as long as it is the one that this host was made for."""
        sd_model = loaded_model()
        now = _identity(sd_model)
        if now != self._identity:
            raise NotNowError(
                message(
                    "hosts.another_model_loaded",
                    "This run needs {wanted}, but the WebUI now has {loaded}. Switch back, and the run goes on.",
                    wanted=_description(self._identity),
                    loaded=_description(now),
                ),
                self._is_back,
            )
        return sd_model

    def _is_back(self) -> bool:
        """Whether the model that this host was made for is loaded again."""
        sd_model = shared.sd_model  # which loads none where one has been loaded before
        return sd_model is not None and _identity(sd_model) == self._identity


def _identity(sd_model: Any) -> dict[str, str | None]:
    """v1.10.1 modules/sd_models.py, CheckpointInfo; modules/sd_vae.py."""
    info = sd_model.sd_checkpoint_info
    clip_skip = str(shared.opts.CLIP_stop_at_last_layers)
    loaded = {"model_name": info.model_name, "model_hash": info.shorthash, "vae": sd_vae.get_loaded_vae_name()}
    return {**loaded, "clip_skip": clip_skip}


def _description(identity: Mapping[str, str | None]) -> Message:
    if identity["vae"]:
        return message(
            "hosts.model_with_vae",
            "{model_name} [{model_hash}] with VAE {vae} at clip skip {clip_skip}",
            **identity,
        )
    return message(
        "hosts.model",
        "{model_name} [{model_hash}] at clip skip {clip_skip}",
        **identity,
    )
