"""`tinv sweep` of a file with several words: each is called by the values, wherever the settings name it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from tests.cli.test_sweep import settings
from tinv_ext.cli.main import main
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.dataset_config import read_dataset_config

Sweep = Callable[..., Said]
BASE = """
steps = 2
model = "toy"
evaluate_every = 1
preview_every = 0
preview_prompt = "zibbo beside Quixxly, no zibbonite"

[[words]]
name = "zibbo"
images = "pictures"
init_text = "cat"

[[words]]
name = "<quixxly>"
images = "pictures"
lr_factor = 0.5
class_tokens = "a quixxly"
"""
DATASETS = """
steps = 2
model = "toy"
evaluate_every = 1
preview_every = 0

[general]
resolution = [64, 64]
caption_prefix = "a zibbo,"

[[datasets]]
  [[datasets.subsets]]
  image_dir = "pictures"
  words = ["zibbo", "<quixxly>"]
  num_repeats = 2
  caption_suffix = "quixxly"

[[words]]
name = "zibbo"
[[words]]
name = "<quixxly>"
train = false
"""


@pytest.fixture
def swept(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The command on a base, in a folder with pictures, with values for --set."""
    monkeypatch.chdir(tmp_path)

    def call(*values: str, base: str = BASE, place: str = "base.toml") -> Said:
        Path(place).parent.mkdir(exist_ok=True)
        Path(place).write_text(base, "utf-8")
        given = [text for value in values for text in ("--set", value)]
        code = main(["sweep", place, *given, "--out", "sweep"])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def of_words(config: TrainConfig, key: str) -> list[object]:
    """What each of the words has, in order."""
    return [getattr(word, key) for word in config.word_settings]


def test_a_setting_of_the_run_leaves_the_words_as_they_are(swept: Sweep) -> None:
    """But for their names, in the tables, in prompts and in what stands for captions."""
    said = swept("learning_rate=0.005,0.01", "seed=1")
    files = [settings(file) for file in said.out.split()]
    assert (said.code, said.err, len(files)) == (0, "", 2), said.err
    config, behind = files[1], "-learning_rate-0.01-seed-1"
    assert (config.name, config.names) == (f"zibbo{behind}", [f"zibbo{behind}", f"quixxly{behind}"])
    assert (config.learning_rate, config.seed, config.steps) == ("0.01", 1, 2)
    assert config.preview_prompt == f"zibbo{behind} beside quixxly{behind}, no zibbonite"
    first, second = config.word_settings
    assert (first.init_text, first.own, first.angle_brackets) == ("cat", {"images": "pictures"}, False)
    assert (second.lr_factor, second.token, second.own["class_tokens"]) == (
        0.5,
        f"<quixxly{behind}>",
        f"a quixxly{behind}",
    )
    assert not set(files[0].names) & set(files[1].names)


def test_a_key_of_one_word_or_of_all(swept: Sweep) -> None:
    """By any of its names; where the table says something else, the value counts."""
    files = swept("<quixxly>.lr-factor=0.25,2", "words.token_count=3").out.split()
    configs = [settings(file) for file in files]
    assert Path(files[0]).stem == "zibbo-quixxly.lr_factor-0.25-words.token_count-3"
    assert [of_words(config, "lr_factor") for config in configs] == [[1.0, 0.25], [1.0, 2.0]]
    assert of_words(configs[0], "num_vectors") == [3, 3]
    assert [of_words(settings(file), "train") for file in swept("zibbo.train=no,yes").out.split()] == [
        [False, True],
        [True, True],
    ]


def test_a_word_that_only_the_run_has(swept: Sweep) -> None:
    """A name that is not in the list is a word, with keys of its own from then on."""
    base = 'name = "zabbo"\nimages = "pictures"\n[[words]]\nname = "zibbo"\n'
    (file,) = swept("zabbo.lr_factor=2", base=base).out.split()
    assert settings(file).names == [f"{word}-zabbo.lr_factor-2" for word in ("zabbo", "zibbo")]
    assert of_words(settings(file), "lr_factor") == [2.0, 1.0]


def test_subsets_go_with_the_words(swept: Sweep, tmp_path: Path, pictures: Path) -> None:
    """Each file has those of its base, which teach the words by the new names, and finds their images."""
    (tmp_path / "here").mkdir()
    pictures.rename(tmp_path / "here" / "pictures")
    (file,) = swept("seed=4", base=DATASETS, place="here/base.toml").out.split()
    config = settings(file)
    assert config.dataset_config == file
    (subset,) = read_dataset_config(Path(file)).subsets
    assert subset.words == "zibbo-seed-4, <quixxly-seed-4>"
    assert (subset.settings["images"], subset.settings["repeats"]) == (str(Path("here", "pictures")), 2)
    assert subset.settings["caption_prefix"] == "a zibbo-seed-4,"
    assert (config.template, of_words(config, "train")) == ("none", [True, False])


def test_a_dataset_config_beside_the_base(swept: Sweep, tmp_path: Path) -> None:
    """It is taken into the files where it names a word, and named as before where it does not."""
    words = BASE.partition("[[words]]")[2].replace('images = "pictures"\n', "")
    base = f'dataset_config = "data.toml"\n[[words]]{words}'
    subset = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "pictures"\n'
    (tmp_path / "data.toml").write_text(subset)
    (file,) = swept("seed=1", base=base).out.split()
    assert settings(file).dataset_config == "data.toml"
    (tmp_path / "data.toml").write_text(f'{subset}words = "quixxly"\n')
    (file,) = swept("seed=2", base=base).out.split()
    assert read_dataset_config(Path(settings(file).dataset_config)).subsets[0].words == "quixxly-seed-2"


