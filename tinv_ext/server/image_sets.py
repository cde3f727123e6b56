"""The training images as the page shows them: those that a run of its settings would have, and folders for new ones."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tinv_ext.core.atomic import make_folder
from tinv_ext.core.data.borders import share_background, shared_colors
from tinv_ext.core.data.caption_files import CaptionFiles, ImageCaption
from tinv_ext.core.data.captions import FILEWORDS, read_template
from tinv_ext.core.data.image_folder import NOT_SHOWN, folders_below
from tinv_ext.core.data.plain_color import on_background
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.backgrounds import may_name
from tinv_ext.core.preflight.sources import Source, sources_of
from tinv_ext.core.preflight.words import subject_named
from tinv_ext.core.settings import TrainConfig
from tinv_ext.prepare.edits import last_edit
from tinv_ext.prepare.gallery import Gallery, SeenImage, image_files, stamp_of
from tinv_ext.prepare.painted_masks import mask_beside
from tinv_ext.prepare.undo import records
from tinv_ext.prepare.uploads import file_name

FOLDER = "textual_inversion_images"
"""Below the data folder: where dropped images go, each set in a folder of its own."""
_KNOWN = 50_000  # images that have an id


@dataclass(frozen=True)
class ShownImage:
    """One image with what is known of it by now: `seen` is None until it was looked at, `mask` the mask's version."""

    id: str
    name: str
    version: str
    seen: SeenImage | None
    caption: ImageCaption
    findings: Mapping[str, str]
    mask: str = ""


@dataclass(frozen=True)
class ShownImages:
    """Some of a run's images, how many there are and how many were looked at.

    Of these, `remarkable` cannot be used or have a finding. `below` are sub-folders with images that are not used.
    `uses_captions`: whether prompts are made of them. `same_background`: whether they look alike at their borders, once
    all were looked at; `background` is what prompts will say of it, where they do. `edited` is the folder whose last
    change by hand can be undone, and `edit` that change; both empty where there is none.
    """

    images: Sequence[ShownImage]
    total: int
    looked_at: int
    remarkable: int
    below: Sequence[str]
    uses_captions: bool
    same_background: bool
    background: Sequence[str]
    folder: str
    edited: str
    edit: str


