"""The texts of the page: its script has no sentences of its own, and asks here for those of its language.

What is sent is the template of each message; the script puts the values in (javascript/tinv/texts.js), by the rules of
`core/messages.py`. So the values that a message is given here only show what it may be given.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinv_ext.core.messages import ENGLISH, Message, message, templates
from tinv_ext.server import live_page_texts
from tinv_ext.server.embeddings_texts import EMBEDDINGS
from tinv_ext.server.prepare_texts import PREPARE
from tinv_ext.server.runs_texts import RUNS
from tinv_ext.server.train_texts import TRAIN

SHARED: Sequence[Message] = (
    message("page.unreachable", "The server does not answer. What is shown here may be out of date."),
    message("page.went_wrong", "Something went wrong: {reason}", reason=""),
    message("page.try_again", "Try again"),
    message("page.undo", "Undo"),
    message("page.reload", "Reload the page"),
    message("page.close", "Close"),
    message("page.interrupted", "Interrupted runs"),
    message(
        "page.was_interrupted",
        'The run "{name}" was interrupted at step {steps} of {total}.',
        name="",
        steps=0,
        total=0,
    ),
    message("page.resume", "Resume"),
    message("page.leave", "Leave it"),
    message("page.run_left", 'The run "{name}" is offered no longer. The tab Runs has it.', name=""),
    message("page.waited", "Runs that were waiting"),
    message("page.runs_waited", "{count} runs were waiting in the queue when the program ended.", count=0),
    message("page.run_waited", 'The run "{name}" was waiting in the queue when the program ended.', name=""),
    message("page.queue_again", "Queue again"),
    message("page.queue_all_again", "Queue all again"),
    message("page.train_like_this", "Train like this"),
    message("page.forget", "Forget"),
    message("page.run_forgotten", 'The run "{name}" is forgotten.', name=""),
)
# a part of the page adds its own here
TEXTS: Sequence[Message] = (*SHARED, *live_page_texts.TEXTS, *EMBEDDINGS, *PREPARE, *RUNS, *TRAIN)


def page_texts(language: str) -> dict[str, str]:
    """The page's texts by id; `{n:image|images}` counts, `{names:, }` joins a list, `{loss:.4f}` rounds."""
    known = {} if language == ENGLISH else templates(language)
    return {text.id: known.get(text.id, text.template) for text in TEXTS}
