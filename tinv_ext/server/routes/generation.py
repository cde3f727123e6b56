"""One image with an embedding, or with a blend of several, while no run has the model or that one is paused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import Response

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.server.routes.body import number, text, whole
from tinv_ext.server.routes.route import Answer, Language, Route, Served, in_turn, json_body

if TYPE_CHECKING:
    from tinv_ext.core.generation import ImageRequest
    from tinv_ext.hosts.base import Host
    from tinv_ext.library.library import Library
    from tinv_ext.server.job_queue import JobQueue

BLEND = "tinvblend"
"""What a blend is called while its image is generated; no vocabulary has the word."""


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    if served.library is None:
        return []
    return [Route("POST", "/image", image_route(served.queue, served.library), gives=("image/png",))]


def image_route(queue: JobQueue, library: Library) -> Answer:
    """POST /image."""

    async def image(request: Request, language: str = Language) -> Response:
        """The image of `prompt`, in which [name] stands for the embedding, as PNG; 422 and every problem.

        `parts` are the embeddings or snapshots that it is the weighted mean of, each with `key` and `weight`; `seed`,
        `steps`, `cfg_scale`, `width`, `height`, `negative_prompt` are as in previews.
        """
        values = await json_body(request, language)
        return await in_turn(lambda: _generated(queue, library, values), language)

    return image


def _generated(queue: JobQueue, library: Library, values: Mapping[str, Any]) -> Response:
    import io
    from dataclasses import replace

    from tinv_ext.core.embedding import clip_skip_of
    from tinv_ext.core.fit import unfit
    from tinv_ext.core.generation import infotext
    from tinv_ext.hosts.base import model_facts
    from tinv_ext.run.run_folder import save_png
    from tinv_ext.server.paused_model import with_paused_model

    shares = _shares(values)
    embedding = library.blended(shares)
    word = embedding.name if len(shares) == 1 else BLEND

    def work(host: Host) -> bytes:
        wrong = unfit(replace(embedding, name=word), host.token_table.widths)
        if wrong:
            raise InputError(wrong)
        request = _request(values, word, host)
        layers = clip_skip_of([embedding]) or host.clip_skip
        made = host.generate(request, {word: embedding.vectors}, layers)
        content = io.BytesIO()
        save_png(made, content, {"parameters": infotext(request, model_facts(host, layers))})
        return content.getvalue()

    return Response(with_paused_model(queue, work), media_type="image/png")


def _shares(values: Mapping[str, Any]) -> list[tuple[str, float]]:
    parts = values.get("parts")
    if not isinstance(parts, list) or not parts or not all(isinstance(part, Mapping) for part in parts):
        raise InputError(message("api.no_parts", "Choose an embedding."))
    return [(text(part, "key"), number(part, "weight", 1.0)) for part in parts]


def _request(values: Mapping[str, Any], word: str, host: Host) -> ImageRequest:
    from tinv_ext.core.data.captions import NAME
    from tinv_ext.core.generation import ImageRequest
    from tinv_ext.core.settings import DEFAULTS

    prompt = text(values, "prompt")
    problems = []
    if NAME not in prompt:
        problems.append(
            message("api.no_name", "The prompt has no {name}. Write it where the embedding's word goes.", name=NAME)
        )
    sampler = DEFAULTS["preview_sampler"]
    request = ImageRequest(
        prompt.replace(NAME, word),
        text(values, "negative_prompt", "").replace(NAME, word),
        whole(values, "steps", DEFAULTS["preview_steps"]),
        number(values, "cfg_scale", DEFAULTS["preview_cfg_scale"]),
        whole(values, "seed", 1),
        whole(values, "width", host.native_size),
        whole(values, "height", host.native_size),
        sampler if sampler in host.samplers else next(iter(host.samplers), sampler),
    )
    problems += request.problems()
    if problems:
        raise InputError(problems)
    return request
