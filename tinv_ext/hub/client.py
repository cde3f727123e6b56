"""The hub's own client (huggingface_hub), imported only where it is needed, and its errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.messages import Message, message


def client() -> Any:
    """A HfApi. Its token is where the hub's own programs keep it: HF_TOKEN, or `hf auth login`."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError(
            message(
                "hub.no_client",
                "The hub is reached by the package huggingface_hub, which cannot be used here ({reason}). Install it.",
                reason=error,
            )
        ) from error
    return HfApi(library_name="tinv_ext")


def has_token() -> bool:
    """Whether somebody has logged in on this machine."""
    from huggingface_hub import get_token

    return bool(get_token())


@contextmanager
def told_plainly(repository: str) -> Iterator[None]:
    """Errors of the client as ours: InputError for what the person can change, HostError for the network."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise InputError(_not_an_id(repository)) from error
    except errors.LocalEntryNotFoundError as error:  # it is not in the cache, and the hub could not be asked
        raise _unreachable(error) from error
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError) as error:
        raise InputError(
            message(
                "hub.not_found",
                'There is no "{repository}" at the hub, or it is private and you are not logged in (hf auth login).',
                repository=repository,
            )
        ) from error
    except (OSError, RuntimeError, errors.HfHubHTTPError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise _refused(repository, status) if status in (401, 403) else _unreachable(error) from error
    except ValueError as error:  # of the card, which the hub looks at before it takes anything
        raise InputError(
            message(
                "hub.refuses_content",
                'The hub does not take what is uploaded to "{repository}": {reason}',
                repository=repository,
                reason=" ".join(str(error).split()),
            )
        ) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "requests"):
            raise
        raise _unreachable(error) from error  # its network library, which differs between its versions


def _not_an_id(repository: str) -> Message:
    return message(
        "hub.not_an_id",
        '"{repository}" is no name of a repository. Write it as owner/name, in letters, digits, "-", "_" and ".".',
        repository=repository,
    )


def _refused(repository: str, status: int) -> InputError:
    return InputError(
        message(
            "hub.refused",
            'The hub refuses "{repository}" ({status}): the token is not valid or may not write. Make one with the '
            "right to write at huggingface.co/settings/tokens, and log in with it (hf auth login).",
            repository=repository,
            status=status,
        )
    )


def _unreachable(error: Exception) -> HostError:
    return HostError(
        message(
            "hub.unreachable",
            "The hub cannot be reached ({reason}). Check the network, and that HF_HUB_OFFLINE is not set.",
            reason=str(error).strip().split("\n")[0] or type(error).__name__,
        )
    )
