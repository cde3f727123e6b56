"""The prompts of previews: lines with options of their own, in the setting or a file, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.messages import ids, refused, said
from tinv_ext.core.errors import InputError
from tinv_ext.core.generation import ImageRequest, preview_prompts
from tinv_ext.core.settings import TrainConfig

KOHYA = """# prompt 1
masterpiece, best quality, 1girl, in white shirts --n low quality, worst quality --w 768 --h 768 --d 1 --l 7.5 --s 28

# prompt 2
a [name], looking back --n low effort --w 576 --h 832 --d 2 --l 5.5 --s 40
"""
"""As its manual has it (sd-scripts docs/train_README-ja.md)."""
MEANT = [
    ImageRequest(
        "masterpiece, best quality, 1girl, in white shirts", "low quality, worst quality", 28, 7.5, 1, 768, 768
    ),
    ImageRequest("a zworble, looking back", "low effort", 40, 5.5, 2, 576, 832),
]


def config(prompt: str = "", **given: Any) -> TrainConfig:
    """Settings of previews."""
    usual = {"name": "zworble", "width": 64, "height": 96, "preview_sampler": "DDIM", "preview_steps": 20}
    return TrainConfig(**{**usual, "preview_prompt": prompt, **given})


def requests(settings: TrainConfig) -> list[ImageRequest]:
    """All images."""
    return [request for prompt in preview_prompts(settings) for request in prompt.requests]


def problems(settings: TrainConfig) -> list[Any]:
    """What is wrong."""
    with pytest.raises(InputError) as caught:
        preview_prompts(settings)
    return list(caught.value.problems)


def test_each_line_of_the_prompt_is_an_image() -> None:
    """[name] becomes the word, blank lines are nothing, sizes are those of training unless given."""
    found = requests(
        config(
            "a [name]\n\n  [name] on [name] \r\n",
            preview_negative_prompt="no [name]",
            preview_width=128,
        )
    )
    assert [(r.prompt, r.negative_prompt, r.width, r.height) for r in found] == [
        ("a zworble", "no zworble", 128, 96),
        ("zworble on zworble", "no zworble", 128, 96),
    ]


def test_lines_of_kohya_mean_what_they_say_there(tmp_path: Path) -> None:
    """In the setting and in a text file, also one with a BOM; comments and blank lines are nothing."""
    (tmp_path / "prompts.txt").write_text(KOHYA, "utf-8-sig")
    assert requests(config(KOHYA)) == MEANT
    assert requests(config("another", preview_file=f' "{tmp_path / "prompts.txt"}" ')) == MEANT


def test_json_and_toml_of_kohya_do_too(tmp_path: Path) -> None:
    """A list of lines and of tables; [prompt] with what all share, and its subsets."""
    first = {"prompt": MEANT[0].prompt, "negative_prompt": MEANT[0].negative_prompt, "width": 768, "height": 768}
    first |= {"seed": 1, "scale": 7.5, "sample_steps": 28, "sample_sampler": "ddim"}
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps([first, KOHYA.splitlines()[-1]]), "utf-8")
    assert requests(config(preview_file=str(file))) == MEANT
    toml = tmp_path / "prompts.toml"
    toml.write_text(
        """[prompt]
sample_steps = 28
[[prompt.subset]]
prompt = "masterpiece, best quality, 1girl, in white shirts"
negative_prompt = "low quality, worst quality"
width = 768
height = 768
seed = 1
scale = 7.5
[[prompt.subset]]
prompt = "a [name], looking back"
negative_prompt = "low effort"
width = 576
height = 832
seed = 2
scale = 5.5
sample_steps = 40
""",
        "utf-8",
    )
    assert requests(config(preview_file=str(toml))) == MEANT


def test_what_a_line_leaves_open_is_as_the_settings_say() -> None:
    """Each option alone changes its own value; a sampler comes by kohya's name or ours; sizes are rounded as there."""
    plain = requests(config("a cat", preview_negative_prompt="bad", preview_seed=7))[0]
    assert (plain.negative_prompt, plain.seed, plain.width, plain.sampler) == ("bad", 7, 64, "DDIM")
    for option, name, value in (
        ("--n", "negative_prompt", ""),
        ("--w 515", "width", 512),
        ("--H 264", "height", 264),
        ("--d 0", "seed", 0),
        ("--s 3", "steps", 3),
        ("--l 1.5", "cfg_scale", 1.5),
        ("--ss euler_a", "sampler", "Euler a"),
        ("--ss Euler", "sampler", "Euler"),
    ):
        found = requests(config(f"a cat {option}", preview_negative_prompt="bad", preview_seed=7))[0]
        assert vars(found) == {**vars(plain), name: value}, option
    dashes = "a cat -- or --- what looks like one, x--y"
    assert requests(config(dashes))[0].prompt == dashes


