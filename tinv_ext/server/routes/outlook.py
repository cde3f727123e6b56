"""What is to be said of a run while its settings are typed: nothing is started or loaded for it, no image opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, message, translated
from tinv_ext.server.routes.route import Language, Route, Served, in_thread, json_body

if TYPE_CHECKING:
    from tinv_ext.core.settings import TrainConfig
    from tinv_ext.hosts.base import Host

_GIGA = 2**30


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    return [Route("POST", "/outlook", _route(served))]


def _route(served: Served) -> Callable[..., Any]:
    async def outlook(request: Request, language: str = Language) -> JSONResponse:
        """Of settings: what is wrong with each, the verdict on the name, the model, and how long a run would take."""
        values = await json_body(request, language)
        return await in_thread(lambda: JSONResponse(_answer(served, values, language)), language)

    return outlook


def _answer(served: Served, values: Mapping[str, Any], language: str) -> dict[str, Any]:
    from tinv_ext.core.settings import TrainConfig
    from tinv_ext.server.routes.images import settings_as_now

    host, told = None, None
    try:
        host = served.queue.loaded_host()
    except TinvError as error:
        told = error.problems[0]
    config, problems = TrainConfig.read(values)
    effective = config.to_dict()
    config = config.but(output=served.queue.placed(""))  # unless the one that is given may be looked into
    try:
        config = settings_as_now(served, values)
        images: int | None = _count(served, config)
    except InputError as error:
        images, problems = None, [*problems, *error.problems]
    figures = _figures(served, config, images, host)
    return {
        "name": _name(config, str(values.get("name") or ""), host, language),
        "model": {"text": translated(told or _model(host), language), "ready": host is not None},
        "images": images,
        "steps": figures[0],
        "figures": [translated(text, language) for text in figures[1]],
        "values": effective,
        "problems": _by_setting(problems, language),
    }


def _count(served: Served, config: TrainConfig) -> int | None:
    """Files that may be images; None where no folder is named. `InputError` as for a run."""
    from tinv_ext.core.paths import path_given
    from tinv_ext.core.preflight.sources import sources_of
    from tinv_ext.prepare.gallery import image_files
    from tinv_ext.server.routes.images import allow_source

    if not any(text.strip() for text in (config.images, config.dataset_config, config.in_json, config.words)):
        return None
    sources = [
        one.config for one in sources_of(config, lambda one: allow_source(served, one)).sources if not one.is_reg
    ]
    return sum(len(image_files(path_given(one.images), one.recursive)) * one.repeats for one in sources)


def _name(config: TrainConfig, given: str, host: Host | None, language: str) -> dict[str, Any]:
    from tinv_ext.core.names import bare_name, name_problems
    from tinv_ext.core.preflight.name_verdict import BAD, EMPTY, name_verdict
    from tinv_ext.run.preflight import embedding_files

    if host is None:  # what can be said without a tokenizer
        problems = name_problems(bare_name(given)) if given.strip() else []
        return {"state": BAD if problems else EMPTY, "texts": [translated(text, language) for text in problems]}
    files = [path.name for path in embedding_files(host.embeddings_folder)]
    tokenizer = host.token_table.tokenizer
    verdict = name_verdict(given, config.num_vectors, tokenizer, host.known_words(), files, config.overwrite)
    return {"state": verdict.state, "texts": [translated(text, language) for text in verdict.texts]}


def _model(host: Host | None) -> Message:
    if host is None:
        return message("server.model_not_loaded", "No model is loaded yet. Check and Train load the chosen one.")
    facts = host.facts
    return message(
        "server.model",
        "{model} ({family})",
        model=facts.get("model_name") or facts.get("source") or "?",
        family=facts.get("family") or "?",
    )


def _figures(
    served: Served, config: TrainConfig, images: int | None, host: Host | None
) -> tuple[int, Sequence[Message]]:
    """The run's steps, and what is known of it: images, steps, time, memory."""
    from pathlib import Path

    from tinv_ext.core.data.epochs import Epochs
    from tinv_ext.core.preflight.stopping import may_end
    from tinv_ext.core.training.schedules import parse_schedule
    from tinv_ext.run.dry_run import duration

    steps, texts = config.steps, []
    if config.max_train_epochs and images:
        steps = Epochs(images, config.examples_per_step).steps(config.max_train_epochs)
    try:
        end = parse_schedule(config.learning_rate).end
    except InputError:  # told with the setting
        end = None
    steps = min(steps, end) if end else steps
    if images is not None:
        texts.append(message("server.images", "{count:image|images}", count=images))
    sure = not may_end(config, images or 0)
    texts.append(
        message("server.steps", "{count:step|steps}", count=steps)
        if sure
        else message("server.steps_at_most", "at most {count:step|steps}", count=steps)
    )
    if host is None:
        return steps, texts
    seconds, memory = served.queue.estimates.of(host.facts, config, Path(config.output))
    if seconds is None:
        return steps, [*texts, message("server.time_unknown", "time: click Check to measure it")]
    time = duration(seconds * steps)
    texts.append(
        message("server.about_time", "about {time}", time=time)
        if sure
        else message("server.at_most_time", "at most about {time}", time=time)
    )
    if memory:
        texts.append(message("server.about_memory", "{gigabytes:.1f} GB of GPU memory", gigabytes=memory / _GIGA))
    return steps, texts


def _by_setting(problems: Sequence[str], language: str) -> dict[str, str]:
    """Each problem by the setting that it is of; the first of several, and "" for what is of none."""
    from tinv_ext.core.settings import SETTINGS

    found: dict[str, str] = {}
    for problem in problems:
        name = problem.values.get("name") if isinstance(problem, Message) else None
        area = problem.id.partition(".")[0] if isinstance(problem, Message) else ""
        key = str(name) if area == "settings" and name in SETTINGS else {"images": "images"}.get(area, "")
        found.setdefault(key, translated(problem, language))
    return found
