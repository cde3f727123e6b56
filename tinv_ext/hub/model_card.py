"""The card of an uploaded embedding: README.md as the hub wants it, YAML (here JSON, which is YAML), then Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinv_ext.core.embedding import Embedding, token_of
from tinv_ext.core.formats import suffix_of, usual_format
from tinv_ext.core.formats.diffusers_folder import STEMS

BEFORE, AFTER = "before", "after"
_TAGS = ("textual_inversion", "stable-diffusion", "text-to-image", "diffusers")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What the hub takes for `license`, which it checks (huggingface.co/docs/hub/repositories-licenses); else "other".
_LICENSES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd
    bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1
    lgpl-3.0 lgpl-lr lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 other pddl
    postgresql unknown unlicense wtfpl zlib
    """.split()  # noqa: SIM905 (a screen of quotes else)
)


Pairs = Sequence[Mapping[str, Path]]
"""By prompt, what was generated `BEFORE` and `AFTER` the training, as far as there is."""


@dataclass(frozen=True)
class Other:
    """A further word that was trained with the first; its files for diffusers are in a folder of its name."""

    embedding: Embedding
    images: Pairs


@dataclass(frozen=True)
class Shown:
    """What the card shows beside the embedding.

    `settings` are those of the run, `base_model` is where the model came from, `others` are its further words.
    """

    images: Pairs
    settings: Mapping[str, Any]
    base_model: str = ""
    others: Sequence[Other] = ()

    def files(self) -> dict[str, Path]:
        """The images by the names that they get at the hub, without suffix: before, after, before-2 …, word-before …"""
        found = _named(self.images)
        for other in self.others:
            found |= _named(other.images, f"{other.embedding.name}-")
        return found


def _named(pairs: Pairs, prefix: str = "") -> dict[str, Path]:
    return {
        prefix + (name if not index else f"{name}-{index + 1}"): path
        for index, pair in enumerate(pairs)
        for name, path in pair.items()
    }


def card(embedding: Embedding, repository: str, shown: Shown) -> str:
    """The whole text."""
    settings, token = shown.settings, token_of(embedding)
    file = f"{embedding.name}{suffix_of(usual_format(embedding.vectors))}"
    about = {
        "library_name": "diffusers",
        "tags": [*_TAGS, *_words(settings.get("tags", ""))],
        "inference": False,
        **({"base_model": shown.base_model} if _ID.fullmatch(shown.base_model) else {}),
        **license_of(str(settings.get("license") or "")),
    }
    parts = [
        "\n".join(
            ["---", *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in about.items()), "---"]
        ),
        f"# {settings.get('title') or embedding.name}",
        settings.get("description") or f"A word for {embedding.family} ({embedding.count} vectors): **{token}**.",
        _sheet(shown.images, _named(shown.images)),
        f"In the WebUI: put `{file}` into `embeddings/` and write `{embedding.name}` in a prompt. In diffusers:",
        "\n".join(
            ["```python", _loading(embedding, repository), f'image = pipe("a photo of {token}").images[0]', "```"]
        ),
        *(part for other in shown.others for part in _about(other, repository)),
        f"Trained for {embedding.step or 0} steps on {_model(embedding, shown)},"
        "\nby textual inversion (arXiv 2208.01618).",
        f"Licence: {settings['license']}" if settings.get("license") else "",
        "\n".join(["| setting | value |", "| --- | --- |", *_rows(settings)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def license_of(text: str) -> dict[str, str]:
    """A licence as the hub's metadata have it: one of its own identifiers, or "other" with a name."""
    name = re.sub(r"[^\w.+]+", "-", text.strip().lower()).strip("-")
    if not name:
        return {}
    return {"license": name} if name in _LICENSES else {"license": "other", "license_name": name}


def _model(embedding: Embedding, shown: Shown) -> str:
    if _ID.fullmatch(shown.base_model):
        return f"[{shown.base_model}](https://huggingface.co/{shown.base_model})"
    return " ".join(filter(None, [embedding.model_name or "an unnamed model", embedding.model_hash]))


def _about(other: Other, repository: str) -> list[str]:
    """The parts on a further word."""
    embedding, token = other.embedding, token_of(other.embedding)
    return [
        f"## {embedding.name}",
        f"Trained with it for {embedding.step or 0} steps ({embedding.count} vectors): **{token}**.",
        _sheet(other.images, _named(other.images, f"{embedding.name}-")),
        f"In the WebUI: `{embedding.name}{suffix_of(usual_format(embedding.vectors))}`. In diffusers:",
        f"```python\n{_loading(embedding, repository, embedding.name)}\n```",
    ]


def _loading(embedding: Embedding, repository: str, subfolder: str = "") -> str:
    """How diffusers loads it: SDXL's by two files, each into its own text encoder."""
    where = f'"{repository}"' + (f', subfolder="{subfolder}"' if subfolder else "")
    if len(embedding.vectors) == 1:
        return f"pipe.load_textual_inversion({where})"
    return f"""for file, tokenizer, text_encoder in (
    ("{STEMS[0]}.safetensors", pipe.tokenizer, pipe.text_encoder),
    ("{STEMS[1]}.safetensors", pipe.tokenizer_2, pipe.text_encoder_2),
):
    pipe.load_textual_inversion(
        {where}, weight_name=file, tokenizer=tokenizer, text_encoder=text_encoder
    )"""


def _sheet(pairs: Pairs, files: Mapping[str, Path]) -> str:
    """A row for each prompt, before and after beside each other."""
    names = {path: quote(name) for name, path in files.items()}
    columns = [name for name in (BEFORE, AFTER) if any(name in pair for pair in pairs)]
    if not columns:
        return ""
    rows = [
        [f"![{column}](images/{names[pair[column]]}.png)" if column in pair else "" for column in columns]
        for pair in pairs
    ]
    table = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def _rows(settings: Mapping[str, Any]) -> list[str]:
    return [f"| {name} | `{_cell(value)}` |" for name, value in settings.items() if value not in ("", None)]


def _words(tags: str) -> list[str]:
    return [tag.strip() for tag in tags.split(",") if tag.strip()]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("`", "'")
