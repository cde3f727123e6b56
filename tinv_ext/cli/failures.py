"""What the command line says when something goes wrong, and the exit codes.

0 done, 1 a bug of ours (with its traceback), 2 bad input: nothing was started, 3 stopped on request, what there was to
save is saved, 4 failed. They mean the same for every command.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Iterator

from tinv_ext import __version__
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.core.errors import FormatError, InputError, TinvError
from tinv_ext.core.messages import message

DONE, BUG, BAD_INPUT, STOPPED, FAILED = 0, 1, 2, 3, 4
_PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "PIL", "numpy", "gradio")


def explain(error: Exception) -> int:
    """Say what went wrong; the exit code for it."""
    if isinstance(error, (InputError, FormatError)):
        count = len(error.problems)
        _tell(message("cli.problems", "tinv: {count:problem|problems}; nothing was started.", count=count))
        for problem in error.problems:
            _tell(f"  - {say(problem)}")
        return BAD_INPUT
    if isinstance(error, TinvError):
        _failed("\n".join(say(problem) for problem in error.problems))
        return FAILED
    if _out_of_memory(error):
        told = message(
            "cli.out_of_memory",
            "Memory ran out. Close other programs, choose a smaller size (--width, --height) or a smaller model, or "
            "use --device cpu. ({reason})",
            reason=(str(error).splitlines() or [type(error).__name__])[0],
        )
        _failed(told)
        return FAILED
    if isinstance(error, OSError):
        _failed(_refused(error))
        return FAILED
    traceback.print_exception(type(error), error, error.__traceback__)
    _tell(
        message(
            "cli.bug",
            "tinv: this is a bug of tinv. Please report it {place}, with all the lines above and: {versions:, }.",
            place=_place_to_report(),
            versions=list(_versions()),
        )
    )
    return BUG


def refuse_lost_folder() -> None:
    """`InputError` where the current folder is deleted: of libraries that look for it, some end the program then."""
    try:
        os.getcwd()
    except OSError:
        raise InputError(
            message(
                "cli.lost_folder",
                "The current folder no longer exists, so tinv cannot work in it. Change to another one (cd) and try "
                "again.",
            )
        ) from None


def _failed(reason: str) -> None:
    _tell(message("cli.failed", "tinv: failed. {reason}", reason=reason))


def _tell(text: str) -> None:
    show(say(text), sys.stderr)


def _refused(error: OSError) -> str:
    """What the system refuses: a place that cannot be, a name that is too long, a right that is missing …"""
    reason = error.strerror or str(error)
    if error.filename is None:
        return message("cli.system_refused", "The system refuses it: {reason}.", reason=reason)
    path = str(error.filename)
    shown = path if len(path) <= 200 else f"{path[:200]}…"
    return message(
        "cli.path_refused",
        '"{path}" cannot be used: {reason}. Check the path, the permissions and the free disk space.',
        path=shown,
        reason=reason,
    )


def _out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:  # else it would be imported for this alone
        return isinstance(error, MemoryError)
    from tinv_ext.core.training.fallbacks import is_out_of_memory

    return is_out_of_memory(error)


def _place_to_report() -> str:
    """The address in the package's metadata, if it has one."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        urls = metadata("tinv_ext").get_all("Project-URL") or []
    except PackageNotFoundError:
        urls = []
    addresses = dict(url.split(", ", 1) for url in urls if ", " in url)
    if "Issues" in addresses:
        return message("cli.report_at", "at {address}", address=addresses["Issues"])
    return message("cli.report_where", "as an issue in the repository that you have tinv from")


def _versions() -> Iterator[str]:
    yield f"tinv {__version__}"
    yield f"Python {platform.python_version()}"
    for name in _PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version:
            yield f"{name} {version}"
    yield platform.platform()
