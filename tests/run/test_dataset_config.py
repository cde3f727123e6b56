"""kohya's dataset configs and metadata files: the manual's examples, what has no use, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.fake_host import FakeHost
from tests.messages import ids, refused, said
from tests.run.test_subsets import Write, host, trained, write  # noqa: F401 (fixtures)
from tinv_ext.core.errors import InputError
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.run import preflight
from tinv_ext.run.provenance import run_facts
from tinv_ext.server.job_queue import JobQueue

# sd-scripts docs/config_README-en.md, "Overview", with folders of this machine and numbers that the small images have
OVERVIEW = """
[general]
shuffle_caption = true
caption_extension = '.txt'
keep_tokens = 1

# This is a DreamBooth-style dataset
[[datasets]]
resolution = 64
batch_size = 4
keep_tokens = 2

  [[datasets.subsets]]
  image_dir = 'hoge'
  class_tokens = 'hoge girl'
  # This subset uses keep_tokens = 2 (the value of the parent datasets)

  [[datasets.subsets]]
  image_dir = 'fuga'
  class_tokens = 'fuga boy'
  keep_tokens = 3

  [[datasets.subsets]]
  is_reg = true
  image_dir = 'reg'
  class_tokens = 'human'
  keep_tokens = 1

# This is a fine-tuning dataset
[[datasets]]
resolution = [128, 192]
batch_size = 2

  [[datasets.subsets]]
  image_dir = 'piyo'
  metadata_file = 'piyo/piyo_md.json'
  # This subset uses keep_tokens = 1 (the value of [general])
"""
# the same, "Example of configuration file : secondary_separator, wildcard notation, keep_tokens_separator, etc."
SEPARATORS = """
[general]
flip_aug = true
color_aug = false
resolution = [64, 64]

[[datasets]]
batch_size = 6
enable_bucket = true
bucket_no_upscale = true
caption_extension = ".txt"
keep_tokens_separator= "|||"
shuffle_caption = true
caption_tag_dropout_rate = 0.1
secondary_separator = ";;;" # subset 側に書くこともできます / can be written in the subset side
enable_wildcard = true # 同上 / same as above

  [[datasets.subsets]]
  image_dir = "hoge"
  num_repeats = 1

  # ||| の前後はカンマは不要です（自動的に追加されます） / No comma is required before and after |||
  caption_prefix = "1girl, hatsune miku, vocaloid |||"
  caption_suffix = ", anime screencap ||| masterpiece, rating: general"
"""
# sd-scripts docs/train_textual_inversion.md, 4.1
TEXTUAL_INVERSION = """
[general]
shuffle_caption = false
caption_extension = ".txt"
keep_tokens = 1

[[datasets]]
resolution = 64                    # 1024 for SDXL
batch_size = 4                      # Can use larger values than LoRA training
enable_bucket = true

  [[datasets.subsets]]
  image_dir = "hoge"
  caption_extension = ".txt"
  num_repeats = 10
"""
Prepare = Callable[..., PreparedRun]


@pytest.fixture
def folders(write: Write, tmp_path: Path) -> Path:  # noqa: F811
    """The folders of the manual's examples."""
    write("hoge", 10, 20, caption="zworble, b, c, {d|e}")
    write("fuga", 30)
    write("reg", 40)
    write("piyo", 50, 60, 70)
    metadata = {"50": {"caption": "zworble sits\nzworble stands", "tags": "a, b"}}
    metadata["60.png"] = {"caption": "zworble"}
    metadata["gone"] = {"tags": "c"}
    (tmp_path / "piyo" / "piyo_md.json").write_text(json.dumps(metadata))
    return tmp_path


@pytest.fixture
def ready(folders: Path, host: FakeHost) -> Prepare:  # noqa: F811
    """A run of a dataset config, prepared."""

    def make(text: str, name: str = "dataset.toml", **given: Any) -> PreparedRun:
        (folders / name).write_text(text, "utf-8")
        return preflight.prepare_run(settings(folders, folders / name, **given), host)

    return make


