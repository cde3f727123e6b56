"""What the WebUI does with a prompt beside emphasis, and what nobody does offline: named rather than read as letters.

v1.10.1 `modules/prompt_parser.py` (schedules, alternation, AND) and `modules/extra_networks.py` (`<lora:…>`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tinv_ext.core.messages import Message, message

_EXAMPLE = 60  # characters shown of what was found
_KINDS: Mapping[Message, re.Pattern[str]] = {
    message("prompts.schedule", "prompt editing such as [from:to:when]"): re.compile(
        r"(?<!\\)\[[^\[\]]*:\s*[-+]?(\d+\.?\d*|\.\d+)\s*(?<!\\)\]"
    ),
    message("prompts.alternation", "alternation such as [a|b]"): re.compile(r"(?<!\\)\[[^\[\]]*\|[^\[\]]*(?<!\\)\]"),
    message("prompts.and", "AND between prompts"): re.compile(r"\bAND\b"),
    message("prompts.network", "networks such as <lora:name:1>"): re.compile(r"<(lora|lyco|hypernet)\s*:[^<>]*>"),
}


def unsupported(text: str) -> Iterator[Message]:
    """A sentence for each notation of the WebUI in `text` that is not carried out here."""
    for kind, pattern in _KINDS.items():
        match = pattern.search(text)
        if match:
            yield message(
                "prompts.unsupported",
                'The prompt uses {kind} ("{example}"), which only works in the WebUI. Remove it, or write \\ before '
                "brackets that are meant as text.",
                kind=kind,
                example=match.group(0)[:_EXAMPLE],
            )
