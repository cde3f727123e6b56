"""The WebUI runs this file when it starts and whenever its UI is reloaded."""

from threading import Thread

from modules import script_callbacks

from tinv_ext import webui

failed = []


def register() -> None:
    """Tell the WebUI what to call."""
    try:
        script_callbacks.on_ui_tabs(webui.tabs)
        script_callbacks.on_app_started(webui.add_routes)
        if hasattr(script_callbacks, "on_script_unloaded"):  # since 1.3: when the UI is reloaded
            script_callbacks.on_script_unloaded(webui.forget_tried)
    except Exception as error:
        failed.append(error)
        raise


# In a thread, because of its short stack: for each callback the WebUI looks for the file that it comes from, and for
# that reads the source of everything that is being called (modules/script_callbacks.py, `add_callback`: inspect.stack).
thread = Thread(target=register, name="tinv-register")
thread.start()
thread.join()
if failed:
    raise failed[0]
