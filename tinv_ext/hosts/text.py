"""What every host does alike with a prompt: CLIP's tokens, words standing in for them, emphasis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.model import Words
from tinv_ext.core.prompts import Chunk


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


@contextmanager
def standing_in(table: torch.nn.Embedding, rows: Sequence[Chunk], words: Words) -> Iterator[None]:
    """While open, the token table answers with the vectors of words at the places where they stand in `rows`."""
    places = [(row, place, name) for row, chunk in enumerate(rows) for place, name in chunk.words]

    def replace(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not places:
            return output
        vectors = [only(words[name]).to(output) for _, _, name in places]
        at_rows = [row for (row, _, _), vector in zip(places, vectors) for _ in vector]
        at_places = [place + index for (_, place, _), vector in zip(places, vectors) for index in range(len(vector))]
        index = (torch.tensor(at_rows, device=output.device), torch.tensor(at_places, device=output.device))
        return output.index_put(index, torch.cat(vectors))

    handle = table.register_forward_hook(replace)
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


def only(vectors: Mapping[str, Tensor]) -> Tensor:
    """The vectors of the one encoder that Stable Diffusion 1 has, whatever the file calls it."""
    (tensor,) = vectors.values()
    return tensor
