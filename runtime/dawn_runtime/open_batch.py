"""A batch that requests join and leave while others are under way: what a server stands on.

with decoder.batch(max_rows=8, max_tokens=4096) as batch:
first = batch.admit("What is 3 + 4?", max_new_tokens=64)
batch.step()
second = batch.admit(messages=chat, policy="threshold")  # joins the next step
while not batch.finished(first):
for event in batch.step():
print(event.key, event.text)
result = batch.leave(first)  # the answer that `generate` gives
partial = batch.leave(second)  # as far as it came
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import Commit, RowState
from dawn_runtime.errors import DawnError, OptionError
from dawn_runtime.generation import RequestBatch
from dawn_runtime.given import Checked, Message
from dawn_runtime.prompts import Filling, Prompt, the_one
from dawn_runtime.request import Request
from dawn_runtime.results import Result
from dawn_runtime.settings import Settings
from dawn_runtime.tokenizer import TextPieces, Tokenizer
from dawn_runtime.unpacking import Unpack


@dataclass(frozen=True, slots=True)
class Event:
    """What a step did to one request.

    Attributes:
        key: Whose.
        commits: What was decided in this step, in the order of the trace.
        revoked: Positions that were decided and are open again.
        text: Text that became certain, whole characters; empty without a tokenizer.
        tokens: Ids that became certain, from the left, without an end token.
        finished: Whether no step follows: all is decided, a limit was reached, or it was cancelled.
    """

    key: int
    commits: tuple[Commit, ...]
    revoked: tuple[int, ...]
    text: str
    tokens: tuple[int, ...]
    finished: bool


@dataclass(slots=True)
class _Told:
    """What was told of a request so far."""

    row: RowState
    pieces: TextPieces | None
    tokens: int = 0
    finished: bool = False


class OpenBatch:
    """Requests that join and leave; made by `Decoder.batch`.

    The thread that opens a batch owns it; from any other only `cancel` may be called. Each request
    has its own settings, limits and seed, and its answer does not depend on who else is there. One
    that ends, or leaves, frees its rows and its kept keys at once.

    Args:
        batch: Where the requests are.
        read: Makes a request of a prompt and settings.
        tokenizer: For the text of events; None leaves it out.
    """

    def __init__(
        self,
        batch: RequestBatch,
        read: Callable[[Checked | Filling, Settings], Request],
        tokenizer: Tokenizer | None,
    ) -> None:
        self._batch, self._read, self._tokenizer = batch, read, tokenizer
        self._told: dict[int, _Told] = {}
        self._owner = threading.get_ident()
        self._is_closed = False

    @property
    def keys(self) -> tuple[int, ...]:
        """Keys of all requests that have not left, in the order in which they joined."""
        return tuple(self._told)

    @property
    def kv_bytes_bound(self) -> int:
        """Most bytes that kept keys and values take, whoever joins."""
        return self._batch.kv_bytes_bound

    @property
    def seconds(self) -> float:
        """Wall time of all steps so far; of what events tell no part."""
        return self._batch.seconds

    @property
    def engine_seconds(self) -> float:
        """Part of `seconds` spent inside the engine."""
        return self._batch.engine_seconds

    def admit(
        self,
        prompt: Prompt | Filling | Request | None = None,
        *,
        messages: Iterable[Message] | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        **settings: Unpack[Settings],
    ) -> int:
        """Takes a request in; it is part of the next step.

        Args:
            prompt: Text, or anything `Decoder.generate_batch` takes; or, by itself, what
                `Decoder.prepare` made of one, once.
            messages: Turns of a chat, rendered by the artifact's template.
            input_ids: Token ids.
            **settings: See `Settings`; `padding` is that of the whole batch.

        Returns:
            Its key, a number that is never used again.

        Raises:
            BatchFullError: There is no room for it; let another leave first.
            OptionError: A setting is unknown or has a bad value.
            PromptError: The prompt cannot be decoded by this artifact.
        """
        self._check()
        if isinstance(prompt, Request):
            _check_alone(messages, input_ids, settings)
            request = prompt
        else:
            refuse_padding(settings)
            request = self._read(the_one(prompt, messages, input_ids), settings)
        key = self._batch.admit(request)
        pieces = None if self._tokenizer is None else TextPieces(self._tokenizer.decode)
        self._told[key] = _Told(request.row, pieces)
        return key

    def step(self) -> tuple[Event, ...]:
        """Takes every request one step further.

        Returns:
            What happened to each, in the order in which they joined; empty if all are finished.

        Raises:
            EngineError: The engine failed; nothing has changed, and the step can be taken again.
        """
        self._check()
        before = {key: told for key, told in self._told.items() if not told.finished}
        self._batch.step()
        return tuple(self._event(key, told) for key, told in before.items())

    def finished(self, key: int) -> bool:
        """Tells whether no step follows for a request.

        Raises:
            DawnError: No such request is here.
        """
        self._check()
        return self._batch.is_over(key)

    def cancel(self, key: int) -> None:
        """Stops a request before the next step; may be called from another thread.

        Raises:
            DawnError: No such request is here.
        """
        self._batch.request(key).cancel()

    def leave(self, key: int) -> Result:
        """Lets a request go, and returns its answer, or what there is of it so far.

        Its `seconds` are those of the steps that it took part in.

        Raises:
            DawnError: No such request is here.
        """
        self._check()
        request = self._batch.request(key)
        request.cancel()  # no more than a reason to have ended, if it had not
        self._batch.leave(key)
        del self._told[key]
        return request.result()

    def close(self) -> None:
        """Lets all requests go; closing twice is allowed."""
        for key in self.keys:
            self._batch.leave(key)
            del self._told[key]
        self._is_closed = True

    def __len__(self) -> int:
        return len(self._told)

    def __iter__(self) -> Iterator[int]:
        return iter(self.keys)

    def __enter__(self) -> "OpenBatch":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _event(self, key: int, told: _Told) -> Event:
        """What is new since it was last told."""
        row, over = self._batch.row(key), self._batch.is_over(key)
        moved = row.step > told.row.step
        open_again = told.row.masked < row.masked
        answer = row.answer
        text = "" if told.pieces is None else told.pieces.push(answer, final=row.finished)
        tokens = tuple(answer[told.tokens :].tolist())
        told.row, told.tokens, told.finished = row, told.tokens + len(tokens), over
        return Event(
            key,
            row.last_commits() if moved else (),
            tuple(map(int, open_again.nonzero()[0])),
            text,
            tokens,
            over,
        )

    def _check(self) -> None:
        if self._is_closed:
            raise DawnError("the batch is closed; open another with Decoder.batch")
        if threading.get_ident() != self._owner:
            raise DawnError(
                "a batch belongs to the thread that opened it; call it there, only cancel may be "
                "called from another"
            )


def _check_alone(messages: object, input_ids: object, settings: Settings) -> None:
    """Refuses what is given beside a request that has all of it already."""
    if messages is not None or input_ids is not None or settings:
        raise OptionError(
            "a request that was prepared has its prompt and settings; give them to Decoder.prepare"
        )


def refuse_padding(settings: Settings) -> None:
    """Refuses a padding of one request, where the whole batch has one.

    Raises:
        OptionError: There is one.
    """
    if settings.get("padding") is not None:
        raise OptionError("padding is that of the whole batch; give it to Decoder.batch")
