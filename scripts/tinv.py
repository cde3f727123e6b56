"""The WebUI runs this file at its start and at every reload of its UI."""

from modules import script_callbacks

from tinv_ext import webui

script_callbacks.on_ui_tabs(webui.tabs)
script_callbacks.on_app_started(webui.add_routes)
