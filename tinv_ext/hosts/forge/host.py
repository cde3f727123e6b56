"""Forge or Forge Neo as `hosts.base.Host`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import processing, sd_models, shared
from PIL import Image

from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.errors import HostError
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.messages import message
from tinv_ext.core.model import Model, Words
from tinv_ext.core.prompts.reader import Word
from tinv_ext.hosts.base import ModelFiles
from tinv_ext.hosts.dtypes import dtype_name
from tinv_ext.hosts.forge import embeddings
from tinv_ext.hosts.forge.encoders import token_table
from tinv_ext.hosts.forge.model import backend, forge_model, ready
from tinv_ext.hosts.forge.model_type import (
    chosen_parameters,
    family_of,
    load_chosen,
    loaded_model,
    loaded_parameters,
    refuse_quantized,
)
from tinv_ext.hosts.patchers.patches import attention_name, lora_notes
from tinv_ext.hosts.patchers.session import ModelParts
from tinv_ext.hosts.prompt_vectors import ClipTokenTable
from tinv_ext.hosts.webui.embeddings_folder import embeddings_folder, refresh
from tinv_ext.hosts.webui.interrupt import Interrupt
from tinv_ext.hosts.webui.loaded_model import another_loaded, description, device_name
from tinv_ext.hosts.webui.queue_lock import holding_queue, others_waiting
from tinv_ext.hosts.webui.samplers import samplers, schedulers
from tinv_ext.hosts.webui.txt2img import forget_prompts, generate


@dataclass(frozen=True)
class _Training:
    """What a preview in the middle of training needs of it."""

    clip_skip: int
    parts: ModelParts


class ForgeHost:
    """The model that is chosen now, loaded if need be. While another one is loaded, this host does not train.

    It takes the program's queue by itself, in `training` and wherever else it needs it: call it without holding it.
    """

    def __init__(self) -> None:
        if loaded_parameters() != chosen_parameters():
            with holding_queue():
                load_chosen()
        engine = loaded_model()
        self._family = family_of(engine)
        refuse_quantized(engine)
        self._parameters = sd_models.model_data.forge_loading_parameters
        self._identity = _identity(engine, self._parameters)
        self._training: _Training | None = None
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
        family = self._family
        if family.native_size_v and self.prediction == "v_prediction":
            return family.native_size_v
        return family.native_size

    @property
    def prediction(self) -> str:
        return str(self._model().forge_objects_original.unet.model.predictor.prediction_type)

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
        """modules_forge/main_entry.py: more files than one belong to models that are given in parts."""
        files = list(self._parameters.get("additional_modules") or ())
        if len(files) > 1:
            raise HostError(
                message(
                    "hosts.model_in_parts",
                    "The model is loaded in parts ({files:, }), not from its checkpoint and at most a VAE.",
                    files=[Path(file).name for file in files],
                )
            )
        vae = Path(files[0]) if files else None
        return ModelFiles(str(self._model().sd_checkpoint_info.filename), vae, device_name())

    @property
    def model_notes(self) -> Sequence[str]:
        engine = self._model()
        objects = engine.forge_objects_original
        return [
            message(
                "hosts.loaded_model",
                "Model: {model} ({family}), UNet in {unet_dtype}, VAE in {vae_dtype}, cross-attention: {attention}.",
                model=description(self._identity),
                family=self._family.name,
                unet_dtype=dtype_name(objects.unet.model.computation_dtype),
                vae_dtype=dtype_name(objects.vae.vae_dtype),
                attention=attention_name(backend()),
            ),
            *lora_notes(engine),
        ]

    def known_words(self) -> Sequence[Word]:
        tokenizer = self.token_table.tokenizer
        known = embeddings.known_vectors(self._model())
        return [Word(name, tuple(tokenizer.ids(name)), count_vectors(vectors)) for name, vectors in known.items()]

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        """The loaded model frozen and ready, the queue held. Any exit restores everything and lets others in."""
        with holding_queue(), self._interrupt.watched():
            if loaded_parameters() != str(self._parameters) == chosen_parameters():
                load_chosen()  # it was chosen again, but no image has loaded it yet
            engine = self._model()
            with ready(engine) as parts, ExitStack() as undo:
                self._training = _Training(clip_skip, parts)
                try:
                    yield forge_model(engine, parts, clip_skip, embeddings.known_vectors(engine), undo)
                finally:
                    self._training = None

    def generate(self, request: ImageRequest, words: Words, clip_skip: int = 0) -> Image.Image:
        """One image by txt2img. Without a `clip_skip` it has the run's during training, otherwise the program's."""
        if self._training is None:
            with holding_queue():
                return self._txt2img(request, words, _layers(clip_skip))
        self._training.parts.make_room()
        try:
            return self._txt2img(request, words, _layers(clip_skip or self._training.clip_skip))
        finally:
            self._training.parts.forget()

    def _txt2img(self, request: ImageRequest, words: Words, settings: Mapping[str, Any]) -> Image.Image:
        engine = self._model()
        with _staying_loaded(self._parameters), embeddings.registered(words, engine):
            return generate(request, settings)

    def wanted(self) -> bool:
        """Whether somebody waits for the program's queue."""
        return others_waiting()

    def let_others_in(self) -> None:
        """Nothing is left to do: on leaving `training`, everybody who waited went first."""

    def interrupted(self) -> bool:
        """Whether the program's Interrupt was pressed while nobody else's request ran or waited."""
        return self._interrupt.taken()

    def validate_file(self, file: Path) -> None:
        """Forge has no check of its own for pickle files; the file was read back before this is asked."""

    def lend_words(self, words: Words) -> None:
        with holding_queue():
            embeddings.lend(words, self._model())
            forget_prompts()

    def lent_words(self) -> Collection[str]:
        return embeddings.lent(self._model())

    def refresh_embeddings(self, written: Collection[str] = ()) -> None:
        """Have prompts read the folder again and forget encoded prompts. HostError if one of `written` is rejected."""
        refresh(lambda: embeddings.reload(self._model()), written)

    def _model(self) -> Any:
        """The loaded model, as long as it is the one that this host was made for."""
        engine = loaded_model()
        if not self._is_loaded():
            loaded = _identity(engine, sd_models.model_data.forge_loading_parameters)
            raise another_loaded(self._identity, loaded, self._is_back)
        return engine

    def _is_loaded(self) -> bool:
        clip_skip = str(shared.opts.CLIP_stop_at_last_layers)
        return self._training is not None or (
            loaded_parameters() == str(self._parameters) and clip_skip == self._identity["clip_skip"]
        )

    def _is_back(self) -> bool:
        """Whether the model that this host was made for is loaded again, or chosen, so that it can be."""
        clip_skip = str(shared.opts.CLIP_stop_at_last_layers)
        known = str(self._parameters) in (loaded_parameters(), chosen_parameters())
        return known and clip_skip == self._identity["clip_skip"]


