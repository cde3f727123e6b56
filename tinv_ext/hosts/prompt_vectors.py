"""How a word's vectors get into a prompt: the token table returns them at the positions of the word.

Shared by all hosts, with the rest of encoding a prompt: CLIP's tokens, emphasis, several text encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.data.image_fit import SizeConditioning
from tinv_ext.core.embedding import count_vectors
from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import message
from tinv_ext.core.model import Tensors, Vectors, Words
from tinv_ext.core.prompts.inputs import PromptInputs, distinct, emphasis_weights, padded_ids, word_slots
from tinv_ext.core.prompts.reader import Prompt, Tokenizer, equal_chunks

Call = Callable[[str, Callable[..., Tensors], Tensors], Tensors]  # a part's name, the part, and what it is given
_ROUNDING = 1e-5  # a mean smaller than this in units of the mean size: in half precision rounding leaves about 2e-6


def called(name: str, part: Callable[..., Tensors], given: Tensors) -> Tensors:
    """The part called as it is; `hosts.cuda_graphs.Graphs.call` has another way."""
    return part(*given)


class ClipTokenizer:
    """CLIP's byte-pair encoding as `core.prompts.reader.Tokenizer`."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.start = int(tokenizer.bos_token_id)
        self.end = int(tokenizer.eos_token_id)
        self.comma = self.ids(",")[0]

    def ids(self, text: str) -> list[int]:
        """Ids of a text of any length, without start and end."""
        return list(self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])

    def spellings(self, ids: Sequence[int]) -> list[str]:
        """The tokens as CLIP writes them; `</w>` ends a word."""
        return [str(token) for token in self._tokenizer.convert_ids_to_tokens(list(ids))]


@dataclass(frozen=True)
class ClipTokenTable:
    """`core.model.TokenTable` of a model's token tables, by encoder."""

    tokenizer: Tokenizer
    tables: Mapping[str, torch.nn.Embedding]

    @property
    def widths(self) -> Mapping[str, int]:
        return {encoder: int(table.embedding_dim) for encoder, table in self.tables.items()}

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        rows = list(ids)
        return {
            encoder: table.weight.detach()[rows].to("cpu", torch.float32, copy=True)
            for encoder, table in self.tables.items()
        }


@dataclass(frozen=True)
class TextEncoder:
    """One of a model's text encoders: its key in vectors, its token table, the id of its padding, and its encoding.

    `encode` makes of ids (R, 77) the hidden states (R, 77, d) that the UNet is given and, where the UNet wants them,
    pooled ones (R, p). Padding is what follows the first end: CLIP-L's is the end itself, OpenCLIP's is 0.
    """

    key: str
    table: torch.nn.Embedding
    pad: int
    encode: Callable[[Tensor], tuple[Tensor, Tensor | None]]

    def encode_with(self, ids: Tensor, slots: Tensor, *vectors: Tensor) -> Tensors:
        """What `encode` gives of `ids`, without what is None, with vectors at their slots: see `inject_vectors`."""
        with inject_vectors(self.table, slots, vectors):
            output, pooled = self.encode(ids)
        return (output,) if pooled is None else (output, pooled)


@dataclass(frozen=True)
class Condition:
    """What the UNet is given: context (B, chunks·77, d); for SDXL also pooled (B, p) and `sizes` (B, 6) float32.

    The widths of several encoders are laid side by side; `sizes` are the numbers of the size conditioning.
    """

    context: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None


