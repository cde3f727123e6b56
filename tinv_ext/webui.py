"""The extension inside the WebUI: one set of jobs for the process, the tab, and the routes.

`scripts/tinv.py` is run anew whenever the UI is reloaded; this module and its jobs stay. Nothing heavy is imported, and
no model touched, before the WebUI asks for the tab. Names of the WebUI are those of v1.10.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinv_ext.confinement import Confine
    from tinv_ext.hosts.base import Host
    from tinv_ext.jobs import Jobs


@cache
def jobs() -> Jobs:
    """The jobs of this process. Runs lie in the data folder (--data-dir), as everything else that the WebUI writes."""
    from modules import paths

    from tinv_ext.jobs import Jobs
    from tinv_ext.templates import Templates

    return Jobs(_host, Path(paths.data_path), Templates(_templates_folder()))


def _templates_folder() -> Path:
    from modules.shared import cmd_opts

    return Path(cmd_opts.textual_inversion_templates_dir)


def _host() -> Host:
    from tinv_ext.hosts.a1111.host import A1111Host

    return A1111Host()


def tabs() -> list[tuple[Any, str, str]]:
    """For `script_callbacks.on_ui_tabs`: the page, its title and its id."""
    from modules.shared import cmd_opts

    from tinv_ext.hosts.a1111.drawing import samplers, schedulers
    from tinv_ext.ui import page, tab

    folder = Path(cmd_opts.embeddings_dir)
    around = tab.Around({"preview_sampler": samplers(), "preview_scheduler": ["", *schedulers()]}, _txt2img)
    return [(page.build(jobs(), folder, _host, lambda request: confine(), around), tab.TITLE, tab.ID)]


_txt2img: dict[str, Any] = {}  # the controls of that tab as they are now, by elem_id


def after_component(component: Any, **about: Any) -> None:
    """For `script_callbacks.on_after_component`: remembers the controls of txt2img, whose values previews can take."""
    name = str(about.get("elem_id") or "")
    if name.startswith("txt2img_"):
        _txt2img[name] = component


def add_routes(_: Any, app: Any) -> None:
    """For `script_callbacks.on_app_started`. What changes anything is there only where the WebUI's own API is."""
    from modules.shared import cmd_opts

    from tinv_ext import api

    api.add_routes(app, jobs(), bool(cmd_opts.api or cmd_opts.nowebui), credentials(cmd_opts.api_auth), confine())


def credentials(api_auth: str | None) -> Mapping[str, str] | None:
    """Names and passwords of --api-auth ("name:password,name:password", as modules/api/api.py reads it), if any."""
    if not api_auth:
        return None
    pairs = (pair.partition(":") for pair in api_auth.split(","))
    return {name: password for name, _, password in pairs}


def confine() -> Confine | None:
    """Where others than the owner can reach the page, only the data folder and those of --tinv-folder are open.

    modules/shared_cmd_options.py, `disable_extension_access`: the page is not local, and the owner has not said that
    this is all right (--enable-insecure-extension-access).
    """
    from modules import paths
    from modules.shared import cmd_opts

    from tinv_ext.confinement import confine_to

    if not cmd_opts.disable_extension_access:
        return None
    return confine_to([Path(paths.data_path), _templates_folder(), *map(Path, cmd_opts.tinv_folder)])
