"""Nothing is installed: the extension runs on the WebUI's own packages."""
