"""`tinv sweep`: one settings file becomes a list of them, whose names tell their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Said
from tinv_ext.cli import sweep
from tinv_ext.cli.given import given_settings
from tinv_ext.cli.main import main
from tinv_ext.core.settings import TrainConfig

Sweep = Callable[..., Said]
BASE = 'name = "zibbo"\nimages = "pictures"\nsteps = 30\nmodel = "toy"\n'


@pytest.fixture
def swept(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The command on base.toml, in an empty folder, with values for --set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.toml").write_text(BASE)

    def call(*values: str, more: tuple[str, ...] = ()) -> Said:
        given = [text for value in values for text in ("--set", value)]
        code = main(["sweep", "base.toml", *given, "--out", "sweep", *more])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def settings(file: str) -> TrainConfig:
    """What `tinv train --config` takes from a file."""
    options = dict.fromkeys(("model", "vae", "embeddings", "cuda_graphs"))
    return TrainConfig.from_dict(given_settings({**options, "precision": "auto", "device": "auto", "config": file}))


def test_rates_seeds_and_vectors_are_multiplied_out(swept: Sweep) -> None:
    """A file each, which says what it is in its name, its word and its settings; the rest is the base's."""
    said = swept("learning_rate=0.005,0.01", "seed=1,2,3", "vectors=1,2")
    files = said.out.split()
    assert (said.code, len(files)) == (0, 12)
    assert files[0] == str(Path("sweep", "zibbo-learning_rate-0.005-seed-1-vectors-1.toml"))
    for file in files:
        config = settings(file)
        assert config.name == Path(file).stem
        assert f"-{config.learning_rate}-seed-{config.seed}-vectors-{config.num_vectors}" in config.name
        assert (config.steps, config.images) == (30, "pictures")
    assert len({settings(file).name for file in files}) == 12
    assert 'model = "toy"' in Path(files[0]).read_text()


def test_a_warm_up_is_judged_by_the_steps_that_there_will_be(swept: Sweep, tmp_path: Path) -> None:
    """Which the images decide where a run is counted in epochs."""
    (tmp_path / "base.toml").write_text(BASE + "lr_warmup_steps = 40\n")
    assert "warm-up" in swept("seed=1,2").err
    (tmp_path / "base.toml").write_text(BASE + "lr_warmup_steps = 40\nmax_train_epochs = 200\n")
    said = swept("seed=1,2")
    assert (said.code, len(said.out.split())) == (0, 2), said.err
    assert settings(said.out.split()[0]).lr_warmup_steps == 40


def test_values_with_commas_and_other_characters(swept: Sweep) -> None:
    """A schedule or a prompt in quotes is one value; what no file name can hold is not in the name."""
    said = swept('learning_rate="0.01:5,0.005",0.02', 'preview_prompt="a [name], \\ \x7f ü",b [name]')
    assert said.code == 0, said.err
    first = settings(said.out.splitlines()[0])
    assert (first.learning_rate, first.preview_prompt) == ("0.01:5,0.005", "a [name], \\ \x7f ü")
    assert first.name == "zibbo-learning_rate-0.01-5-0.005-preview_prompt-a-name-ü"


def test_a_word_in_angle_brackets_and_names_that_are_swept(swept: Sweep, tmp_path: Path) -> None:
    """As diffusers' users have it; a name that is set is taken as it is."""
    (tmp_path / "base.toml").write_text(BASE.replace("zibbo", "<zibbo>"))
    (file,) = swept("seed=7").out.split()
    assert (settings(file).token, Path(file).name) == ("<zibbo-seed-7>", "zibbo-seed-7.toml")
    assert [Path(file).stem for file in swept("placeholder_token=a-b,c-d").out.split()] == ["a-b", "c-d"]


def test_a_preset_takes_its_place_under_the_settings(swept: Sweep) -> None:
    """As by the flag --preset."""
    fast, classic = (settings(file) for file in swept("preset=fast,classic").out.split())
    assert (fast.steps, classic.steps) == (30, 30)
    assert fast.optimizer != classic.optimizer


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("seeed=1,2",), 'Did you mean "seed"?'),
        (("seed",), "NAME=VALUE"),
        (("seed=",), "NAME=VALUE"),
        ((), "--set"),
        (("seed=1,2,1",), "twice"),
        (("learning_rate=0.1", "learn_rate=0.2"), "the same setting"),
        (("seed=1,x",), "'x'"),
        (("output=a,b",), "log directory"),
        (("max_timestep=100", "min_timestep=0,200"), "No timestep is left"),
        (('learning_rate="0.1:20,0.2:5"',), "Steps must grow"),
        (("learning_rate=0.1,1e-1.", "steps=0,-1"), "(steps)"),
        (("name=a/b,c",), "a/b"),
        (("zibbo.lr_factor=1,2",), "no list of words"),
        (("seed=" + ",".join(map(str, range(40))), "steps=" + ",".join(map(str, range(40)))), "1600"),
    ],
)
def test_what_makes_no_sense_is_refused(swept: Sweep, tmp_path: Path, values: tuple[str, ...], told: str) -> None:
    """By sentences, each once, and no file is written."""
    said = swept(*values)
    assert (said.code, told in said.err) == (2, True), said.err
    lines = [line for line in said.err.splitlines() if line.startswith("  - ")]
    assert len(lines) == len(set(lines)) > 0
    assert not (tmp_path / "sweep").exists()


def test_a_base_without_a_name_is_refused(swept: Sweep, tmp_path: Path) -> None:
    """The names of the sweep begin with it."""
    (tmp_path / "base.toml").write_text("steps = 30\n")
    assert "names no embedding" in swept("seed=1,2").err


def test_other_files_are_not_replaced(swept: Sweep, tmp_path: Path) -> None:
    """The same sweep with more values adds its files; with another base it is refused, or told to overwrite."""
    assert swept("seed=1,2").code == 0
    assert swept("seed=1,2,3").code == 0
    (tmp_path / "base.toml").write_text(BASE.replace("30", "40"))
    said = swept("seed=3,4")
    assert (said.code, "zibbo-seed-3.toml" in said.err) == (2, True)
    assert not (tmp_path / "sweep" / "zibbo-seed-4.toml").exists()
    assert swept("seed=3,4", more=("--overwrite",)).code == 0
    assert settings("sweep/zibbo-seed-3.toml").steps == 40


def test_two_combinations_of_one_name_are_refused(swept: Sweep) -> None:
    """Where what differs cannot be in a name."""
    assert "in two combinations" in swept('preview_prompt="[name]!","[name]?"').err
    assert sweep._shown("!?") == "none"