def settings(folder: Path, file: Path, **given: Any) -> TrainConfig:
    """A short run with a dataset config."""
    values = {"name": "zworble", "dataset_config": str(file), "output": str(folder / "runs"), "overwrite": True}
    values |= {"steps": 6, "preview_every": 0, "save_state_every": 2, "evaluate_every": 2, "seed": 3}
    return TrainConfig.from_dict({**values, **given})


def test_the_manuals_overview(ready: Prepare) -> None:
    """What stands further in wins; sizes, captions and metadata of each subset; what has no use is told."""
    run = ready(OVERVIEW, prepend_word=True)
    *subsets, regularizing = run.subsets
    assert (regularizing.name, regularizing.source.is_reg, regularizing.source.weight) == ("reg", True, 1.0)
    found = {one.name: one.config for one in subsets}
    assert list(found) == ["hoge", "fuga", "piyo"]
    assert [one.keep_tokens for one in found.values()] == [2, 3, 1]
    assert [(one.width, one.height) for one in found.values()] == [(64, 64), (64, 64), (128, 192)]
    assert all(one.shuffle_tags and one.caption_extension == ".txt" for one in found.values())
    assert [image.caption.text for image in run.images if image.subset.name not in ("hoge", "reg")] == [
        "fuga boy",
        "zworble sits, a, b\nzworble stands, a, b",
        "zworble",
    ]
    assert run.config.template == "none"
    assert [one.config.batch_size for one in run.subsets] == [4, 4, 2, 4]
    assert (run.plan.batch_size, run.config.shuffle_tags, run.config.width) == (4, True, 64)
    assert said(run.notices, "preflight.not_in_metadata")
    assert said(run.notices, "preflight.not_there")


def test_the_manuals_separators(ready: Prepare) -> None:
    """As JSON, too, it is the same."""
    run = ready(SEPARATORS, template="subject_filewords")
    (subset,) = run.subsets
    assert (subset.name, run.config.batch_size) == ("", 6)
    assert subset.config.resize_mode == "buckets"
    assert subset.shown[0] == (
        "1girl, hatsune miku, vocaloid, zworble, b, c, d, anime screencap, masterpiece, rating: general"
    )
    values = {
        "general": {"flip_aug": True, "resolution": [64, 64]},
        "datasets": [{"batch_size": 6, "subsets": [{"image_dir": "hoge"}]}],
    }
    again = ready(json.dumps(values), "dataset.json")
    assert [image.name for image in again.images] == [image.name for image in run.images]


def test_the_manual_of_textual_inversion(ready: Prepare, host: FakeHost, folders: Path) -> None:  # noqa: F811
    """It runs, and as a run of that folder with these settings does, bit for bit."""
    run = ready(TEXTUAL_INVERSION)
    assert (run.config.repeats, run.config.batch_size, run.config.resize_mode) == (10, 4, "buckets")
    plain = settings(folders, Path(), dataset_config="", images=str(folders / "hoge"), batch_size=4, template="none")
    given = plain.but(width=64, height=64, resize_mode="buckets", keep_tokens=1, caption_extension=".txt")
    config = settings(folders, folders / "dataset.toml")
    assert torch.equal(trained(config, host), trained(given, host))
    assert torch.equal(trained(config, host, stop=3), trained(config, host))


def test_facts_name_no_place_of_this_machine(ready: Prepare, host: FakeHost, folders: Path) -> None:  # noqa: F811
    """Not the dataset config, the folders, the metadata or a template of a subset."""
    (folders / "mine.txt").write_text("a [name]")
    text = OVERVIEW.replace("class_tokens = 'fuga boy'", f"template = '{(folders / 'mine.txt').as_posix()}'")
    facts = run_facts(ready(text, prepend_word=True), host)
    assert facts["subsets"]["fuga"]["template"] == "mine.txt"
    assert facts["subsets"]["piyo"]["width"] == 128
    assert folders.name not in str(facts)


