"""Prompt templates by name: found, read, kept; nothing but files of the folder can be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.messages import refused
from tinv_ext.core.data.captions import own_templates, read_template
from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.server.templates import Templates


def test_the_users_own_go_first(tmp_path: Path) -> None:
    """Under a name of the package as well; others are offered beside it."""
    templates = Templates(tmp_path / "templates")
    assert templates.names() == own_templates()
    assert templates.place("subject") == "subject"
    with refused("server.template_exists", name="subject"):  # it could be chosen no longer
        templates.save("subject", "my [name]")
    templates.save("subject", "my [name]\n\n  and [name] \n", overwrite=True)
    templates.save("画 2", "[name]")
    assert templates.names() == sorted({*own_templates(), "画 2"})
    assert read_template(templates.place("subject.txt")) == ("my [name]", "and [name]")
    assert templates.text("subject") == "my [name]\nand [name]\n"
    assert templates.place("style") == "style"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\\b", "con", "", "x\0", "C:x", "a/b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    """Refused to save and to read, and taken as it is for a path."""
    templates = Templates(tmp_path / "templates")
    with pytest.raises(InputError):
        templates.save(name, "[name]")
    with pytest.raises(InputError):
        templates.text(name)
    assert templates.place(name) == name
    assert not list(tmp_path.rglob("*.txt"))


def test_a_template_that_is_named_as_its_file_is_found_again(tmp_path: Path) -> None:
    """Under its name, with ".txt" and without."""
    templates = Templates(tmp_path / "templates")
    assert templates.save("mine.txt", "[name]") == tmp_path / "templates" / "mine.txt"
    assert "mine" in templates.names()
    for name in ("mine", "mine.txt"):
        assert read_template(templates.place(name)) == ("[name]",)
    with refused("server.template_exists", name="mine"):
        templates.save("mine.txt", "[name]")


def test_only_the_users_own_are_deleted(tmp_path: Path) -> None:
    """What they held is told; one of the package that it hid is there again."""
    templates = Templates(tmp_path / "templates")
    for name, problem in (("subject", "server.template_of_package"), ("../x", "server.no_template")):
        with refused(problem):
            templates.delete(name)
    templates.save("subject", "my [name]", overwrite=True)
    assert templates.own() == ["subject"]
    assert templates.delete("subject") == "my [name]\n"
    assert (templates.own(), templates.names()) == ([], own_templates())
    assert templates.text("subject") != "my [name]\n"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """As it is on a disk that is full or can only be read."""
    (tmp_path / "templates").write_text("a file is in its place")
    with pytest.raises(TinvError):
        Templates(tmp_path / "templates").save("mine", "[name]")


def test_an_empty_template_is_not_kept(tmp_path: Path) -> None:
    """It would be refused at the training."""
    with refused("server.empty_template"):
        Templates(tmp_path).save("mine", " \n ")


@pytest.mark.parametrize("name", ["style", "mine", "hidden link"])
def test_nothing_is_replaced_unasked(tmp_path: Path, name: str) -> None:
    """The WebUI's own templates lie in the same folder; not even a link that leads nowhere is replaced."""
    path = tmp_path / f"{name}.txt"
    if name == "hidden link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_text("as it was")
    with refused("server.template_exists", name=name):
        Templates(tmp_path).save(name, "[name]")
    assert path.is_symlink() or path.read_text() == "as it was"
    Templates(tmp_path).save(name, "[name]", overwrite=True)
    assert Templates(tmp_path).text(name) == "[name]\n"
