"""Settings files that are handed to the page: what they mean for a run here."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from tinv_ext.core.atomic import atomic_write, make_folder
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.adopt import adopt
from tinv_ext.core.settings.fewest import fewest
from tinv_ext.core.settings.settings_file import settings_in
from tinv_ext.prepare.uploads import file_name

FOLDER = "textual_inversion_settings"
"""Below the data folder: where those are kept that name folders of images, as a run reads them again."""
MAX_FILE = 1 << 20  # bytes


def settings_sent(data: bytes, name: str, home: Path | None) -> tuple[dict[str, Any], list[Message]]:
    """The settings in a file that was called `name`, as few as say it, and what of it is not used.

    One that is a dataset config, too, is kept below `home`, if there is one. `InputError` with every problem in it.
    """
    file, notices = Path(file_name(name or "settings.toml")), list[Message]()
    adopted = adopt(settings_in(data, file, notices.append))
    notices += adopted.notices
    config, problems = TrainConfig.read(adopted.settings)
    if not adopted.settings:
        problems = [message("server.file_without_settings", "It has no settings for a training.")]
    if problems or adopted.problems:
        refused = message("server.file_not_taken", 'The settings file "{file}" was not taken.', file=file)
        raise InputError([refused, *adopted.problems, *problems])
    unused = [option for option, value in adopted.command.items() if _is_said(value)]
    if unused:
        notices.append(
            message(
                "server.for_the_command_line",
                "Not used: {names:, }. That is for the command line; here the model that the program has loaded is "
                "trained, as it is loaded.",
                names=unused,
            )
        )
    settings = fewest(config)
    if home and settings.get("dataset_config") == str(file):
        settings["dataset_config"] = str(_kept(data, home / FOLDER / file.name))
    return settings, notices


def _is_said(value: Any) -> bool:
    return str(value).strip().lower() not in ("", "none", "auto", "false")


def _kept(data: bytes, path: Path) -> Path:
    """The file under its own name, or with a number where another has it. One that is there already is not repeated."""
    make_folder(path.parent)
    for number in count(1):
        place = path if number == 1 else path.with_name(f"{path.stem} ({number}){path.suffix}")
        if not place.exists():
            with atomic_write(place) as written:
                written.write(data)
            return place
        if place.read_bytes() == data:
            return place
    raise AssertionError("numbers do not end")