@contextmanager
def _staying_loaded(parameters: Any) -> Iterator[None]:
    """What the user has chosen meanwhile waits for the user's own next image: this one is made with what is loaded.

    modules/processing.py, manage_model_and_prompt_cache; `need_global_unload` comes with a choice.
    """
    data = sd_models.model_data
    chosen, unload = data.forge_loading_parameters, getattr(processing, "need_global_unload", False)
    try:
        data.forge_loading_parameters = parameters
        processing.need_global_unload = False
        yield
    finally:
        if data.forge_loading_parameters is parameters:  # else something else was chosen while the image was made
            data.forge_loading_parameters = chosen
        processing.need_global_unload = unload or processing.need_global_unload


def _identity(engine: Any, parameters: Mapping[str, Any]) -> dict[str, str | None]:
    """modules_forge/main_entry.py, refresh_model_loading_parameters: VAE and text encoder files are "modules"."""
    info = engine.sd_checkpoint_info
    files = [Path(file).stem for file in parameters.get("additional_modules") or ()]
    return {
        "model_name": info.model_name or Path(info.filename).stem,  # Neo: none where --ckpt names a listed file
        "model_hash": info.shorthash,
        "vae": ", ".join(files) or None,
        "clip_skip": str(shared.opts.CLIP_stop_at_last_layers),
    }


def _layers(clip_skip: int) -> dict[str, Any]:
    """The setting of the WebUI that takes the place of its own for an image; 0 leaves it as it is."""
    return {"CLIP_stop_at_last_layers": clip_skip} if clip_skip else {}
