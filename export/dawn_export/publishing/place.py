"""Whether an artifact can go to a repository of the Hub, found out before there is one to send.

Asked are the token, whom it belongs to, whether it may write there, and what is there already. A
token of fine grain does not tell whether it may make a repository: that is the one thing that only
the upload finds out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from dawn_export.errors import PushError
from dawn_export.sources.hub import no_bars, notes, summary
from dawn_models.files import LICENCE_FILES
from dawn_runtime import __version__
from dawn_runtime.artifact import read_manifest
from dawn_runtime.checks import shown
from dawn_runtime.errors import ArtifactError, DawnError, OptionError
from dawn_runtime.manifest import CARD_FILE, MANIFEST_FILE
from dawn_runtime.native import importing

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)

_NOBODYS: Final = (CARD_FILE, ".gitattributes", *LICENCE_FILES)
"""What a repository may hold that is made for an artifact and has none yet."""

_IGNORES: Final = ".gitignore"
"""What makes the Hub leave files out of a commit, and say nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A repository that an artifact can go to.

    Attributes:
        repository: `OWNER/NAME`.
        commit: What is its newest; None if there is no such repository yet.
        private: Whether others do not see it, or will not.
        listed: Files of the artifact that it holds: what the manifest there lists.
    """

    repository: str
    commit: str | None
    private: bool
    listed: tuple[str, ...] = ()


def hub() -> HfApi:
    """Returns the client of the Hub.

    Raises:
        DependencyError: huggingface_hub is not installed.
    """
    with importing("--push needs", "huggingface_hub", "pip install 'dawn-edge[export]'"):
        from huggingface_hub import HfApi
    return HfApi(library_name="dawn-edge", library_version=__version__)


def check_name(repository: object, given_as: str = "repository") -> str:
    """Returns a name of a repository.

    Args:
        repository: What was given.
        given_as: What it is called there, for the message.

    Raises:
        OptionError: It is none.
    """
    if not isinstance(repository, str) or not _NAME.fullmatch(repository):
        raise OptionError(
            f"{given_as}: got {shown(repository)}, expected OWNER/NAME, first your name on the Hub "
            "or that of an organisation"
        )
    return repository


def find_place(repository: str, *, public: bool = False) -> Place:
    """Asks the Hub whether an artifact can go to a repository; changes nothing there.

    Args:
        repository: `OWNER/NAME`.
        public: Whether everybody shall see it, if it is made anew.

    Raises:
        OptionError: That is no name, or a private repository shall be public.
        PushError: There is no token, no way to the Hub, no permission, or something else is there.
        DependencyError: huggingface_hub is not installed.
    """
    check_name(repository)
    api = hub()
    with notes(shown=False), explained(repository):
        _check_user(api, repository)
        return _looked_at(api, repository, public=public)


@contextmanager
def explained(repository: str, again: str = "try again later") -> Iterator[None]:
    """The one place where the errors of talking to the Hub become ours.

    Args:
        repository: What it is about.
        again: What to do where nothing better is known.
    """
    try:
        yield
    except DawnError:
        raise
    except Exception as error:  # what its HTTP library raises changes from version to version
        raise PushError(f"{repository}: {_advice(error, again)}") from error


def _check_user(api: HfApi, repository: str) -> None:
    """Refuses a token that there is none of, or that certainly may not write there."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise PushError(f"{repository}: HF_HUB_OFFLINE keeps us from the Hub; unset it")
    if get_token() is None:
        raise PushError(f"{repository}: no token; {_tokens()}")
    user: dict[str, Any] = api.whoami()
    role = ((user.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise PushError(f"{repository}: the token may only read; {_tokens()}")
    owner, known = repository.partition("/")[0], [user.get("name")]
    known += [one.get("name") for one in user.get("orgs") or ()]
    if owner.lower() not in [str(one).lower() for one in known]:
        raise PushError(
            f"{repository}: the token is of {user.get('name')!r:.80}, who is not {owner!r} and in "
            "no organisation of that name; name a repository of your own, or log in as somebody "
            "who is"
        )


def _looked_at(api: HfApi, repository: str, *, public: bool) -> Place:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.model_info(repository)
    except RepositoryNotFoundError:
        return Place(repository, None, private=not public)
    api.auth_check(repository, write=True)
    private = bool(found.private)
    if public and private:
        raise OptionError(
            f"--public: {repository} is there already and is private; change that in its settings, "
            "or leave --public away"
        )
    names = {one.rfilename for one in found.siblings or ()}
    return Place(repository, found.sha, private, _listed(api, repository, found.sha, names))


def _listed(api: HfApi, repository: str, commit: str | None, names: set[str]) -> tuple[str, ...]:
    """Files of the artifact in a repository, which has nothing else or an artifact."""
    foreign = sorted(names - set(_NOBODYS))
    if _IGNORES in names:
        raise PushError(
            f"{repository}: holds {_IGNORES}, which can keep files of an artifact out; remove it "
            "there first"
        )
    if MANIFEST_FILE in names:
        files = _manifest_there(api, repository, commit)
        return tuple(sorted(names.intersection(files)))
    if foreign:
        raise PushError(
            f"{repository}: holds {foreign[0]} and no {MANIFEST_FILE}, so it is no artifact; name "
            "another repository"
        )
    return ()


def _manifest_there(api: HfApi, repository: str, commit: str | None) -> set[str]:
    """What the manifest in a repository lists."""
    with TemporaryDirectory() as folder:
        api.hf_hub_download(
            repository, MANIFEST_FILE, revision=commit, local_dir=folder, tqdm_class=no_bars()
        )
        try:
            return set(read_manifest(Path(folder)).files)
        except ArtifactError as error:
            raise PushError(
                f"{repository}: holds a {MANIFEST_FILE} that this version does not read; name "
                "another repository, or update dawn-edge"
            ) from error


def _tokens() -> str:
    from huggingface_hub import constants

    return (
        f"make one that may write at {constants.ENDPOINT}/settings/tokens, then run 'hf auth "
        "login' or set HF_TOKEN"
    )


def _advice(error: Exception, again: str) -> str:
    """Says in one line what happened and what to do."""
    from huggingface_hub import errors

    if not isinstance(error, errors.HfHubHTTPError):
        if isinstance(error, ConnectionError | TimeoutError) or "Connect" in type(error).__name__:
            return f"the Hub cannot be reached ({summary(error)}); check the network"
        if isinstance(error.__cause__, Exception):  # one of several files that go side by side
            return _advice(error.__cause__, again)
        return f"talking to the Hub broke off ({summary(error)}); {again}"
    said, status = summary(error), getattr(error.response, "status_code", None)
    if status == 401:
        return f"the token is not accepted; {_tokens()}"
    if status == 403:
        return f"the token may not write there ({error.server_message or said}); {_tokens()}"
    if status == 412:
        return "somebody else changed the repository meanwhile; push again"
    return f"the Hub refuses ({error.server_message or said}); {again}"
