"""The command `generate`: one image with embeddings, on the offline host."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.cli.failures import DONE
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message

if TYPE_CHECKING:
    from tinv_ext.core.embedding import Embedding
    from tinv_ext.core.generation import ImageRequest
    from tinv_ext.hosts.diffusers.host import DiffusersHost


def generate(options: dict[str, Any], host: DiffusersHost) -> int:
    """Generate one image and write it. `InputError` with every problem before anything is generated."""
    from tinv_ext.core.atomic import not_a_file
    from tinv_ext.core.embedding import clip_skip_of
    from tinv_ext.core.generation import ImageRequest, infotext
    from tinv_ext.core.prompts.unsupported import unsupported
    from tinv_ext.hosts.base import model_facts
    from tinv_ext.run.image_file import write_image_file

    request = ImageRequest(
        options["prompt"],
        options["negative_prompt"],
        options["steps"],
        options["cfg_scale"],
        options["seed"],
        options["width"] or host.native_size,
        options["height"] or host.native_size,
    )
    by_file, problems = _words_of(options["embedding"], host)
    problems += request.problems()
    problems += filter(None, [not_a_file(options["output"]), _no_image_format(options["output"])])
    problems += dict.fromkeys(problem for text in _texts(request) for problem in unsupported(text))
    problems += _clip_skip_problems(options["clip_skip"])
    if problems:
        raise InputError(problems)
    for notice in (*host.embedding_notes, *_unused(by_file, request, host)):
        show(f"tinv: {say(notice)}", sys.stderr)
    words = {name: embedding.vectors for found in by_file.values() for name, embedding in found.items()}
    output: Path = options["output"]
    output.parent.mkdir(parents=True, exist_ok=True)
    used = [embedding for found in by_file.values() for embedding in found.values()]
    layers = options["clip_skip"] or clip_skip_of(used)
    write_image_file(host.generate(request, words, layers), output, infotext(request, model_facts(host, layers)))
    show(str(output))
    return DONE


def _clip_skip_problems(layers: int) -> list[str]:
    """What is wrong with it as a setting."""
    from tinv_ext.core.settings import TrainConfig

    return TrainConfig.read({"clip_skip": layers})[1]


def _no_image_format(output: Path) -> Message | None:
    """That no image is written under such a suffix, if so."""
    from tinv_ext.run.image_file import IMAGE_FORMATS

    if output.suffix.lower() in IMAGE_FORMATS:
        return None
    return message(
        "cli.no_image_format",
        'No image can be written as "{file}". End its name with one of {suffixes:, }.',
        file=output.name,
        suffixes=[suffix for suffix in IMAGE_FORMATS if suffix],
    )


def _words_of(paths: Sequence[Path], host: DiffusersHost) -> tuple[dict[Path, dict[str, Embedding]], list[str]]:
    """The words of embedding files that the model can use, and what is wrong with the others."""
    from tinv_ext.core.errors import FormatError, NumericError
    from tinv_ext.core.fit import unfit
    from tinv_ext.core.formats import read_words

    by_file: dict[Path, dict[str, Embedding]] = {}
    problems: list[str] = []
    for path in paths:
        if not path.exists():
            problems.append(
                message("cli.no_embedding", 'There is no embedding file "{path}". Check the path.', path=path)
            )
            continue
        try:
            found = read_words(path)
        except (FormatError, NumericError) as error:
            problems += error.problems
            continue
        unfitting = (unfit(embedding, host.token_table.widths) for embedding in found.values())
        problems += dict.fromkeys(problem for problem in unfitting if problem)
        by_file[path] = found
    return by_file, problems


def _texts(request: ImageRequest) -> tuple[str, str]:
    return request.prompt, request.negative_prompt


def _unused(
    by_file: Mapping[Path, Mapping[str, Embedding]], request: ImageRequest, host: DiffusersHost
) -> Iterator[str]:
    """A sentence for each file of which neither prompt has a word."""
    from tinv_ext.core.prompts.reader import PromptReader, Word

    tokenizer = host.token_table.tokenizer
    words = {
        name: Word(name, tuple(tokenizer.ids(name)), embedding.count)
        for found in by_file.values()
        for name, embedding in found.items()
    }
    reader = PromptReader(tokenizer, tuple(words.values()), emphasis=True)
    prompts = [reader.read(text) for text in _texts(request)]
    for path, found in by_file.items():
        if not any(prompt.holds(name) for prompt in prompts for name in found):
            yield message(
                "cli.word_not_in_prompt",
                "{file} makes no difference to this image: its word is {words: or }, and the prompt does not have it.",
                file=path.name,
                words=[f'"{name}"' for name in found][:5],
            )
