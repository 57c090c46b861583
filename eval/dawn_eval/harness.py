"""The model `dawn` of lm_eval; importing this registers it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from tqdm import tqdm

from dawn_eval.runner import Arguments, Runner
from dawn_runtime import OptionError, PromptError
from dawn_runtime.arrays import IntArray

_AUTO_BATCH = 8


@register_model("dawn")
class DawnModel(LM):  # type: ignore[misc]  # lm_eval is untyped to us
    """An artifact; see `Arguments` for what `--model_args` takes.

    Args:
        artifact: Folder of `dawn-export`.
        batch_size: Decoded together; `auto` is 8.
        max_batch_size: Not used; lm_eval gives it to every model.
        device: Not used; `engine` says where the artifact runs.
        **arguments: What else there is.
    """

    def __init__(
        self,
        artifact: str,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        if batch_size is not None:
            arguments["batch_size"] = _batch(batch_size)
        self.runner = Runner(Arguments.of(artifact, **arguments))

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continues texts; see `Runner.answer`."""
        bar = tqdm(total=len(requests), desc="Decoding", disable=disable_tqdm)

        def told(number: int, text: str) -> None:
            self.cache_hook.add_partial("generate_until", requests[number].args, text)
            bar.update(1)

        with bar:
            return self.runner.answer([request.args for request in requests], told)

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Judges continuations; see `Runner.log_likelihood`."""
        answers = []
        for request in tqdm(requests, desc="Judging", disable=disable_tqdm):
            answers.append(self.runner.log_likelihood(*self._pair(*request.args)))
            self.cache_hook.add_partial("loglikelihood", request.args, answers[-1])
        return answers

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Judges whole texts, each behind an end token.

        Raises:
            PromptError: A text does not fit the context.
        """
        answers = []
        for request in tqdm(requests, desc="Judging", disable=disable_tqdm):
            (text,) = request.args
            answers.append(self.runner.log_likelihood(*self._pair("", text))[0])
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, answers[-1])
        return answers

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Returns the prompt text of a conversation by the artifact's own template.

        Raises:
            PromptError: It has none.
        """
        chat = self.runner.decoder.chat
        if chat is None:
            raise PromptError(
                "this artifact has no chat template; leave out --apply_chat_template, or export a "
                "checkpoint that has a chat_template.jinja"
            )
        return chat.render(chat_history, add_generation_prompt=add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """What lm_eval's own caches of requests go by: the artifact, and with it the template."""
        return f"dawn-{self.runner.information()['artifact_sha256']}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Returns the text of the template, if one is to be used.

        Raises:
            OptionError: Another than the artifact's own is asked for by name.
        """
        if isinstance(chat_template, str):
            raise OptionError("an artifact has one chat template; give no name of another")
        chat = self.runner.decoder.chat
        return chat.source if chat_template and chat is not None else None

    def get_model_info(self) -> dict[str, Any]:
        """Returns what lm_eval writes into the `config` of its results."""
        return self.runner.information()

    def _pair(self, context: str, continuation: str) -> tuple[IntArray, IntArray]:
        """Ids of a context and of what follows; spaces between them begin what follows."""
        kept = context.rstrip()
        context, continuation = kept, context[len(kept) :] + continuation
        if not context:
            ends = self.runner.decoder.manifest.tokens.eos[:1]
            if not ends:
                raise PromptError("a text without a context needs an end token to follow")
            return np.array(ends, dtype=np.int64), self.runner.encode(continuation, special=False)
        both, alone = self.runner.encode(context + continuation), self.runner.encode(context)
        return alone, both[len(alone) :]


def _batch(size: int | str) -> int:
    if isinstance(size, str):
        return _AUTO_BATCH if size.startswith("auto") else int(size)
    return size
