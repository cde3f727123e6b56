"""What the WebUI's command line learns from the extension."""

from __future__ import annotations

from argparse import ArgumentParser


def preload(parser: ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--tinv-folder",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder open to textual inversion, beside the data folder, when others can reach the page (repeatable)",
    )
