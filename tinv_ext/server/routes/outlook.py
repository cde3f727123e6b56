"""What is to be said of a run while its settings are typed: nothing is started or loaded for it, no image opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, message, translated
from tinv_ext.server.routes.route import Language, Route, Served, in_thread, json_body
from tinv_ext.server.routes.training import devices

if TYPE_CHECKING:
    from tinv_ext.core.settings import TrainConfig
    from tinv_ext.hosts.base import Host

_GIGA = 2**30
_OF_SETTINGS = ("settings", "preflight", "run")
"""How the ids of sentences begin of which the value `name` may be a setting's."""


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    return [Route("POST", "/outlook", _route(served))]


def _route(served: Served) -> Callable[..., Any]:
    async def outlook(request: Request, language: str = Language) -> JSONResponse:
        """Of settings: what is wrong with each, the verdict on the name, the model, and how long a run would take.

        `devices`: where a copy of the model can be trained, beside the device that the program has it on; of time and
        memory nothing is known there (`figures_elsewhere`).
        """
        values = await json_body(request, language)
        return await in_thread(lambda: JSONResponse(_answer(served, values, language)), language)

    return outlook


def _answer(served: Served, values: Mapping[str, Any], language: str) -> dict[str, Any]:
    from tinv_ext.core.settings import TrainConfig
    from tinv_ext.run.preflight import model_problems
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
        problems = [*problems, *(model_problems(config, host) if host else ())]
        images: int | None = _count(served, config)
    except InputError as error:
        images, problems = None, [*problems, *error.problems]
    steps, size, cost = _figures(served, config, images, host)
    return {
        "name": _name(config, str(values.get("name") or ""), host, language),
        "model": {"text": translated(told or _model(host), language), "ready": host is not None},
        "devices": devices(served.queue) if host else [],
        "images": images,
        "steps": steps,
        "figures": [translated(text, language) for text in [*size, *cost]],
        "figures_elsewhere": [translated(text, language) for text in size],
        "values": effective,
        "problems": _by_setting(problems, values, language),
        "words": _words(config, values, problems, host, language),
    }


def _count(served: Served, config: TrainConfig) -> int | None:
    """Files that may be images; None where no folder is named. `InputError` as for a run."""
    from tinv_ext.core.paths import path_given
    from tinv_ext.core.preflight.sources import sources_of
    from tinv_ext.core.preflight.subsets import said_of
    from tinv_ext.prepare.gallery import image_files
    from tinv_ext.server.routes.images import allow_source

    if not any(text.strip() for text in (config.images, config.dataset_config, config.in_json, config.words)):
        return None
    total, problems = 0, list[str]()
    for source in sources_of(config, lambda one: allow_source(served, one)).sources:
        if source.is_reg:
            continue
        try:
            one = source.config
            total += len(image_files(path_given(one.images), one.recursive)) * one.repeats
        except InputError as error:
            problems += [said_of("".join(source.words[:1]), text) for text in error.problems]
    if problems:
        raise InputError(problems)
    return total


def _name(config: TrainConfig, given: str, host: Host | None, language: str) -> dict[str, Any]:
    """The verdict on a name."""
    from tinv_ext.core.names import bare_name, name_problems
    from tinv_ext.core.preflight.name_verdict import BAD, EMPTY, name_verdict
    from tinv_ext.run.preflight import embedding_files

    if host is None:  # what can be said without a tokenizer
        problems = name_problems(bare_name(given)) if given.strip() else []
        texts = [translated(text, language) for text in problems]
        return {"state": BAD if problems else EMPTY, "texts": texts, "replaceable": False}
    files = [path.name for path in embedding_files(host.embeddings_folder)]
    tokenizer = host.token_table.tokenizer
    verdict = name_verdict(given, config.num_vectors, tokenizer, host.known_words(), files, config.overwrite)
    texts = [translated(text, language) for text in verdict.texts]
    return {"state": verdict.state, "texts": texts, "replaceable": verdict.replaceable}


def _words(
    config: TrainConfig, values: Mapping[str, Any], problems: Sequence[str], host: Host | None, language: str
) -> list[dict[str, Any]]:
    """Of each of the tables of words: the verdict on its name, and what is wrong with it."""
    from tinv_ext.core.preflight.trained_words import problems_between
    from tinv_ext.core.prompts.reader import Word
    from tinv_ext.core.settings.words import names_in
    from tinv_ext.server.word_problems import by_word

    names = names_in(values.get("words"))
    if names and host:
        ids = host.token_table.tokenizer.ids
        between = problems_between([Word(name, tuple(ids(name)), 1) for name in config.names], config)
        problems = [*problems, *between]
    return [
        _word(_name(config, name, host, language), of_it, language)
        for name, of_it in zip(names, by_word(problems, values))
    ]


def _word(verdict: dict[str, Any], problems: Sequence[str], language: str) -> dict[str, Any]:
    """What is told of one word: what is wrong with its name beside the others is a part of the verdict.

    That it has no name yet whoever types the rest first can see.
    """
    from tinv_ext.core.preflight.name_verdict import BAD
    from tinv_ext.core.preflight.trained_words import BETWEEN
    from tinv_ext.core.settings.words import SAME_WORD, UNNAMED

    ids = {text: text.id if isinstance(text, Message) else "" for text in problems}
    of_name = [translated(text, language) for text, id_ in ids.items() if id_ in (*BETWEEN, *SAME_WORD)]
    if of_name:
        verdict = {"state": BAD, "texts": [*(verdict["texts"] if verdict["state"] == BAD else ()), *of_name]}
    rest = [text for text, id_ in ids.items() if id_ not in (*BETWEEN, *SAME_WORD, UNNAMED)]
    return {"name": verdict, "problems": [translated(text, language) for text in rest]}


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
) -> tuple[int, Sequence[Message], Sequence[Message]]:
    """The run's steps; what there is to say of its size, and of its time and memory on the program's own device."""
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
        return steps, texts, []
    seconds, memory = served.queue.estimates.of(host.facts, config, Path(config.output))
    if seconds is None:
        return steps, texts, [message("server.time_unknown", "time: click Check to measure it")]
    time = duration(seconds * steps)
    cost = [
        message("server.about_time", "about {time}", time=time)
        if sure
        else message("server.at_most_time", "at most about {time}", time=time)
    ]
    if memory:
        cost.append(message("server.about_memory", "{gigabytes:.1f} GB of GPU memory", gigabytes=memory / _GIGA))
    return steps, texts, cost


def _by_setting(problems: Sequence[str], values: Mapping[str, Any], language: str) -> dict[str, str]:
    """Each problem by the setting that it is of; the first of several, and "" for what is of none.

    What is told at one of several words is not told again, where these can be read.
    """
    from tinv_ext.core.settings import SETTINGS
    from tinv_ext.server.word_problems import is_of_a_word

    found: dict[str, str] = {}
    for problem in problems:
        if is_of_a_word(problem, values):
            continue
        name = problem.values.get("name") if isinstance(problem, Message) else None
        area = problem.id.partition(".")[0] if isinstance(problem, Message) else ""
        key = str(name) if area in _OF_SETTINGS and name in SETTINGS else {"images": "images"}.get(area, "")
        if isinstance(problem, Message) and problem.id == "settings.words_invalid":
            key = "words"
        found.setdefault(key, translated(problem, language))
    return found
