"""What a chat template knows: tools, calls and their results, reasoning.

Nobody declares it, and nothing is taken from the name of a model: the template is asked. A tool is
offered, called and answered in a conversation of our own, and what the template makes of it is
looked at. It knows tools if the description of one comes into the prompt, calls if our reader finds
the call where the answer stands, results if one comes into the prompt. It knows reasoning if it
speaks of `</think>`; whether it can be turned on and off, and whether the prompt opens it, is what
it renders with `enable_thinking` true and false.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from dawn_runtime import Conversation, PromptError
from dawn_runtime.chat import ChatTemplate
from dawn_serve.talk.calls import FORMS, PYTHON_TAG, CallForm, reader_of
from dawn_serve.talk.parts import Call
from dawn_serve.talk.splitter import Splitter
from dawn_serve.talk.thoughts import CLOSE, OPEN, ThoughtReader
from dawn_serve.wire.kinds import RequestError

_USER: Final = {"role": "user", "content": "what is it"}
_CALL: Final = Call("probe_tool", {"probe_field": "probe value"})
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": _CALL.name,
        "description": "probe description",
        "parameters": {"type": "object", "properties": {"probe_field": {"type": "string"}}},
    },
}
_CALLED: Final = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call_00001",
            "type": "function",
            "function": {"name": _CALL.name, "arguments": _CALL.arguments},
        }
    ],
}
_RESULT: Final = {
    "role": "tool",
    "name": _CALL.name,
    "tool_call_id": "call_00001",
    "content": "probe result",
}


class Knowledge:
    """What a template knows, found out when it is first asked for; rendering takes a moment.

    Args:
        template: None knows nothing.
    """

    def __init__(self, template: ChatTemplate | None) -> None:
        self._template = template

    @cached_property
    def offers(self) -> bool:
        """Whether tools come into the prompt."""
        prompt = self._rendered([_USER], tools=[_TOOL])
        return _CALL.name in prompt and "probe description" in prompt

    @cached_property
    def form(self) -> CallForm | None:
        """How it has calls written; None if it does not, or as nothing here reads them."""
        opening = self._rendered([_USER], tools=[_TOOL])
        called = self._rendered([_USER, _CALLED], tools=[_TOOL], add_generation_prompt=False)
        return next((form for form in FORMS if _is_written(form, opening, called)), None)

    @cached_property
    def reads_results(self) -> bool:
        """Whether results of calls come into the prompt."""
        return "probe result" in self._rendered([_USER, _CALLED, _RESULT], tools=[_TOOL])

    @property
    def thinks(self) -> bool:
        """Whether it knows reasoning."""
        return self._template is not None and CLOSE in self._template.source

    @cached_property
    def switches(self) -> bool:
        """Whether reasoning can be turned on and off."""
        return self._rendered([_USER], enable_thinking=True) != self._rendered(
            [_USER], enable_thinking=False
        )

    @cached_property
    def _opened(self) -> Mapping[bool | None, bool]:
        """Whether the prompt opens reasoning, where it is wanted, not wanted and neither."""
        return {
            wanted: self._rendered([_USER], enable_thinking=wanted).rstrip().endswith(OPEN)
            for wanted in (None, True, False)
        }

    def check(self, said: Conversation) -> None:
        """Refuses what the template would leave out without a word; may take a while.

        Args:
            said: What a request says.

        Raises:
            RequestError: There is something of that kind.
        """
        if said.tools and not (self.offers and self.form and self.reads_results):
            raise RequestError(
                f"got tools, and the chat template of this model {self._lack()}; leave tools out, "
                "or serve a model whose template knows them",
                "tools",
            )
        for message in said.messages:
            self._check_message(message)
        if self.thinks:
            _ = self._opened  # `splitter` needs it, where nothing may take a while
        if said.enable_thinking and not self.thinks:
            raise RequestError(
                "got a wish for reasoning, and the chat template of this model knows none; leave "
                "it out"
            )
        if said.enable_thinking is False and self.thinks and not self.switches:
            raise RequestError(
                "got a wish for no reasoning, and the chat template of this model has no "
                "enable_thinking to turn it off with; leave it out"
            )

    def splitter(self, said: Conversation) -> Splitter:
        """Returns what takes an answer apart.

        Args:
            said: What is answered; `check` has passed it.
        """
        thoughts = ThoughtReader(self._opened[said.enable_thinking]) if self.thinks else None
        if not said.tools or self.form is None:
            return Splitter(thoughts)
        names = {tool["function"]["name"] for tool in said.tools}
        return Splitter(thoughts, reader_of(self.form, names))

    def _check_message(self, message: Mapping[str, Any]) -> None:
        if message.get("tool_calls") and self.form is None:
            what, why = "a message with tool_calls", "knows none that this server reads"
        elif message["role"] == "tool" and not (self.form and self.reads_results):
            what, why = "a message of the role tool", "knows no results of tools"
        elif message.get("reasoning_content") and not self.thinks:
            what, why = "a message with reasoning", "knows none"
        else:
            return
        raise RequestError(
            f"got {what}, and the chat template of this model {why}; leave it out, or say it in "
            "the text of a message",
            "messages",
        )

    def _lack(self) -> str:
        if not self.offers:
            return "knows none"
        if self.form is None:
            return "has calls written in a way that this server does not read"
        return "knows no results of tools"

    def _rendered(self, messages: list[Any], **variables: Any) -> str:
        """What the template makes of messages; nothing if it refuses them."""
        if self._template is None:
            return ""
        try:
            return self._template.render(messages, **variables)
        except PromptError:
            return ""


def _is_written(form: CallForm, opening: str, called: str) -> bool:
    """Tells whether a call is written in a form where an answer stands.

    Args:
        form: The form.
        opening: The prompt before the answer.
        called: The same and an answer that is the call.
    """
    if form.begin:  # the prompt may explain the form before
        place = called.rfind(form.begin)
        return place >= 0 and _CALL in reader_of(form, {_CALL.name}).push(called[place:])
    written = called.removeprefix(opening).lstrip().removeprefix(PYTHON_TAG)
    begin = written.find("{")
    end = written.rfind("}") + 1
    is_first = called.startswith(opening) and not written[: max(begin, 0)].strip()
    return is_first and form.read(written[begin:end], {_CALL.name}) == _CALL