@pytest.mark.parametrize("base", [BASE, DATASETS], ids=["images of words", "subsets"])
def test_a_file_is_trained_to_its_end(swept: Sweep, tmp_path: Path, base: str) -> None:
    """All words of it are written under the names of the file; the other file can be trained beside it."""
    files = swept("batch_size=1,2", base=base).out.split()
    for size, file in enumerate(files, 1):
        assert main(["train", "--config", file, "--device", "cpu"]) == 0
        for word in ("zibbo", "quixxly"):
            name = f"{word}-batch_size-{size}"
            found = read_embedding(tmp_path / "textual_inversion" / "embeddings" / f"{name}.pt")
            assert found.name == name


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("zibo.lr_factor=1,2",), 'Did you mean "zibbo"?'),
        (("nothing.lr_factor=1,2",), "There are zibbo, quixxly"),
        (("zibbo.lr_facto=1,2",), 'Did you mean "lr_factor"?'),
        (("zibbo.steps=1,2",), "a setting of the run"),
        (("words.seed=1,2",), "a setting of the run"),
        (("zibbo.lr_factor=1,many",), "'many'"),
        (('zibbo.resolution="64,64",much',), "much"),
        (("zibbo.lr_factor=-1,1",), '"zibbo"'),
        (("zibbo.learning_rate=0.1,0.2", 'learning_rate="0.1:1,0.2"'), "lr_factor"),
        (("words.train=false",), "to be trained"),
        (("zibbo.vectors=1,2", "words.num_vectors=3"), "the same setting"),
        (("zibbo.name=a,b",), "leave zibbo.name out"),
        (("words.placeholder=a,b",), "leave words.placeholder out"),
        (("name=a,b",), "leave name out"),
        (('words="[]",""',), "takes no values"),
        (('zibbo.init_text="a!","a?"',), "in two combinations"),
        ((*(f"{name}={'a' * 24}" for name in ("zibbo.init_text", "quixxly.init_text", "title")),), "too long"),
    ],
)
def test_what_no_word_can_have_is_refused(swept: Sweep, tmp_path: Path, values: tuple[str, ...], told: str) -> None:
    """By a sentence each, once, and no file is written."""
    said = swept(*values)
    assert (said.code, told in said.err) == (2, True), said.err
    lines = [line for line in said.err.splitlines() if line.startswith("  - ")]
    assert len(lines) == len(set(lines)) > 0
    assert not (tmp_path / "sweep").exists()


def test_a_list_with_a_slip_is_told_once(swept: Sweep) -> None:
    """Not by each combination."""
    said = swept("seed=1,2,3", base=BASE.replace("init_text", "init_texd"))
    assert (said.code, said.err.count("init_texd")) == (2, 1), said.err


def test_names_in_files_are_refused(swept: Sweep, tmp_path: Path, pictures: Path) -> None:
    """Captions that are used, templates and files of prompts, which are the same for all combinations."""
    (pictures / "0.txt").write_text("a red ZIBBO", "utf-8")
    (pictures / "1.txt").write_text("zibbonite", "utf-8")
    assert swept("seed=1").code == 0  # no template line has the captions
    captions = BASE.replace("steps = 2", 'steps = 2\ntemplate = "subject_filewords"')
    said = swept("seed=1,2", base=captions)
    assert (said.code, said.err.count('"zibbo" stands in')) == (2, 1), said.err
    assert (str(Path("pictures", "0.txt")) in said.err, "1.txt" in said.err) == (True, False)
    (pictures / "0.txt").write_text("a red [name]", "utf-8")
    assert swept("seed=5", base=captions).code == 0
    (tmp_path / "lines.txt").write_text("a photo of <quixxly>", "utf-8")
    for setting in ("template", "preview_file"):
        said = swept("seed=3", base=f'{setting} = "lines.txt"\n{BASE}')
        assert (said.code, '"quixxly" stands in' in said.err, "lines.txt" in said.err) == (2, True, True), said.err


def test_names_of_folders_and_of_images_are_captions(swept: Sweep, pictures: Path) -> None:
    """As kohya has them, and where an image has no other."""
    (pictures / "2.png").rename(pictures / "2-zibbo_red.png")
    captions = 'template = "subject_filewords"\n'
    assert "2-zibbo_red.png" in swept("seed=1", base=captions + BASE).err
    (pictures / "2-zibbo_red.png").rename(pictures / "2.png")
    pictures.rename(pictures.with_name("3_zibbo"))
    pictures.mkdir()
    pictures.with_name("3_zibbo").rename(pictures / "3_zibbo")
    assert "3_zibbo" in swept("seed=1", base=captions + BASE).err


def test_captions_that_are_not_there_are_told(swept: Sweep, pictures: Path) -> None:
    """The files are written: they may be for another machine."""
    pictures.rename(pictures.with_name("elsewhere"))
    said = swept("seed=1,2", base=f'template = "subject_filewords"\n{BASE}')
    assert (said.code, said.err.count("was not seen")) == (0, 1), said.err
