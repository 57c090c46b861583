"""Every error this package raises on purpose, under one root.

    DawnError
    ├── ArtifactError     an artifact folder cannot be used: missing, truncated, edited, too new
    ├── BatchFullError    no room for another row; one has to leave first
    ├── EngineError       an engine cannot be opened, is fed wrong arrays, or returns nonsense
    ├── OptionError       a bad option, or an unknown policy, window or cache (also a ValueError)
    ├── PromptError       a prompt that cannot be decoded: too long, foreign ids (also a ValueError)
    └── DependencyError   an optional package is not installed (also an ImportError)

A message is one line that says what was got, what was expected and what to do. Callers that only
want "something of dawn went wrong" catch `DawnError`.
"""


class DawnError(Exception):
    """Root of all errors raised on purpose by the toolkit."""


class ArtifactError(DawnError):
    """An artifact folder or its manifest cannot be used."""


class BatchFullError(DawnError):
    """A batch has no room for another row until one leaves."""


class EngineError(DawnError):
    """An engine could not be opened, was fed wrong arrays, or returned unusable numbers."""


class OptionError(DawnError, ValueError):
    """An option has a bad value, or a policy, window or cache of that name does not exist."""


class PromptError(DawnError, ValueError):
    """The prompt, messages or token ids given cannot be decoded by this artifact."""


class DependencyError(DawnError, ImportError):
    """An optional package is missing; the message names the pip extra that brings it."""
