"""A fake model that answers as it is told to, and small templates that know tools and reasoning."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dawn_runtime import Decoder
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.engine.fake import FakeEngine, HashModel
from dawn_runtime.tokenizer import Tokenizer
from support.text import TEXT_MANIFEST

_END = 257
_TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}"

TAGGED = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    + _TURNS
    + "{% for call in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""Knows tools, their calls between tags, and their results."""

BARE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>{% for call in m.tool_calls or [] %}"
    '{"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}'
    "{% else %}{{ m.content }}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""Knows calls that are the whole answer."""

THINKING = TAGGED.replace(
    "{{ m.content }}",
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}",
).removesuffix("{% endif %}") + (
    "{% if enable_thinking is defined %}<think>\n"
    "{% if not enable_thinking %}</think>\n{% endif %}{% endif %}{% endif %}"
)
"""Knows reasoning beside: opened by the prompt where it is asked for, up to the model else."""


class ScriptedModel(HashModel):
    """Answers with given tokens behind the last opening of an answer, then with ends."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(TEXT_MANIFEST.dims.vocab_size)
        self._tokenizer = tokenizer
        self.says("")

    def says(self, text: str, behind: str = "") -> None:
        """Tells what the next answers are, and what the template writes behind the opening."""
        self._script = self._tokenizer.encode(text)
        self._opening = self._tokenizer.encode(f"<assistant>{behind}")

    def __call__(self, *arguments: Any) -> Any:
        """As `HashModel`, but for the answer."""
        positions, key_tokens, key_positions = arguments[1:4]
        _, attention = super().__call__(*arguments)
        logits = np.zeros((len(positions), TEXT_MANIFEST.dims.vocab_size), dtype=np.float32)
        start = self._start(key_tokens[np.argsort(key_positions, kind="stable")])
        for row, place in enumerate(positions - start):
            token = self._script[place] if 0 <= place < len(self._script) else _END
            logits[row, token] = 20.0
        return logits, attention

    def _start(self, tokens: Any) -> int:
        """Place behind the last opening."""
        if len(tokens) < len(self._opening):
            return 0
        windows = np.lib.stride_tricks.sliding_window_view(tokens, len(self._opening))
        found = np.flatnonzero((windows == self._opening).all(axis=1))
        return int(found[-1]) + len(self._opening) if found.size else 0


@contextmanager
def talking(tokenizer: Path, template: str) -> Iterator[tuple[Decoder, ScriptedModel]]:
    """A decoder with a template, and the model that it asks."""
    manifest = replace(TEXT_MANIFEST, dims=replace(TEXT_MANIFEST.dims, max_length=2048))
    read = Tokenizer(tokenizer, literal=manifest.tokens.all)
    model = ScriptedModel(read)
    engine = FakeEngine(manifest, model)
    with Decoder(manifest, engine, tokenizer=read, chat=ChatTemplate(template, {})) as decoder:
        yield decoder, model
