"""What every host does alike with prompts: CLIP's tokens, words standing in for them, emphasis, several encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.data.images import SizeConditioning
from tinv_ext.core.model import Vectors, Words
from tinv_ext.core.prompts.reader import Chunk, Prompt, Tokenizer, equal_chunks


class ClipTokenizer:
    """CLIP's byte-pair encoding as `core.prompts.Tokenizer`."""

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


@dataclass(frozen=True)
class Condition:
    """What the UNet is told: context (B, chunks·77, d); for SDXL also pooled (B, p) and `sizes` (B, 6) float32.

    The widths of several encoders are laid side by side; `sizes` are the numbers of the framings.
    """

    context: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None


def condition_of(
    prompts: Sequence[Prompt],
    words: Words,
    size_conds: Sequence[SizeConditioning],
    encoders: Sequence[TextEncoder],
    tokenizer: Tokenizer,
) -> Condition:
    """Encode prompts as AUTOMATIC1111 puts chunks and encoders together; what is pooled is that of the first chunk."""
    rows = [chunk for chunks in equal_chunks(prompts, tokenizer) for chunk in chunks]
    outputs, pooled = [], None
    for encoder in encoders:
        with inject_vectors(encoder, rows, words):
            output, pooled = encoder.encode(padded(rows, encoder.pad).to(encoder.table.weight.device))
        outputs.append(emphasized(output, rows))
    context = torch.cat(outputs, -1)
    context = context.reshape(len(prompts), -1, context.shape[-1])
    if pooled is None:
        return Condition(context)
    sizes = torch.tensor(
        [size_cond.numbers for size_cond in size_conds],
        dtype=torch.float32,
        device=context.device,
    )
    return Condition(context, pooled.reshape(len(prompts), -1, pooled.shape[-1])[:, 0], sizes)


def padded(rows: Sequence[Chunk], pad: int) -> Tensor:
    """Ids (R, 77) int64 with the encoder's own padding behind the first end."""
    return torch.tensor([[*row.ids[: row.used + 2], *[pad] * (len(row.ids) - row.used - 2)] for row in rows])


@contextmanager
def inject_vectors(encoder: TextEncoder, rows: Sequence[Chunk], words: Words) -> Iterator[None]:
    """While open, the token table answers with the vectors of words at the places where they stand in `rows`."""
    places = [(row, place, name) for row, chunk in enumerate(rows) for place, name in chunk.words]

    def replace(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not places:
            return output
        vectors = [of_encoder(words[name], encoder.key).to(output) for _, _, name in places]
        at_rows = [row for (row, _, _), vector in zip(places, vectors) for _ in vector]
        at_places = [place + index for (_, place, _), vector in zip(places, vectors) for index in range(len(vector))]
        index = (torch.tensor(at_rows, device=output.device), torch.tensor(at_places, device=output.device))
        return output.index_put(index, torch.cat(vectors))

    handle = encoder.table.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def emphasized(output: Tensor, rows: Sequence[Chunk]) -> Tensor:
    """Multiply token outputs (R, 77, d) by their weights, each row's mean kept: the WebUI's emphasis "Original"."""
    if all(weight == 1.0 for chunk in rows for weight in chunk.weights):
        return output
    weights = torch.tensor([chunk.weights for chunk in rows], device=output.device, dtype=output.dtype).unsqueeze(-1)
    weighted = output * weights
    return weighted * (output.mean((1, 2), keepdim=True) / weighted.mean((1, 2), keepdim=True))


def of_encoder(vectors: Vectors, encoder: str) -> Tensor:
    """The vectors for one encoder; those of a single one whatever the file calls it, as a file need not say."""
    if len(vectors) == 1:
        (tensor,) = vectors.values()
        return tensor
    return vectors[encoder]


def count(vectors: Vectors) -> int:
    """How many vectors a word has: as many in every encoder."""
    return len(next(iter(vectors.values())))
