"""The flags that the extension adds to the WebUI's command line."""

from __future__ import annotations

from argparse import ArgumentParser


def preload(parser: ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--tinv-folder",
        action="append",
        default=[],
        metavar="FOLDER",
        help="let textual inversion use this folder too when others can reach the page (repeatable)",
    )
    parser.add_argument(
        "--tinv-no-cuda-graphs",
        action="store_true",
        help="let textual inversion train without CUDA graphs (slower; it does so by itself where they cannot be used)",
    )
