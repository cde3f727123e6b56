"""The texts of the page's part for preparing images (javascript/tinv/prepare), beside those of its form."""

from __future__ import annotations

from collections.abc import Sequence

from tinv_ext.core.messages import Message, message

PREPARE: Sequence[Message] = (
    message("prepare_page.loading", "Loading …"),
    message("prepare_page.prepare", "Prepare"),
    message("prepare_page.stop", "Stop"),
    message("prepare_page.undo", "Undo the last preparation"),
    message("prepare_page.train", "Train with these images"),
    message("prepare_page.more", "{count} more images are not shown.", count=0),
    message("prepare_page.head_image", "image"),
    message("prepare_page.head_size", "size"),
    message("prepare_page.head_becomes", "becomes"),
    message("prepare_page.head_findings", "findings"),
    message("prepare_page.findings", "{findings:; }", findings=[]),
    message("prepare_page.head_caption", "caption"),
    message("prepare_page.pairs", "Before and after"),
)