def test_the_same_folder_at_two_sizes(ready: Prepare) -> None:
    """In two datasets, as the manual shows it; they are told apart by number."""
    text = "[[datasets]]\nresolution = {}\n[[datasets.subsets]]\nimage_dir = 'hoge'\n"
    run = ready(text.format(64) + text.format(128))
    assert [(one.name, one.config.width) for one in run.subsets] == [("hoge", 64), ("hoge (2)", 128)]
    assert len({image.name for image in run.images}) == 4


def test_everything_wrong_in_a_file_is_told_at_once(ready: Prepare, folders: Path) -> None:
    """Unknown keys with the nearest, values of another kind, a resolution of three, missing and empty folders."""
    text = """
[general]
shufle_caption = true
resolution = [1, 2, 3]
[[datasets]]
keep_tokens = "many"
  [[datasets.subsets]]
  image_dr = 'hoge'
  [[datasets.subsets]]
  image_dir = 'hoge'
  num_repeats = 0
[[datasets]]
batch_size = 1
"""
    with pytest.raises(InputError) as caught:
        ready(text)
    problems = caught.value.problems
    assert said(problems, "settings.unknown_key_near", key="shufle_caption", near="shuffle_caption")
    assert said(problems, "settings.unknown_key_near", key="image_dr", near="image_dir")
    assert said(problems, "peers.not_a_resolution")
    assert said(problems, "settings.wrong_type", name="keep_tokens")
    assert said(problems, "settings.too_small", name="repeats")
    assert said(problems, "settings.no_image_dir")
    assert said(problems, "settings.in_dataset_config", place="[[datasets]] 2", file="dataset.toml")
    assert not (folders / "runs").exists()
    for text, problem in (
        ("[[datasets]", "settings.dataset_config_invalid"),
        ("a = 1", "settings.dataset_config_empty"),
    ):
        with refused(problem):
            ready(text)


def test_folders_and_images_that_come_twice_are_refused(ready: Prepare, folders: Path) -> None:
    """A folder twice in one dataset; the same image in two of its folders, whatever its name."""
    two = "[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{}'\n[[datasets.subsets]]\nimage_dir = '{}'\n"
    with refused("preflight.same_folder"):
        ready(two.format("hoge", "hoge"))
    (folders / "fuga" / "copy.png").write_bytes((folders / "hoge" / "10.png").read_bytes())
    with refused("preflight.same_images", count=1) as caught:
        ready(two.format("hoge", "fuga"), prepend_word=True)
    assert said(caught.value.problems, "preflight.same_pair", one="hoge/10.png", other="fuga/copy.png")
    (folders / "empty").mkdir()
    with refused("images.none"):
        ready(two.format("hoge", "empty"))


def test_a_slip_in_the_file_hides_nothing_of_its_folders(ready: Prepare, folders: Path) -> None:
    """A wrong key, a resolution of three, a folder and an image that come twice, a mask of another size, an empty
    folder of regularization images: all at once, nothing started."""
    (folders / "masks").mkdir()
    (folders / "empty").mkdir()
    Image.new("L", (10, 10)).save(folders / "masks" / "10.png")
    (folders / "fuga" / "copy.png").write_bytes((folders / "hoge" / "20.png").read_bytes())
    subsets = [
        "image_dir = 'hoge'\nconditioning_data_dir = 'masks'",
        "image_dir = 'hoge'",
        "image_dir = 'fuga'\nresolution = '64,64,64'",
        "image_dir = 'empty'\nis_reg = true\nnum_repeat = 2",
    ]
    text = "[[datasets]]\n" + "\n".join(f"[[datasets.subsets]]\n{subset}" for subset in subsets)
    with pytest.raises(InputError) as caught:
        ready(text, masked_loss=True, prepend_word=True)
    problems = caught.value.problems
    assert said(problems, "settings.unknown_key_near", key="num_repeat", near="num_repeats")
    assert said(problems, "peers.not_a_resolution", value="64,64,64")
    assert said(problems, "preflight.same_folder")
    assert said(problems, "preflight.same_images", count=1)
    assert said(problems, "masks.other_size", file="10.png", width=10)
    assert said(problems, "images.none")
    assert len(problems) == 6
    assert not (folders / "runs").exists()