class ImageSets:
    """Images by ids, which are given to whoever may see them; `home` is the data folder.

    `odd` tells of images that runs have found not to go with the others, by file.
    """

    def __init__(self, home: Path, odd: Callable[[], Mapping[Path, Message]] = dict) -> None:
        self.home = (home / FOLDER).absolute()
        self._odd = odd
        self.gallery = Gallery()
        self.editing = threading.Lock()
        self._key = secrets.token_bytes(16)
        self._known: OrderedDict[str, tuple[Path, Path]] = OrderedDict()
        self._lock = threading.Lock()

    def new_folder(self, name: str) -> Path:
        """An empty folder for images, called as what they came from, or after the time."""
        stem = file_name(name).rpartition(".")[0] or file_name(name) if name.strip() else ""
        stem = stem or f"{datetime.now():%Y-%m-%d %H.%M.%S}"
        folder, number = self.home / stem, 2
        while folder.exists():
            folder, number = self.home / f"{stem} ({number})", number + 1
        make_folder(folder)
        return folder

    def place(self, id: str) -> tuple[Path, Path]:  # noqa: A002
        """Folder and file of an image that was shown. `InputError` if it was not."""
        with self._lock:
            found = self._known.get(id)
        if found is None or not found[1].is_file():
            raise InputError(message("server.no_image", "This image is not there any more. Reload the images."))
        return found

    def shown(
        self,
        config: TrainConfig,
        allow: Callable[[TrainConfig], None],
        first: int = 0,
        count: int = 100,
        only_remarkable: bool = False,
    ) -> ShownImages:
        """`count` images of a run of these settings, from the one with number `first`. `InputError` if there are none.

        All of them are looked at in the background. Width and height are to be set. `only_remarkable` passes over those
        that nothing is to be said of by now.
        """
        found = sources_of(config, allow)
        sources = [source for source in found.sources if not source.is_reg]
        placed = [(source, path) for source in sources for path in _files(source)]
        paths = [path for _, path in placed]
        self.gallery.look_at(paths, config.fit_rules, (config.width, config.height))
        looks = list(self.gallery.seen(paths))
        looked_at = sum(one is not None for one in looks)  # what is told below is at least that
        base = path_given(sources[0].config.images)
        about = self.gallery.findings(base, paths) if all(base in path.parents for path in paths) else {}
        for path, told in self._odd().items():
            about.setdefault(path, {})["odd"] = told
        noted = {path for path, one in zip(paths, looks) if about.get(path) or (one and one.reason)}
        some = [one for one in placed if not only_remarkable or one[1] in noted][first : first + count]
        captions = {source.name: _captions(source.config) for source in sources}
        uses = any(_uses_captions(source.config) for source in sources)
        seen = self.gallery.seen(path for _, path in some)
        images = [
            self._image(source, path, one, captions[source.name], about.get(path, {}), uses)
            for (source, path), one in zip(some, seen)
        ]
        folder, edit = _last_edit([path_given(source.config.images) for source in sources])
        below = () if config.recursive else _not_used(base, found.sources)
        scanned = [one.image for one in looks if one and one.image]
        borders = [image.border for image in scanned]
        whole = looked_at == len(paths)
        same, named = whole and share_background(borders), whole and may_name(config)
        colors = shared_colors(borders, [image.background for image in scanned]) if named else []
        said = list(dict.fromkeys(filter(None, map(on_background, colors))))
        return ShownImages(images, len(paths), looked_at, len(noted), below, uses, same, said, str(base), folder, edit)

    def _image(
        self,
        source: Source,
        path: Path,
        seen: SeenImage | None,
        captions: CaptionFiles,
        findings: Mapping[str, str],
        uses_captions: bool,
    ) -> ShownImage:
        folder, told = path_given(source.config.images), dict(findings)
        try:
            caption = captions.of(path)
        except InputError as error:
            caption = ImageCaption("")
            told["caption"] = error.problems[0]
        named = subject_named(caption.text, source.config.init_text) if uses_captions else set()
        if caption.source and named:
            told["subject"] = message(
                "server.caption_names_subject",
                "the caption names {words:, }, which the word is to learn",
                words=sorted(f'"{word}"' for word in named),
            )
        key = hashlib.sha256(self._key + str(path).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        with self._lock:
            self._known[key] = (folder, path)
            self._known.move_to_end(key)
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        mask = mask_beside(path)
        version = _version(mask) if mask else ""
        return ShownImage(key, path.relative_to(folder).as_posix(), _version(path), seen, caption, told, version)


def _version(path: Path) -> str:
    return "-".join(f"{part:x}" for part in stamp_of(path))


def _files(source: Source) -> list[Path]:
    folder = path_given(source.config.images)
    masks = path_given(source.config.mask_folder) if source.config.mask_folder.strip() else None
    inside = masks is not None and folder in masks.parents
    files = image_files(folder, source.config.recursive)
    return [path for path in files if not path.stem.endswith(NOT_SHOWN) and not (inside and masks in path.parents)]


def _not_used(folder: Path, sources: Sequence[Source]) -> tuple[str, ...]:
    """Sub-folders with images that are of no source, and are not its masks."""
    given = (path for source in sources for path in (source.config.images, source.config.mask_folder))
    used = [path_given(path) for path in given if path.strip()]
    return tuple(
        name for name in folders_below(folder) if not any(folder / name in (path, *path.parents) for path in used)
    )


def _captions(config: TrainConfig) -> CaptionFiles:
    regex = ""
    with suppress(re.error):  # told with the setting
        re.compile(config.caption_regex)
        regex = config.caption_regex
    folder = path_given(config.images)
    return CaptionFiles(folder, regex, config.caption_join, config.class_tokens, config.caption_extension)


def _uses_captions(config: TrainConfig) -> bool:
    try:
        return any(FILEWORDS in line for line in read_template(config.template))
    except InputError:  # told when the run is checked
        return False


def _last_edit(folders: Sequence[Path]) -> tuple[str, str]:
    """The folder that was changed by hand last, and how."""
    edits = [(record.when, str(folder)) for folder in folders for record in records(folder)[:1] if record.edit]
    if not edits:
        return "", ""
    folder = max(edits)[1]
    return folder, last_edit(Path(folder))
