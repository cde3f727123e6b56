"""Hostile names and paths at every entry: one validator refuses them with a sentence, and nothing is touched."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fake_host import FakeHost
from tests.hostile.hostile_texts import NAMES, PATHS
from tests.messages import ids, said
from tests.run.test_runner import files
from tinv_ext.cli import main as cli
from tinv_ext.cli.failures import BAD_INPUT
from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.names import name_problems
from tinv_ext.core.settings import ALIASES
from tinv_ext.run import preflight, run_folder, runner
from tinv_ext.server.allowed_paths import PATHS as PLACES
from tinv_ext.server.allowed_paths import allow_only

IMPOSSIBLE = ("NUL byte", "over-long", "over-long parts", "half a pair")  # no system can have such a path


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder that is open to strangers, with a link out of it, and one beside it that is not."""
    (tmp_path / "open").mkdir()
    (tmp_path / "outside" / "below").mkdir(parents=True)
    (tmp_path / "open" / "link").symlink_to(tmp_path / "outside")
    for index in range(2):
        Image.new("RGB", (64, 64), (90 * index, 9, 9)).save(tmp_path / "outside" / f"{index}.png")
    return tmp_path


@pytest.fixture
def settings(house: Path) -> dict[str, Any]:
    """Good ones."""
    given = {"name": "zworble-h", "images": str(house / "outside"), "output": str(house / "runs")}
    return {**given, "steps": 1, "width": 64, "height": 64, "evaluate_every": 0}


def path(text: str, house: Path) -> str:
    """A text of the corpus with its folders filled in."""
    return text.replace("{open}", str(house / "open")).replace("{here}", str(house))


@pytest.mark.parametrize("kind", NAMES)
def test_no_hostile_name_is_taken(
    settings: dict[str, Any],
    house: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the engine, from the command line, or for one of its tools; with the sentences of the one validator."""
    host, name, before = FakeHost(house / "embeddings"), NAMES[kind], files(house)
    sentences = name_problems(name)
    assert sentences
    with pytest.raises(InputError) as told:
        runner.run(preflight.parse_settings({**settings, "name": name}, host), host)
    assert [problem for problem in told.value.problems if problem.endswith(tuple(sentences))]
    monkeypatch.setattr(cli, "host_of", lambda *given: host)
    monkeypatch.chdir(house)
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in {**settings, "name": name}.items()]
    assert cli.main(["train", *flags]) == BAD_INPUT
    printed, sentence = (text.replace("\\", "") for text in (capsys.readouterr().err, sentences[0]))
    assert sentence.encode("ascii", "replace")[:25] in printed.encode("ascii", "replace")  # escaped once more there
    assert files(house) == before


@pytest.mark.parametrize("place", [*PLACES, *(alias for alias, name in ALIASES.items() if name in PLACES)])
@pytest.mark.parametrize("kind", PATHS)
def test_no_path_leads_a_stranger_out(settings: dict[str, Any], house: Path, kind: str, place: str) -> None:
    """Refused before anything is looked at; the owner is told at least where no system can have such a path."""
    given = path(PATHS[kind], house)
    problems = allow_only([house / "open"])({place: given})
    assert len(problems) == 1
    assert said(problems, "server.path_not_allowed", name=ALIASES.get(place, place))
    if kind in IMPOSSIBLE:
        others = {name: value for name, value in settings.items() if name != ALIASES.get(place, place)}
        with pytest.raises(InputError) as told:
            preflight.parse_settings({**others, place: given}, FakeHost(house / "embeddings"))
        reasons = [text.values["problem"] for text in told.value.problems if ids([text]) == ["settings.invalid"]]
        assert {"paths.too_long", "paths.nul", "paths.half_character"} & set(ids(reasons))
        with pytest.raises(InputError):
            run_folder.find_runs(Path(given))


@pytest.mark.parametrize("place", ["images", "init_embedding", "template"])
@pytest.mark.parametrize("kind", PATHS)
def test_no_path_makes_the_program_stumble(settings: dict[str, Any], house: Path, kind: str, place: str) -> None:
    """The owner may name any place: it is read, or a sentence says why not."""
    host = FakeHost(house / "embeddings")
    before = files(house)
    with suppress(TinvError):
        preflight.prepare_run(preflight.parse_settings({**settings, place: path(PATHS[kind], house)}, host), host)
    assert files(house) == before


def test_what_lies_inside_is_let_in(house: Path) -> None:
    """Also by a way around, in quotes, and not there yet."""
    (house / "open" / "in").mkdir()
    confine = allow_only([house / "open"])
    for given in ("{open}", "{open}/in", "{open}/in/../in", '"{open}/in"', "{open}/not yet", "{here}/outside/../open"):
        assert confine({"images": path(given, house)}) == []


def test_a_run_on_images_whose_names_are_not_utf8_is_a_run_and_can_be_resumed(
    settings: dict[str, Any], house: Path
) -> None:
    """As a zip of an old Windows leaves them on Linux; with the file name as the caption, and with a caption beside."""
    for index, name in enumerate((b"caf\xe9", b"stra\xdfe")):
        (house / "outside" / f"{index}.png").rename(house / "outside" / os.fsdecode(name + b".png"))
    (house / "outside" / os.fsdecode(b"caf\xe9.txt")).write_text("a cup")
    host = FakeHost(house / "embeddings")
    asked = {**settings, "template": "subject_filewords", "save_state_every": 1, "latent_sampling": "once"}
    prepared = preflight.prepare_run(preflight.parse_settings(asked, host), host)
    assert sorted(prepared.subsets[0].texts) == ["a cup", "strae"]
    status = runner.run(preflight.parse_settings(asked, host), host)
    assert status.status == "finished", status
    (run,) = run_folder.find_runs(house / "runs")
    status = runner.resume(run.path, host, {"steps": 2})
    assert (status.status, status.steps) == ("finished", 2)
