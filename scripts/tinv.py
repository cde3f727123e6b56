"""The WebUI runs this file when it starts and whenever its UI is reloaded."""

from modules import script_callbacks

from tinv_ext import webui

script_callbacks.on_ui_tabs(webui.tabs)
script_callbacks.on_app_started(webui.add_routes)
if hasattr(script_callbacks, "on_script_unloaded"):  # since 1.3: when the UI is reloaded
    script_callbacks.on_script_unloaded(webui.forget_tried)
