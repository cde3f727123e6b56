"""AUTOMATIC1111's WebUI as a host: its loaded model is trained in place and left as it was found.

Whatever is private to the WebUI, or bound to its version, is touched here and in hosts/webui only, with the upstream
file beside it. The facts were read in and tried with AUTOMATIC1111 v1.10.1.
"""
