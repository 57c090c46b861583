"""Chat templates: messages to prompt text, as Hugging Face tokenizers render them.

Templates come with checkpoints: they are foreign programs. They run in Jinja's immutable sandbox
(no attribute that leads out of the template, no change of its arguments) and in a process with
bounds of time and memory; see `dawn_runtime.rendering`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from dawn_runtime import rendering
from dawn_runtime._fields import Fields
from dawn_runtime.artifact import Artifact
from dawn_runtime.checks import check_flag, shown
from dawn_runtime.errors import ArtifactError, DependencyError, OptionError, PromptError
from dawn_runtime.given import Message, as_mappings, as_tools
from dawn_runtime.manifest import TEMPLATE_FILE, TOKENIZER_CONFIG_FILE


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A Jinja template over `messages`, `tools`, `add_generation_prompt` and the special tokens.

    Attributes:
        source: Text of the template.
        special_tokens: Texts such as `bos_token` and `eos_token`, by name.

    Raises:
        OptionError: They are no texts.
    """

    source: str
    special_tokens: Mapping[str, str]

    def __post_init__(self) -> None:
        tokens = self.special_tokens
        if not isinstance(self.source, str):
            raise OptionError(f"chat template: source is {shown(self.source)}; expected a text")
        if not isinstance(tokens, Mapping) or not all(
            isinstance(text, str) for pair in tokens.items() for text in pair
        ):
            raise OptionError(
                f"chat template: special_tokens are {shown(tokens)}; expected texts by name"
            )

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

    def render(
        self,
        messages: Iterable[Message],
        *,
        tools: Iterable[Mapping[str, Any]] = (),
        enable_thinking: bool | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """Returns the prompt text of a conversation.

        Args:
            messages: The turns so far.
            tools: What the model may call; a template that knows none leaves it out.
            enable_thinking: Whether it is to reason first; None says nothing of it.
            add_generation_prompt: Whether the opening of the assistant's turn is appended.

        Raises:
            PromptError: Messages or tools are none, or the template refuses them, fails on them or
                takes too much time or memory for them.
            OptionError: A truth value is neither True nor False.
            DependencyError: Jinja is not installed.
        """
        if not _is_installed("jinja2"):
            raise DependencyError(
                "chat needs the jinja2 package, which is not installed; pip install dawn-edge"
            )
        opening = check_flag("chat template", "add_generation_prompt", add_generation_prompt)
        checked, offered = as_mappings(messages), as_tools(tools)
        try:
            plain = [_plain(message) for message in checked]
            offers = [_plain(tool, "tools") for tool in offered]
        except RecursionError as error:
            raise PromptError("messages are nested too deeply, or hold themselves") from error
        variables = {
            "messages": plain,
            "add_generation_prompt": opening,
            "tools": offers or None,
            "documents": None,
            **self.special_tokens,
        }
        if enable_thinking is not None:
            variables["enable_thinking"] = check_flag(
                "chat template", "enable_thinking", enable_thinking
            )
        return rendering.render(self.source, variables)


def _is_installed(package: str) -> bool:
    """Looks for a package without importing it; it is needed in another process."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _plain(value: object, name: str = "messages") -> Any:
    """Returns a value as JSON has it, and refuses what JSON would change or cannot spell."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item(), name)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    raise PromptError(
        f"{name} hold {shown(value)}; expected texts, numbers, truth values, lists and objects "
        "with texts as keys"
    )


def _default_template(entry: object) -> object:
    """Returns the template, or the one named `default` of a list of named ones."""
    if not isinstance(entry, list):
        return entry
    named = [item for item in entry if isinstance(item, dict) and item.get("name") == "default"]
    return named[-1].get("template") if named else entry


def _special_tokens(config: Mapping[str, object]) -> dict[str, str]:
    """Collects texts such as `eos_token`, given as a string or as an object with `content`."""
    tokens = {}
    for name, value in config.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            tokens[name] = text
    return tokens