def test_what_has_no_use_is_told(ready: Prepare, folders: Path) -> None:
    """With its reason, once; settings of the run beside the datasets, and a folder that is given as well."""
    text = "steps = 77\n[general]\nnetwork_multiplier = 1.0\ncache_info = true\n[[datasets]]\n"
    run = ready(text + "[[datasets.subsets]]\nimage_dir='hoge'\n", images=str(folders / "fuga"))
    assert said(run.notices, "peers.not_used", options=["network_multiplier"])
    assert said(run.notices, "peers.not_used", options=["cache_info"])
    assert said(run.notices, "preflight.settings_beside_datasets", names=["steps"])
    assert said(run.notices, "preflight.images_not_used")


def test_a_metadata_file_for_one_folder(folders: Path, host: FakeHost) -> None:  # noqa: F811
    """Only the images that it names; as JSONL, and with absolute paths, without a folder, too."""
    jsonl = folders / "md.jsonl"
    rows = [{"image_path": str(folders / "piyo" / "70.png"), "caption": "zworble", "tags": "x, y"}]
    jsonl.write_text("\n".join(map(json.dumps, rows)))
    given = {"dataset_config": "", "in_json": str(jsonl)}
    run = preflight.prepare_run(settings(folders, Path(), **given), host)
    assert [(image.name, image.caption.text) for image in run.images] == [("70.png", "zworble, x, y")]
    assert run.config.template == "none"
    for text, problem in (("{}", "captions.metadata_empty"), ("[", "captions.metadata_unreadable")):
        (folders / "bad.json").write_text(text)
        with refused(problem):
            preflight.prepare_run(settings(folders, Path(), dataset_config="", in_json=str(folders / "bad.json")), host)
    jsonl.write_text(json.dumps({"image_path": "nowhere.png", "caption": "zworble"}))
    with refused("preflight.none_in_metadata", name="nowhere.png"):
        preflight.prepare_run(settings(folders, Path(), images=str(folders / "piyo"), **given), host)


def test_a_folder_of_the_concepts_library(write: Write, folders: Path, host: FakeHost) -> None:  # noqa: F811
    """Its images are in concept_images, whatever else it holds."""
    write("cat-toy/concept_images", 1, 2)
    (folders / "cat-toy" / "type_of_concept.txt").write_text("style\n")
    (folders / "cat-toy" / "learned_embeds.bin").write_bytes(b"x")
    run = preflight.prepare_run(settings(folders, Path(), dataset_config="", images=str(folders / "cat-toy")), host)
    assert [image.name for image in run.images] == ["1.png", "2.png"]
    assert "preflight.concept_style" in ids(run.notices)


def test_a_file_names_no_forbidden_folder(folders: Path, host: FakeHost, tmp_path_factory: Any) -> None:  # noqa: F811
    """What a dataset config or a metadata file names is confined as what is entered."""
    from tinv_ext.server.allowed_paths import allow_only

    private = tmp_path_factory.mktemp("private")
    Image.new("RGB", (64, 64)).save(private / "a.png")
    (folders / "d.toml").write_text(f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{private.as_posix()}'\n")
    (folders / "m.json").write_text(json.dumps({(private / "a.png").as_posix(): {"caption": "zworble"}}))
    queue = JobQueue(lambda: host, folders)
    for given in ({"dataset_config": str(folders / "d.toml")}, {"in_json": str(folders / "m.json")}):
        values = {"name": "zworble", "template": "subject", **given}
        with refused("server.path_not_allowed", name="images"):
            queue.check(values, allow_only([folders]))
        assert queue.check(values, allow_only([folders, private])).images