def test_several_images_of_a_prompt_have_seeds_one_after_the_other() -> None:
    """From the line's own seed on; the rest is the same."""
    found = requests(config("a cat --d 5\na dog", preview_images=3, preview_seed=90))
    assert [(one.prompt, one.seed) for one in found] == [
        *[("a cat", seed) for seed in (5, 6, 7)],
        *[("a dog", seed) for seed in (90, 91, 92)],
    ]


def test_the_token_is_the_word() -> None:
    """In brackets, as diffusers' users write it."""
    found = requests(config("a <zworble> --n <zworble> [name]", angle_brackets=True))[0]
    assert (found.prompt, found.negative_prompt) == ("a zworble", "zworble zworble")
    assert requests(config("a <zworble>"))[0].prompt == "a <zworble>"


def test_bad_lines_are_told_with_their_places(tmp_path: Path) -> None:
    """All of them, by file and line, with the option and its value."""
    text = "# a comment\na cat --w wide\na dog --foo 3 --s 0\n--n nothing\nfine --d 4294967296\na cow --l 99 --h 9999\n"
    file = tmp_path / "prompts.txt"
    file.write_text(text, "utf-8")
    for found, place, values in (
        (problems(config(preview_file=str(file))), "generation.line", {"file": file}),
        (problems(config(text)), "generation.line_of_setting", {}),
    ):
        assert [one.values["place"].values["line"] for one in found] == [2, 3, 3, 4, 6, 6]
        assert said(found, place, line=2, **values)
        assert ids(one.values["problem"] for one in found) == [
            "settings.wrong_type",
            "generation.unknown_option",
            "settings.too_small",
            "generation.no_prompt",
            "settings.too_large",
            "settings.too_large",
        ]
        assert said(found, "settings.wrong_type", name="--w", value="wide")
        assert said(found, "generation.unknown_option", option="--foo")


@pytest.mark.parametrize(
    "name, content, id, at",
    [
        ("a.json", "{", "generation.invalid_file", "line 1"),
        ("a.json", '{"prompt": "x"}', "generation.invalid_file", "no list"),
        ("a.json", "[1]", "generation.invalid_file", "no list"),
        ("a.json", "[" * 100_000, "generation.invalid_file", ""),
        ("a.json", '["fine", {"promt": "x", "prompt": "y"}]', "generation.unknown_option", "prompt 2"),
        ("a.json", '[{"prompt": "x", "seed": [1]}]', "settings.wrong_type", "prompt 1"),
        ("a.json", '[{"width": 64}]', "generation.no_prompt", "prompt 1"),
        ("a.toml", "[prompt\n", "generation.invalid_file", "line 1"),
        ("a.toml", "x = 1", "generation.invalid_file", "no list"),
        ("a.toml", "[prompt]\nsubset = 3", "generation.invalid_file", "no list"),
        ("a.txt", "\udcff", "captions.not_utf8", "byte 0"),
        ("a.txt", "x" * (1 << 20) + "x", "generation.file_too_large", "a.txt"),
    ],
)
def test_files_that_are_none_are_refused(name: str, content: str, id: str, at: str, tmp_path: Path) -> None:  # noqa: A002
    """In a sentence that says where."""
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with refused(id) as error:
        preview_prompts(config(preview_file=str(tmp_path / name)))
    assert at in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its path."""
    with refused("captions.unreadable", path=tmp_path / "none.txt"):
        preview_prompts(config(preview_file=str(tmp_path / "none.txt")))


def test_options_of_other_models_are_left_aside() -> None:
    """A file made for Flux works, and it is known which options have no use."""
    (found,) = preview_prompts(config("a cat --w 64 --g 3.5 --fs 3"))
    assert (found.requests[0].width, found.unused) == (64, ("--g", "--fs"))
