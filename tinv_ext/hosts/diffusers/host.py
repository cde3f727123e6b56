"""The offline host: a diffusers pipeline of SD1, SD2 or SDXL, for the command line, the tests, and as the reference.

Works with diffusers 0.30.3 / transformers 4.30.2 and with those of today.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from PIL import Image

from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.families import FAMILIES, VAE_FACTOR
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.messages import message
from tinv_ext.core.model import Model, Words
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.prompts.unsupported import unsupported
from tinv_ext.core.training.forward import encode_prompts
from tinv_ext.hosts.base import ModelFiles
from tinv_ext.hosts.cuda_graphs import Graphs, graphs_of
from tinv_ext.hosts.diffusers.embeddings import UsableEmbeddings, usable_embeddings
from tinv_ext.hosts.diffusers.model import PipelineModel
from tinv_ext.hosts.diffusers.pipelines import (
    SAMPLERS,
    family_of,
    generate,
    parts_of,
    prediction_of,
    texts_of,
    token_table_of,
    without_empty,
)
from tinv_ext.hosts.diffusers.placing import device_of, place
from tinv_ext.hosts.dtypes import dtype_name
from tinv_ext.hosts.freezing import frozen


class DiffusersHost:
    """A pipeline as `hosts.base.Host`; embeddings lie in `embeddings_folder`.

    With `cuda_graphs`, training on CUDA calls UNet and text encoders through recorded graphs (`hosts/cuda_graphs.py`).
    `precision_notes` say why it computes in the precision that the pipeline is in; `keep_precision` is called when
    training begins.
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        embeddings_folder: Path,
        facts: Mapping[str, str | None],
        cuda_graphs: bool = True,
        precision_notes: Sequence[str] = (),
        keep_precision: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipeline = pipeline
        self._keep_precision = keep_precision
        self._precision_notes = precision_notes
        self._cuda_graphs = cuda_graphs
        self.embeddings_folder = embeddings_folder
        self.facts = {"family": family_of(pipeline), **facts}
        self.token_table = token_table_of(pipeline)
        self._embeddings = UsableEmbeddings()
        self._lent: Words = {}
        self._graphs: Graphs | None = None  # of the training at work
        self._clip_skip = self.clip_skip  # of the training at work, where there is one
        self.refresh_embeddings()

    @classmethod
    def placed(
        cls,
        pipeline: DiffusionPipeline,
        embeddings_folder: Path,
        facts: Mapping[str, str | None],
        device: str = "auto",
        precision: str = "auto",
        cuda_graphs: bool = True,
    ) -> DiffusersHost:
        """The pipeline on a device, `placing.device_of` it, in a precision.

        "auto" takes what is usually best there without a test (`auto_precision` tests it): fp16 on CUDA, else fp32.
        """
        on = device_of(device)
        best = "fp16" if on.type == "cuda" else "fp32"
        fits = place(pipeline, on, best if precision == "auto" else precision)
        return cls(pipeline, embeddings_folder, facts, cuda_graphs and fits)

    @property
    def native_size(self) -> int:
        """Width and height in pixels that the model was made for."""
        return int(self._pipeline.unet.config.sample_size) * VAE_FACTOR

    @property
    def prediction(self) -> str:
        return prediction_of(self._pipeline)

    @property
    def clip_skip(self) -> int:
        return 1

    @property
    def clip_skip_counts(self) -> bool:
        return FAMILIES[str(self.facts["family"])].clip_skip

    def refresh_embeddings(self, written: Collection[str] = ()) -> None:
        """Read the folder again. What is no embedding or does not fit the model is left out: see `model_notes`."""
        self._embeddings = usable_embeddings(self.embeddings_folder, self.token_table)

    @property
    def samplers(self) -> Sequence[str]:
        return list(SAMPLERS)

    @property
    def schedulers(self) -> Sequence[str]:
        return []

    @property
    def model_files(self) -> ModelFiles:
        source, vae = self.facts.get("source"), self.facts.get("vae_source")
        if not source:
            raise HostError(message("hosts.no_model_file", "It is not known which file the model was loaded from."))
        return ModelFiles(source, Path(vae) if vae else None, str(self._pipeline.device))

    @property
    def model_notes(self) -> Sequence[str]:
        unet, vae = self._pipeline.unet, self._pipeline.vae
        slow = [
            message(
                "hosts.half_precision_on_cpu",
                "Half precision is slow and inexact on a CPU. Use --precision fp32 (or auto).",
            )
        ]
        spread = [
            message(
                "hosts.weights_in_main_memory",
                "The model is larger than the GPU's free memory: most weights stay in the machine's own, which is much "
                "slower. Close other programs that use the GPU, or use --precision fp16.",
            )
        ]
        return [
            message(
                "hosts.loaded_pipeline",
                "Model: {model} ({family}) on {device}, UNet in {unet_dtype}, VAE in {vae_dtype}.",
                model=self.facts.get("model_name"),
                family=self.facts["family"],
                device=str(unet.device),
                unet_dtype=dtype_name(unet.dtype),
                vae_dtype=dtype_name(vae.dtype),
            ),
            *self._precision_notes,
            *self.embedding_notes,
            *(spread if len({weight.device.type for weight in unet.parameters()}) > 1 else ()),
            *(slow if unet.device.type == "cpu" and unet.dtype != torch.float32 and not self._precision_notes else ()),
        ]

    @property
    def embedding_notes(self) -> Sequence[str]:
        """Which files of the embeddings folder are left out."""
        return self._embeddings.notes(self.embeddings_folder)

    def known_words(self) -> Sequence[Word]:
        return [self._word(name, count_vectors(vectors)) for name, vectors in self._known_vectors().items()]

    def _word(self, name: str, count: int) -> Word:
        return Word(name, tuple(self.token_table.tokenizer.ids(name)), count)

    def _known_vectors(self) -> Words:
        return {**self._lent, **{name: item.vectors for name, item in self._embeddings.words.items()}}

    def lend_words(self, words: Words) -> None:
        widths = dict(self.token_table.widths)
        fits = {name for name, given in words.items() if {key: one.shape[1] for key, one in given.items()} == widths}
        self._lent = {name: vectors for name, vectors in words.items() if name in fits}

    def lent_words(self) -> Collection[str]:
        return [name for name in self._lent if name not in self._embeddings.words]

    def wanted(self) -> bool:
        return False

    def let_others_in(self) -> None:
        return None

    def validate_file(self, file: Path) -> None:
        return None

    def interrupted(self) -> bool:
        return False

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        """All weights frozen and in evaluation mode; restored on any exit."""
        self._keep_precision()
        with frozen(*parts_of(self._pipeline)), ExitStack() as undo:
            parts = (self._pipeline.unet, *texts_of(self._pipeline))
            self._graphs = graphs_of(self._pipeline.unet.device, parts, undo, self._cuda_graphs)
            undo.callback(setattr, self, "_graphs", None)
            undo.callback(setattr, self, "_clip_skip", self.clip_skip)
            self._clip_skip = clip_skip
            known = self._known_vectors()
            yield PipelineModel(self._pipeline, self.token_table, clip_skip, known, undo, self._graphs)

    def generate(self, request: ImageRequest, words: Words, clip_skip: int = 0) -> Image.Image:
        return self.generate_many([request], words, clip_skip)[0]

    def generate_many(self, requests: Sequence[ImageRequest], words: Words, clip_skip: int = 0) -> list[Image.Image]:
        """One image per request by the pipeline itself, prompts encoded as in training (any length, emphasis).

        The requests differ in prompts and seed only; each image is what it would be alone, except for rounding. Without
        a `clip_skip` they have that of the training at work.
        """
        problems = [
            problem for one in requests for text in (one.prompt, one.negative_prompt) for problem in unsupported(text)
        ]
        if problems:
            raise InputError(dict.fromkeys(problems))
        if self._graphs:
            self._graphs.clear()  # their memory is wanted for the images
        known = {**self._known_vectors(), **words}
        vocabulary = tuple(self._word(name, count_vectors(vectors)) for name, vectors in known.items())
        reader = PromptReader(self.token_table.tokenizer, vocabulary, emphasis=True)
        model = PipelineModel(self._pipeline, self.token_table, clip_skip or self._clip_skip, known)
        texts = [request.negative_prompt for request in requests] + [request.prompt for request in requests]
        size_conds = [uncropped(request.width, request.height) for request in requests] * 2
        with torch.no_grad():
            condition = encode_prompts(model, [reader.read(text) for text in texts], {}, size_conds)
        return generate(self._pipeline, requests, without_empty(condition, texts))
