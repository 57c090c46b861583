"""Chat templates: messages to prompt text, as Hugging Face tokenizers render them.

Templates come with checkpoints, so they run in Jinja's immutable sandbox: no attribute that leads
out of the template, no change of its arguments.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dawn_runtime._fields import Fields
from dawn_runtime.artifact import Artifact
from dawn_runtime.errors import ArtifactError, DependencyError, PromptError
from dawn_runtime.manifest import TEMPLATE_FILE, TOKENIZER_CONFIG_FILE

Message = Mapping[str, Any]
"""One turn: `{"role": "user", "content": "..."}`; roles are up to the template."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A Jinja template over `messages`, `add_generation_prompt` and the special tokens.

    Attributes:
        source: Text of the template.
        special_tokens: Texts such as `bos_token` and `eos_token`, by name.
    """

    source: str
    special_tokens: Mapping[str, str]

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "ChatTemplate | None":
        """Reads the template of an artifact, None if it has none.

        `chat_template.jinja` goes before the `chat_template` of `tokenizer_config.json`; of several
        templates there, the one named `default` is taken.

        Raises:
            ArtifactError: A file is unreadable.
        """
        config: Mapping[str, object] = {}
        if artifact.has(TOKENIZER_CONFIG_FILE):
            text, path = (
                artifact.read_text(TOKENIZER_CONFIG_FILE),
                artifact.path(TOKENIZER_CONFIG_FILE),
            )
            config = Fields.parse(text, str(path)).values
        if artifact.has(TEMPLATE_FILE):
            source: object = artifact.read_text(TEMPLATE_FILE)
        else:
            source = _default_template(config.get("chat_template"))
        if source is None:
            return None
        if not isinstance(source, str):
            raise ArtifactError(
                f"{artifact.folder}: chat_template of {TOKENIZER_CONFIG_FILE} is not a text or a "
                "list with one named 'default'; correct the checkpoint and export again"
            )
        return cls(source, _special_tokens(config))

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """Returns the prompt text of a conversation.

        Args:
            messages: The turns so far.
            add_generation_prompt: Whether the opening of the assistant's turn is appended.

        Raises:
            PromptError: The template refuses the messages or fails on them.
            DependencyError: Jinja is not installed.
        """
        try:
            import jinja2
        except ImportError as error:
            raise DependencyError(
                "chat needs the jinja2 package, which is not installed; pip install dawn-edge"
            ) from error
        try:
            text: str = (
                _environment()
                .from_string(self.source)
                .render(
                    messages=list(messages),
                    add_generation_prompt=add_generation_prompt,
                    tools=None,
                    documents=None,
                    **self.special_tokens,
                )
            )
        except (jinja2.TemplateError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise PromptError(f"the chat template refuses these messages: {reason}") from error
        return text


def _environment() -> Any:
    """Builds the sandbox with the settings, filter and function that templates count on."""
    import jinja2.ext
    import jinja2.sandbox

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The `tojson` filter without Jinja's escaping for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _default_template(entry: object) -> object:
    """Returns the template, or the one named `default` of a list of named ones."""
    if not isinstance(entry, list):
        return entry
    named = {item.get("name"): item.get("template") for item in entry if isinstance(item, dict)}
    return named.get("default", entry)


def _special_tokens(config: Mapping[str, object]) -> dict[str, str]:
    """Collects texts such as `eos_token`, given as a string or as an object with `content`."""
    tokens = {}
    for name, value in config.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            tokens[name] = text
    return tokens
