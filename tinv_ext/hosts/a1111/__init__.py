"""The running WebUI as a host: its loaded model is trained in place and left as it was found.

Everything that is private to the WebUI, or bound to its version, is touched in this folder and nowhere else, with the
upstream file beside it. The facts were read from and tried in AUTOMATIC1111 v1.10.1.
"""
