"""The extension inside the WebUI: one job queue for the process, the tab, and the routes.

`scripts/tinv.py` is run again whenever the UI is reloaded; this module and its queue stay. Nothing heavy is imported,
and no model touched, before the WebUI asks for the tab. Names of the WebUI are those of v1.10.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.server.late import late, was_made

if TYPE_CHECKING:
    from tinv_ext.core.messages import Message
    from tinv_ext.hosts.base import Host
    from tinv_ext.library.library import Library
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.preparations import Preparations


@cache
def job_queue() -> JobQueue:
    """The queue of this process, made when it is first used; whatever ends the process lets it save first."""
    queue: JobQueue = late(_job_queue)
    _save_at_the_end(queue)
    return queue


def _job_queue() -> JobQueue:
    """Runs lie in the data folder (--data-dir), as everything else that the WebUI writes."""
    from modules import paths

    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.templates import Templates

    return JobQueue(_host, Path(paths.data_path), Templates(_templates_folder()), _is_loaded)


@cache
def library() -> Library:
    """The finished embeddings, as this process knows them, made when they are first used."""
    return late(_library)  # type: ignore[no-any-return]


def _library() -> Library:
    from modules.shared import cmd_opts

    from tinv_ext.library.library import Library

    return Library(Path(cmd_opts.embeddings_dir), _host, lambda: job_queue().logs())


@cache
def preparations() -> Preparations:
    """Those of this process, made when they are first used."""
    return late(_preparations)  # type: ignore[no-any-return]


def _preparations() -> Preparations:
    from tinv_ext.hosts.webui.interrogators import captioners
    from tinv_ext.server.preparations import Preparations

    return Preparations(captioners)


@cache
def page_token() -> str:
    """What the page shows to be let in, of this process; see `server/routes/access.py`."""
    import secrets

    return secrets.token_urlsafe()


SECONDS_TO_SAVE = 10.0
"""How long the end of the WebUI may wait for a run to finish its step and save."""


def _save_at_the_end(queue: JobQueue) -> None:
    """Have the running job stopped and saved before the process ends, by itself or by Ctrl-C or a logout.

    modules/initialize_util.py, `configure_sigint_handler`: the WebUI ends by os._exit on Ctrl-C, which runs nothing
    that was registered for the exit; so its handler is called after ours. A kill leaves the state that was saved last.
    """
    import atexit
    import signal
    import threading

    atexit.register(_save, queue)
    _save_before_restart(queue)
    if threading.current_thread() is not threading.main_thread():
        return  # only there signals can be listened to
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        before = signal.getsignal(number) if number else signal.SIG_IGN
        if number and before not in (signal.SIG_IGN, None):
            signal.signal(number, _saving_first(queue, before))


def _save(queue: JobQueue) -> None:
    if was_made(queue):
        queue.end(SECONDS_TO_SAVE)


def _save_before_restart(queue: JobQueue) -> None:
    """The same where the page's "Apply and restart UI" or the API's server-kill and server-restart end the process.

    modules/restart.py: `stop_program`, which `restart_program` ends with, calls os._exit without a signal.
    """
    try:
        from modules import restart

        stop_program = restart.stop_program
    except (ImportError, AttributeError):  # versions before 1.3 only reload the page
        return

    def save_and_stop() -> None:
        restart.stop_program = stop_program  # a second wish does not wait
        try:
            _save(queue)
        finally:
            stop_program()

    restart.stop_program = save_and_stop


def _saving_first(queue: JobQueue, before: Any) -> Any:
    """A signal handler that saves, and then does what `before`, the handler of the WebUI or the system, does."""
    import signal

    def handle(number: int, frame: Any) -> None:
        signal.signal(number, before)  # a second one does not wait
        _save(queue)
        signal.raise_signal(number)

    return handle


def _templates_folder() -> Path:
    """A1111's, Forge's and reForge's --textual-inversion-templates-dir; Forge Neo and Classic have no such option."""
    from modules import paths
    from modules.shared import cmd_opts

    given = getattr(cmd_opts, "textual_inversion_templates_dir", None)
    return Path(given) if given else Path(paths.data_path) / "textual_inversion_templates"


