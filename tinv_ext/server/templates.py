"""Prompt templates by name: those of the package, and the user's own in a folder, which go first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.data.captions import NAME, own_templates, read_text, template_path
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.names import name_problems


@dataclass(frozen=True)
class Templates:
    """Templates that can be chosen by name. `folder` holds the user's own; it need not exist yet."""

    folder: Path

    def names(self) -> list[str]:
        """Every name, without ".txt"."""
        return sorted({*own_templates(), *self.own()})

    def own(self) -> list[str]:
        """Those of the user's folder."""
        return sorted(path.stem for path in self.folder.glob("*.txt")) if self.folder.is_dir() else []

    def place(self, given: str) -> str:
        """What a setting means: the user's own file of that name, else the text as it was given."""
        name = given.strip().removesuffix(".txt")
        own = self.folder / f"{name}.txt"
        return str(own) if not name_problems(name) and own.is_file() else given

    def places(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What the settings mean that name a template: those of a run, and those of each table in its list of words."""
        found: dict[str, Any] = {}
        if isinstance(settings.get("template"), str):
            found["template"] = self.place(settings["template"])
        if isinstance(settings.get("words"), list):
            tables = settings["words"]
            found["words"] = [{**one, **self.places(one)} if isinstance(one, Mapping) else one for one in tables]
        return found

    def text(self, name: str) -> str:
        """The lines of a template of `names()`. `InputError` if there is none."""
        if name not in self.names():
            raise InputError(
                message(
                    "server.no_template",
                    'There is no template "{name}". Choose one of {names:, }.',
                    name=name,
                    names=self.names(),
                )
            )
        return read_text(template_path(self.place(name)))

    def delete(self, name: str) -> str:
        """Delete a template of the user's own; returns its lines, so that it can be saved again.

        `InputError` if there is none of this name, or if it is the package's.
        """
        if name not in self.own():
            self.text(name)
            raise InputError(
                message(
                    "server.template_of_package",
                    'The template "{name}" comes with the program. Only your own can be deleted.',
                    name=name,
                )
            )
        path = self.folder / f"{name}.txt"
        text = read_text(path) if path.is_file() else ""
        path.unlink(missing_ok=True)
        return text

    def save(self, name: str, text: str, overwrite: bool = False) -> Path:
        """Save the lines under a name. `InputError` says what is wrong with either, or that the name is taken, also by
        a template of the package, which could be chosen no longer."""
        name = name.removesuffix(".txt")
        path = self.folder / f"{name}.txt"
        problems = list(name_problems(name))
        if not problems and not overwrite and (os.path.lexists(path) or name in own_templates()):
            problems.append(
                message(
                    "server.template_exists",
                    'There is a template "{name}" already. Choose another name, or tick "Replace a template of the '
                    'same name".',
                    name=name,
                )
            )
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            problems.append(
                message(
                    "server.empty_template",
                    'The template is empty. Write one prompt per line, such as "a photo of {name}".',
                    name=NAME,
                )
            )
        if problems:
            raise InputError(problems)
        make_folder(self.folder)
        with atomic_write(path) as file:
            file.write(("\n".join(lines) + "\n").encode("utf-8"))
        return path
