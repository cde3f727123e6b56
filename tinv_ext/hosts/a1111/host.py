"""The WebUI as `hosts.base.Host`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modules import safe, sd_vae, shared
from PIL import Image

from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.errors import HostError
from tinv_ext.core.families import VAE_FACTOR
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.messages import message
from tinv_ext.core.model import Model, Words
from tinv_ext.core.prompts.reader import Word
from tinv_ext.hosts.a1111 import embedding_db
from tinv_ext.hosts.a1111.encoders import token_table
from tinv_ext.hosts.a1111.model_type import family_of, loaded_model
from tinv_ext.hosts.a1111.variant import Session, Variant
from tinv_ext.hosts.base import ModelFiles
from tinv_ext.hosts.dtypes import dtype_name
from tinv_ext.hosts.prompt_vectors import ClipTokenTable
from tinv_ext.hosts.webui.embeddings_folder import embeddings_folder, refresh
from tinv_ext.hosts.webui.interrupt import Interrupt
from tinv_ext.hosts.webui.loaded_model import another_loaded, description, device_name
from tinv_ext.hosts.webui.queue_lock import holding_queue, others_waiting
from tinv_ext.hosts.webui.samplers import samplers, schedulers
from tinv_ext.hosts.webui.txt2img import forget_prompts, generate


class A1111Host:
    """The model that the WebUI has loaded now. While another one is loaded, this host does not train.

    It takes the WebUI's queue by itself, in `training` and wherever else it needs it: call it without holding it.
    `variant` is what the WebUI's models are made of.
    """

    def __init__(self, variant: Variant) -> None:
        sd_model = loaded_model()
        self._variant = variant
        self._family = family_of(sd_model)
        self._identity = _identity(sd_model)
        self._session: Session | None = None
        self._clip_skip = self.clip_skip  # of the session, where there is one
        self._interrupt = Interrupt()

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
        if (
            family.native_size_v and self._variant.prediction(sd_model) == "v_prediction"
        ):  # the config has the size of the others
            return family.native_size_v
        return int(sd_model.image_size) * VAE_FACTOR  # ldm/models/diffusion/ddpm.py: the latent's size

    @property
    def prediction(self) -> str:
        return self._variant.prediction(self._model())

    @property
    def clip_skip(self) -> int:
        return int(self._identity["clip_skip"] or 1)

    @property
    def clip_skip_counts(self) -> bool:
        return True  # in SDXL, too

    @property
    def embeddings_folder(self) -> Path:
        """The folder of embeddings that prompts can use (--embeddings-dir)."""
        return embeddings_folder()

    @property
    def samplers(self) -> Sequence[str]:
        return samplers()

    @property
    def schedulers(self) -> Sequence[str]:
        return schedulers()

    @property
    def model_files(self) -> ModelFiles:
        """v1.10.1 modules/sd_vae.py: `loaded_vae_file` is None where the checkpoint's own VAE is in use."""
        vae = getattr(sd_vae, "loaded_vae_file", None)
        file = self._model().sd_checkpoint_info.filename
        return ModelFiles(str(file), Path(vae) if vae else None, device_name())

    @property
    def model_notes(self) -> Sequence[str]:
        sd_model = self._model()
        unet_dtype, vae_dtype = self._variant.dtypes(sd_model)
        notes = [
            message(
                "hosts.loaded_model",
                "Model: {model} ({family}), UNet in {unet_dtype}, VAE in {vae_dtype}, cross-attention: {attention}.",
                model=description(self._identity),
                family=self._family.name,
                unet_dtype=dtype_name(unet_dtype),
                vae_dtype=dtype_name(vae_dtype),
                attention=self._variant.attention_name(),
            ),
            *self._variant.lora_notes(sd_model),
        ]
        if getattr(sd_model, "lowvram", False):
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
        with holding_queue(), self._interrupt.watched():
            known = embedding_db.known_vectors()
            with self._variant.session(self._model(), clip_skip, known) as session:
                self._session, self._clip_skip = session, clip_skip
                try:
                    yield session.model
                finally:
                    self._session = None

    def generate(self, request: ImageRequest, words: Words, clip_skip: int = 0) -> Image.Image:
        """One image by txt2img. Without a `clip_skip` it has the run's during training, otherwise the WebUI's."""
        if self._session is None:
            with holding_queue():
                return self._txt2img(request, words, _layers(clip_skip))
        self._session.before_image()
        try:
            return self._txt2img(request, words, _layers(clip_skip or self._clip_skip))
        finally:
            self._session.after_image()

    def _txt2img(self, request: ImageRequest, words: Words, settings: Mapping[str, Any]) -> Image.Image:
        sd_model = self._model()
        # The user may have chosen another checkpoint, which waits for the queue: a generation would load it now.
        own_checkpoint = {"sd_model_checkpoint": sd_model.sd_checkpoint_info.title}
        with self._variant.restored_after_image(sd_model), embedding_db.registered(words, sd_model):
            return generate(request, {**own_checkpoint, **settings}, self._variant.image_scripts())

    def wanted(self) -> bool:
        """Whether somebody waits for the WebUI's queue."""
        return others_waiting()

    def let_others_in(self) -> None:
        """Nothing is left to do: on leaving `training`, everybody who waited went first."""

    def interrupted(self) -> bool:
        """Whether the WebUI's Interrupt was pressed while nobody else's request ran or waited."""
        return self._interrupt.taken()

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

    def lend_words(self, words: Words) -> None:
        with holding_queue():
            embedding_db.lend(words, self._model())
            forget_prompts()

    def lent_words(self) -> Collection[str]:
        return embedding_db.lent()

    def refresh_embeddings(self, written: Collection[str] = ()) -> None:
        """Have the WebUI read its folder again and forget encoded prompts. HostError if it rejects one of `written`."""
        refresh(embedding_db.reload, written)

    def _model(self) -> Any:
        """The loaded model, as long as it is the one that this host was made for."""
        sd_model = loaded_model()
        now = _identity(sd_model)
        if now != self._identity:
            raise another_loaded(self._identity, now, self._is_back)
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


def _layers(clip_skip: int) -> dict[str, Any]:
    """The setting of the WebUI that takes the place of its own for an image; 0 leaves it as it is."""
    return {"CLIP_stop_at_last_layers": clip_skip} if clip_skip else {}