def _host() -> Host:
    """The program as it is now, by what it is. HostError where it cannot be trained in."""
    from tinv_ext.core.errors import HostError
    from tinv_ext.core.messages import message
    from tinv_ext.hosts.webui.program import FORGE, REFORGE, SDNEXT, program

    here = program()
    if here == SDNEXT:
        raise HostError(
            message(
                "webui.not_in_sdnext",
                "Training is not possible in SD.Next, whose models are diffusers pipelines. Train in AUTOMATIC1111's "
                "WebUI, Forge, Forge Neo or reForge, or on the command line (tinv train); SD.Next can use the finished "
                "embeddings.",
            )
        )
    if here == FORGE:
        from tinv_ext.hosts.forge.host import ForgeHost

        return ForgeHost()
    from tinv_ext.hosts.a1111.host import A1111Host

    # each imports what the other's program does not have
    if here == REFORGE:
        from tinv_ext.hosts.a1111 import reforge

        return A1111Host(reforge)
    from tinv_ext.hosts.a1111 import original

    return A1111Host(original)


def _is_loaded() -> bool:
    """Whether there is a model without loading one, which v1.10.1 modules/shared_items.py does for who asks for it."""
    from modules import sd_models

    data = getattr(sd_models, "model_data", None)
    return data is None or getattr(data, "sd_model", None) is not None


def forget_tried() -> None:
    """For `script_callbacks.on_script_unloaded`: take words without a file out of the program's prompts.

    In a thread, as a generation or a run may have the model, and the page need not wait for it.
    """
    import threading

    if was_made(job_queue()):
        threading.Thread(target=job_queue().tried.forget_all, name="tinv-forget", daemon=True).start()


def tabs() -> list[tuple[Any, str, str]]:
    """For `script_callbacks.on_ui_tabs`: the page, its title and its id."""
    from modules import shared

    from tinv_ext.core.messages import language_of
    from tinv_ext.ui import page
    from tinv_ext.ui.context import PageContext

    context = PageContext(language_of(getattr(shared.opts, "localization", None)), page_token())
    return [(page.Page(context), page.TITLE, page.ID)]


def add_routes(_: Any, app: Any) -> None:
    """For `script_callbacks.on_app_started`. Programs may change something only where the WebUI's own API is."""
    from modules.shared import cmd_opts

    from tinv_ext.server import api

    programs = bool(cmd_opts.api or cmd_opts.nowebui)
    login = credentials(cmd_opts.api_auth)
    origin, token = allowed_origin(), page_token()
    api.add_routes(
        app,
        job_queue(),
        programs,
        login,
        _check_paths,
        origin,
        token,
        library=library(),
        preparations=preparations(),
    )


def credentials(api_auth: str | None) -> Mapping[str, str] | None:
    """Names and passwords of --api-auth ("name:password,name:password", as modules/api/api.py reads it), if any."""
    if not api_auth:
        return None
    pairs = (pair.partition(":") for pair in api_auth.split(","))
    return {name: password for name, _, password in pairs}


def allowed_origin() -> Callable[[str], bool] | None:
    """The pages of others that the owner trusts (modules/initialize_util.py, `configure_cors_middleware`), if any."""
    import re

    from modules.shared import cmd_opts

    names = {
        name.strip().rstrip("/").lower() for name in (cmd_opts.cors_allow_origins or "").split(",") if name.strip()
    }
    pattern = cmd_opts.cors_allow_origins_regex
    if not names and not pattern:
        return None
    return lambda origin: bool({"*", origin.lower()} & names or (pattern and re.fullmatch(pattern, origin)))


def _check_paths(values: Mapping[str, Any]) -> list[Message]:
    """As `allowed_paths` does, which knows all settings: it is not made before somebody names a path."""
    return allowed_paths()(values)


def allowed_paths() -> PathCheck:
    """What page and routes may open: what is local and what --tinv-folder names.

    Where others than the owner can reach the page, only the data folder and those of --tinv-folder are open.

    modules/shared_cmd_options.py, `disable_extension_access`: the page is not local, and the owner has not said that
    this is all right (--enable-insecure-extension-access).
    """
    from modules import paths
    from modules.shared import cmd_opts

    from tinv_ext.server.allowed_paths import allow_only, local_only

    opened = [Path(folder) for folder in cmd_opts.tinv_folder]
    if not cmd_opts.disable_extension_access:
        return local_only(opened)
    return allow_only([Path(paths.data_path), _templates_folder(), *opened])