def assemble_prompts(
    prompts: Sequence[Prompt],
    words: Words,
    size_conds: Sequence[SizeConditioning],
    encoders: Sequence[TextEncoder],
    tokenizer: Tokenizer,
    known: Words,
) -> PromptInputs:
    """Prompts as tensors on the CPU, for `encode_prompts`. `words` are trained; `known` are the other embeddings."""
    rows, order = distinct([chunk for chunks in equal_chunks(prompts, tokenizer) for chunk in chunks])
    names = dict.fromkeys(name for row in rows for _, name in row.words)
    gone = [name for name in names if name not in words and name not in known]
    if gone:
        raise HostError(
            message(
                "hosts.embedding_gone",
                'The prompts use the embedding "{name}", which was there when the run was checked and is gone now. Put '
                "it back and resume the run.",
                name=gone[0],
            )
        )
    others = {name: known[name] for name in names if name not in words}
    counts = {name: count_vectors(vectors) for name, vectors in (*words.items(), *others.items())}
    return PromptInputs(
        prompts=len(prompts),
        ids={encoder.key: padded_ids(rows, encoder.pad) for encoder in encoders},
        slots=word_slots(rows, counts),
        others={encoder.key: _rows(others, encoder) for encoder in encoders},
        weights=emphasis_weights(rows),
        sizes=torch.tensor([size.numbers for size in size_conds], dtype=torch.float32),
        order=order,
    )


def _rows(words: Words, encoder: TextEncoder) -> Tensor:
    """The vectors of words for one encoder, laid end to end: (K, width) float32, K perhaps 0."""
    vectors = [of_encoder(vectors, encoder.key).detach().float().cpu() for vectors in words.values()]
    return torch.cat(vectors) if vectors else torch.zeros(0, encoder.table.embedding_dim)


def encode_prompts(
    inputs: PromptInputs, words: Words, encoders: Sequence[TextEncoder], call: Call = called
) -> Condition:
    """Encode prompts as AUTOMATIC1111 puts chunks and encoders together; what is pooled is that of the first chunk.

    `call` calls each encoder.
    """
    outputs = []
    pooled: Tensor | None = None
    for encoder in encoders:
        trained = [of_encoder(vectors, encoder.key) for vectors in words.values()]
        given = (inputs.ids[encoder.key], inputs.slots, *trained, inputs.others[encoder.key])
        output, *others = call(encoder.key, encoder.encode_with, given)
        pooled = others[0] if others else None
        outputs.append(output if inputs.weights is None else emphasized(output, inputs.weights))
    context = torch.cat(outputs, -1)
    if inputs.order is not None:
        context = context[inputs.order]
        pooled = None if pooled is None else pooled[inputs.order]
    context = context.reshape(inputs.prompts, -1, context.shape[-1])
    if pooled is None:
        return Condition(context)
    return Condition(context, pooled.reshape(inputs.prompts, -1, pooled.shape[-1])[:, 0], inputs.sizes)


@contextmanager
def inject_vectors(table: torch.nn.Embedding, slots: Tensor, vectors: Sequence[Tensor]) -> Iterator[None]:
    """While open, `table` answers (R, 77, d) with row k of `vectors`, laid end to end, wherever `slots` (R, 77) has k.

    Rows count from 1; at 0 the token's own vector stays. No vocabulary is resized, and no row has to be restored.
    """

    def replace(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        first = output.new_zeros(1, output.shape[-1])
        rows = torch.cat([first, *(vector.to(output.dtype) for vector in vectors)])
        return torch.where((slots > 0).unsqueeze(-1), rows[slots], output)

    handle = table.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def emphasized(output: Tensor, weights: Tensor) -> Tensor:
    """Multiply token outputs (R, 77, d) by weights (R, 77), each row's mean kept: the WebUI's emphasis "Original".

    A mean that is nothing but rounding, as that of an untrained SD2 whose last LayerNorm adds nothing, is not kept: to
    divide by it would blow the row up or make it NaN.
    """
    weighted = output * weights.to(output.dtype).unsqueeze(-1)
    mean, new = output.mean((1, 2), keepdim=True), weighted.mean((1, 2), keepdim=True)
    size = weighted.detach().abs().mean((1, 2), keepdim=True)
    known = new.detach().abs() > _ROUNDING * size
    return weighted * torch.where(known, mean / torch.where(known, new, 1), 1)


def of_encoder(vectors: Vectors, encoder: str) -> Tensor:
    """The vectors for one encoder; those of a single one whatever the file calls it, as a file need not say."""
    if len(vectors) == 1:
        (tensor,) = vectors.values()
        return tensor
    return vectors[encoder]
