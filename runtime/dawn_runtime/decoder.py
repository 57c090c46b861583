"""`Decoder`: an artifact, an engine and a tokenizer behind a few calls."""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.artifact import Artifact
from dawn_runtime.cancellation import Cancellation
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.checks import check_choice, check_flag, check_integer, shown
from dawn_runtime.companions import open_companions
from dawn_runtime.decoding import PADDINGS, Packer, Padding, RowState, Scheme, Unmask
from dawn_runtime.decoding.prefixes import PrefixCache
from dawn_runtime.engine import Engine, EngineOptions, open_engine
from dawn_runtime.errors import EngineError, OptionError, PromptError
from dawn_runtime.generation import Generation, RequestBatch, open_batch
from dawn_runtime.given import Checked, Message, as_ids, as_prompt, listed
from dawn_runtime.manifest import Manifest
from dawn_runtime.open_batch import OpenBatch, refuse_padding
from dawn_runtime.prompts import Filling, Prompt, PromptReader, Template, located, the_one
from dawn_runtime.request import Request
from dawn_runtime.results import Result
from dawn_runtime.settings import Plan, Scalars, Settings, make_plan, refuse_length
from dawn_runtime.streams import CommitStream, TextStream
from dawn_runtime.threads import Threads
from dawn_runtime.tokenizer import Tokenizer
from dawn_runtime.unpacking import Unpack

CLOSED: Final = "the decoder is closed; open the artifact again"


class Decoder:
    """Decodes answers with a diffusion language model.

        with Decoder.open("build/tiny-dream") as decoder:
            result = decoder.generate("What is 3 + 4?", max_new_tokens=64, policy="dawn")
        print(result.text, result.forwards)

    Threads may share a decoder and its streams. On an engine of the CPU their answers are decoded
    side by side, on any other in turns, step by step; they are what they would be alone. `close`
    waits for the step that is being taken, and answers that are not done then end in an
    `EngineError`.

    Args:
        manifest: Manifest of the artifact the engine runs.
        engine: Runs the model; the caller closes it, unless `open` made it.
        tokenizer: None decodes token ids only.
        chat: None takes no messages.
        prefix_bytes: Most bytes of keys that are held of finished texts, for requests that begin
            alike; of models that never look ahead of what is finished, see `prefixes`. 0 holds
            nothing.

    Raises:
        EngineError: The engine runs another model than the manifest describes.
        OptionError: One of them is of another type.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        *,
        tokenizer: Tokenizer | None = None,
        chat: ChatTemplate | None = None,
        prefix_bytes: int = 0,
    ) -> None:
        _check_parts(manifest, engine, tokenizer, chat)
        info = engine.describe()
        found, expected = info.vocab_size, manifest.dims.vocab_size
        if found != expected:
            raise EngineError(
                f"the engine has a vocabulary of {found} and the manifest one of {expected}; "
                "give both of the same artifact"
            )
        self.manifest = manifest
        self._engine = engine
        self._owns_engine = False
        self._is_closed = False
        self._reader = PromptReader(manifest, tokenizer, chat)
        self._packer = Packer.for_engine(manifest.tokens.filler, info)
        self._prefixes = PrefixCache(prefix_bytes)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        engine: str | EngineOptions | Engine = "auto",
        threads: int | None = None,
        low_memory: bool = False,
        cuda_graphs: bool = False,
        verify: str = "auto",
        prefix_bytes: int = 0,
        literal_text: bool = False,
    ) -> "Decoder":
        """Opens an artifact folder.

        Args:
            folder: Folder written by `dawn-export`, or `org/name` of one that was downloaded from
                the Hugging Face Hub, see `dawn_runtime.hub_cache`.
            engine: A name of `dawn_runtime.engine.ENGINES`, perhaps with options such as
                `onnxruntime-cpu:low_memory=true`, options of `dawn_runtime.engine.options`, or an
                engine of one's own. The next three are shorthands for its options.
            threads: CPU threads of an engine given by name; None takes as many as help on this
                machine at this moment, see `dawn_runtime.threads`.
            low_memory: Whether weights stay in the mapped file: slower, for models that fit the
                memory no other way, on the CPU.
            cuda_graphs: Whether ONNX Runtime on a GPU replays runs whose shapes come again as CUDA
                graphs.
            verify: Which files are hashed: `auto` (up to 256 MiB each), `full` or `sizes` (none).
            prefix_bytes: As for a `Decoder`.
            literal_text: Whether the texts of special tokens in prompts and messages are ordinary
                text, as is right for text of strangers; see `dawn_runtime.literal`.

        Raises:
            ArtifactError: The folder is missing, damaged, altered or too new.
            DependencyError: A package that is needed is not installed.
            EngineError: The engine cannot load the graph.
            OptionError: Unknown engine or verify mode, a number of threads below 1, or an option
                that the engine does not have.
        """
        given = threads is not None or low_memory is not False or cuda_graphs is not False
        if not isinstance(engine, (str, EngineOptions)) and given:
            raise OptionError(
                "threads, low_memory and cuda_graphs go with an engine given by name; got an "
                "engine object"
            )
        literal = check_flag("decoder", "literal_text", literal_text)
        artifact = Artifact.open(folder, verify=verify)
        tokenizer, chat = open_companions(artifact, literal=literal)
        runner = engine
        if isinstance(runner, (str, EngineOptions)):
            runner = open_engine(
                artifact, runner, threads=threads, low_memory=low_memory, cuda_graphs=cuda_graphs
            )
        decoder = cls(
            artifact.manifest, runner, tokenizer=tokenizer, chat=chat, prefix_bytes=prefix_bytes
        )
        decoder._owns_engine = isinstance(engine, (str, EngineOptions))
        return decoder

    def generate(
        self,
        prompt: Prompt | Filling | None = None,
        *,
        messages: Iterable[Message] | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        cancellation: Cancellation | None = None,
        **settings: Unpack[Settings],
    ) -> Result:
        """Decodes one answer. Give exactly one of the first three arguments.

        Args:
            prompt: Text, or anything `generate_batch` takes.
            messages: Turns of a chat, rendered by the artifact's template.
            input_ids: Token ids.
            cancellation: Ends it early from another thread.
            **settings: See `Settings`.

        Raises:
            OptionError: A setting is unknown or has a bad value.
            PromptError: The prompt cannot be decoded by this artifact.
            EngineError: The engine failed.
        """
        return self._finish([the_one(prompt, messages, input_ids)], settings, cancellation)[0]

    def encode(self, prompt: Prompt | Filling, *, max_new_tokens: int | None = None) -> IntArray:
        """Returns the token ids of a prompt as decoding sees them, int64 [P].

        Args:
            prompt: Anything `generate_batch` takes.
            max_new_tokens: Tokens for which there must be room behind it; not for a `Filling`.

        Raises:
            OptionError: A number of tokens is given for a `Filling`, or is none.
            PromptError: The prompt cannot be decoded by this artifact.
        """
        if isinstance(prompt, Filling):
            refuse_length({"max_new_tokens": max_new_tokens})
            return self._reader.read_filling(prompt)[0]
        wanted = Scalars(max_new_tokens=max_new_tokens).max_new_tokens
        ids = self._reader.read(prompt)
        self._reader.new_tokens(ids, wanted, self.manifest.decoding.max_new_tokens)
        return ids

    def room(self, prompt: Prompt | Filling, **settings: Unpack[Settings]) -> tuple[int, int]:
        """Returns the rows and the tokens of each of them that a request takes in a batch.

        Args:
            prompt: Anything `generate_batch` takes.
            **settings: See `Settings`.

        Raises:
            OptionError: A setting is unknown or has a bad value.
            PromptError: The prompt cannot be decoded by this artifact.
        """
        checked = prompt if isinstance(prompt, Filling) else as_prompt(prompt)
        request = self._one(checked, settings)
        return request.scheme.most_asks(), request.row.length

    def decode(self, ids: Iterable[int] | IntArray) -> str:
        """Returns the text of token ids, special ones left out.

        Args:
            ids: Token ids, perhaps none.

        Raises:
            PromptError: They are no list of integers, or the artifact has no tokenizer.
        """
        tokenizer = self._reader.text_tokenizer()
        given = listed(ids, "ids", "a list of integers")
        return tokenizer.decode(as_ids(given).astype(np.int64)) if given else ""

    def token_texts(self, ids: Iterable[int] | IntArray) -> list[str] | None:
        """Returns the text of each token by itself, special ones by their names, for viewers.

        None if the artifact has no tokenizer. A token that is a part of a character alone has the
        replacement character.

        Args:
            ids: Token ids.

        Raises:
            PromptError: They are no list of integers.
        """
        tokenizer = self._reader.tokenizer
        return None if tokenizer is None else [tokenizer.piece(one) for one in as_ids(ids).tolist()]

    def generate_batch(
        self,
        prompts: Iterable[Prompt | Filling],
        *,
        cancellation: Cancellation | None = None,
        **settings: Unpack[Settings],
    ) -> list[Result]:
        """Decodes several answers together; each is the one `generate` would give.

        Args:
            prompts: Texts, lists of messages, lists of ids or `Filling`s, mixed at will; any
                iterable of them.
            cancellation: Ends all of them early from another thread.
            **settings: See `Settings`.

        Raises:
            OptionError: A setting is unknown or has a bad value.
            PromptError: A prompt cannot be decoded by this artifact, or there are none.
            EngineError: The engine failed.
        """
        expected = "texts, lists of messages, lists of ids or Fillings, at least one"
        given = listed(
            prompts, "generate_batch needs a list of at least one prompt; prompts", expected
        )
        if not given:
            raise PromptError("generate_batch needs a list of at least one prompt; got none")
        return self._finish(given, settings, cancellation)

    def fill(
        self,
        template: Template | None = None,
        *,
        prompt: Prompt | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        cancellation: Cancellation | None = None,
        **settings: Unpack[Settings],
    ) -> Result:
        """Decides the open positions between given ones, looking at both sides.

            decoder.fill(['{"name": "', 6, '", "age": ', 2, "}"], prompt=messages).holes[0].text

        Given tokens never change, and every open position is decided. A hole that turns out
        longer than needed is filled up with what the model writes after an end. For several at
        once, or a stream, give a `Filling` to `generate_batch`, `stream` or `watch`.

        Args:
            template: Texts and, as numbers, lengths of the holes between them in tokens.
            prompt: Text, messages or ids before the template, if any.
            input_ids: Instead of both, the ids of all with the mask id where undecided.
            cancellation: Ends it early from another thread.
            **settings: See `Settings`; `max_new_tokens` and `stop_at_eos` do not apply.

        Raises:
            OptionError: A setting is unknown, has a bad value or does not apply.
            PromptError: There is nothing to fill, or this artifact cannot decode it.
            EngineError: The engine failed.
        """
        return self._finish([Filling(template, prompt, input_ids)], settings, cancellation)[0]

    def stream(
        self,
        prompt: Prompt | Filling | None = None,
        *,
        messages: Iterable[Message] | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        **settings: Unpack[Settings],
    ) -> TextStream:
        """Decodes one answer and gives out its text from the left as it becomes certain.

        Arguments as for `generate`. The prompt is checked at once, decoding happens as the stream
        is iterated; `stream.result` holds the same as `generate` returns.

        Raises:
            OptionError: A setting is unknown or has a bad value.
            PromptError: The prompt cannot be decoded by this artifact, or it has no tokenizer.
            EngineError: The engine failed (while iterating).
        """
        tokenizer = self._reader.text_tokenizer()
        return TextStream(self._begin([the_one(prompt, messages, input_ids)], settings), tokenizer)

    def watch(
        self,
        prompt: Prompt | Filling | None = None,
        *,
        messages: Iterable[Message] | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        **settings: Unpack[Settings],
    ) -> CommitStream:
        """Decodes one answer and gives out what is decided in every step, for viewers.

        Arguments and errors as for `generate`. Each item is a tuple of commits; `stream.result`
        holds the same as `generate` returns.
        """
        return CommitStream(self._begin([the_one(prompt, messages, input_ids)], settings))

    def batch(
        self, *, max_rows: int = 8, max_tokens: int = 4096, padding: Padding = "right"
    ) -> OpenBatch:
        """Opens a batch that requests join and leave while others are under way.

            with decoder.batch(max_rows=8, max_tokens=4096) as batch:
                key = batch.admit("What is 3 + 4?", max_new_tokens=64, policy="dawn")
                while not batch.finished(key):
                    events = batch.step()
                result = batch.leave(key)

        Args:
            max_rows: Most rows at a time; a request takes one, with guidance two, of a scheme that
                runs several drafts as many as it has drafts.
            max_tokens: Most rows times tokens of the longest, prompt and answer: what a run feeds
                at most, and what kept keys have room for (`OpenBatch.kv_bytes_bound`).
            padding: As in `Settings`.

        Raises:
            OptionError: A bound is out of range.
            EngineError: The decoder is closed.
        """
        self._check_open()
        check_choice("batch", "padding", padding, PADDINGS)
        packer = replace(self._packer, padding=padding)
        rows = open_batch(
            self._engine,
            packer,
            max_rows=max_rows,
            max_tokens=max_tokens,
            prefixes=self._prefixes,
        )
        return OpenBatch(RequestBatch(rows), self._one, self._reader.tokenizer)

    def prepare(
        self,
        prompt: Prompt | Filling | None = None,
        *,
        messages: Iterable[Message] | None = None,
        input_ids: Iterable[int] | IntArray | None = None,
        **settings: Unpack[Settings],
    ) -> Request:
        """Returns a request that `OpenBatch.admit` takes in; may be called from any thread.

        So what takes time before the first step, reading a prompt, keeps nobody waiting who is in
        a batch already, and what is wrong is told before there is room.

        Arguments and errors as for `OpenBatch.admit`.
        """
        refuse_padding(settings)
        return self._one(the_one(prompt, messages, input_ids), settings)

    def warm_up(self, *, prompt_tokens: int = 32, **settings: Unpack[Settings]) -> float:
        """Takes two steps of an answer that nobody sees, and returns the seconds that took.

        What an engine does at its first run only (memory, kernels, the first look at weights in a
        mapped file) then keeps no answer waiting that somebody wants.

        Args:
            prompt_tokens: Length of the prompt that is made up, >= 1; steps are as long as those of
                prompts of that length.
            **settings: See `Settings`; as the answers will be decoded. `max_forwards` is 2 unless
                said otherwise.

        Raises:
            OptionError: A setting is unknown or has a bad value.
            PromptError: The model cannot look at so many tokens.
            EngineError: The engine failed.
        """
        check_integer("decoder", "prompt_tokens", prompt_tokens, minimum=1)
        tokens = self.manifest.tokens
        special = {tokens.mask, *tokens.forbidden, *tokens.eos}
        token = next(one for one in itertools.count() if one not in special)
        limited: Settings = {"max_forwards": 2, **settings}
        return self.generate(input_ids=[token] * prompt_tokens, **limited).seconds

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Text to ids and back; None if the artifact has none."""
        return self._reader.tokenizer

    @property
    def chat(self) -> ChatTemplate | None:
        """Messages to prompt text; None if the artifact takes no messages."""
        return self._reader.chat

    @property
    def prefixes(self) -> PrefixCache:
        """Keys of finished texts that requests may begin with: what it did, and a way to empty it.

        It is in host memory, also where an engine keeps its keys on a device. Nothing is in it of
        models that look at everything, whose keys depend on what follows.
        """
        return self._prefixes

    @property
    def engine_name(self) -> str:
        """Back end and device that run the model, such as `onnxruntime-cpu`."""
        return self._engine.describe().name

    @property
    def threads(self) -> Threads | None:
        """CPU threads that run the model, and why so many; None if the engine does not tell."""
        return self._engine.describe().threads

    def close(self) -> None:
        """Closes the engine if `open` made it; nothing can be decoded afterwards."""
        self._is_closed = True
        if self._owns_engine:
            self._engine.close()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, prompts: Sequence[Checked | Filling], settings: Settings) -> Generation:
        """Checks everything that can be checked before the first run of the engine."""
        self._check_open()
        plan = self._plan(settings)
        if any(isinstance(prompt, Filling) for prompt in prompts):
            refuse_length(settings)
        requests = []
        for number, prompt in enumerate(prompts):
            where = f"prompts[{number}]: " if len(prompts) > 1 else ""
            with located(where):
                requests.append(self._request(prompt, plan))
        packer = replace(self._packer, padding=plan.padding)
        return Generation(self._engine, packer, requests, self._prefixes)

    def _finish(
        self,
        prompts: Sequence[Checked | Filling],
        settings: Settings,
        cancellation: Cancellation | None,
    ) -> list[Result]:
        """Decodes all to the end, or until they are cancelled."""
        if not isinstance(cancellation, (Cancellation, type(None))):
            raise OptionError(
                f"cancellation is {shown(cancellation)}; expected a Cancellation, see "
                "dawn_runtime.Cancellation"
            )
        generation = self._begin(prompts, settings)
        ended = nullcontext() if cancellation is None else cancellation.ending(generation.cancel)
        with ended:
            return generation.results()

    def _one(self, prompt: Checked | Filling, settings: Settings) -> Request:
        """The same for a request by itself."""
        self._check_open()
        if isinstance(prompt, Filling):
            refuse_length(settings)
        return self._request(prompt, self._plan(settings))

    def _plan(self, settings: Settings) -> Plan:
        made = self.manifest
        return make_plan(settings, made.decoding, made.attention, shift=made.prediction_shift)

    def _check_open(self) -> None:
        if self._is_closed:
            raise EngineError(CLOSED)

    def _request(self, prompt: Checked | Filling, plan: Plan) -> Request:
        """What is wanted of one prompt."""
        row = self._row(prompt, plan)
        scheme, fallback = plan.scheme_for(int(row.masked.sum()))
        scheme.suits(row.shift)
        self._check_forbidden(scheme)
        return Request(
            row,
            scheme,
            plan.limits,
            fallback=fallback,
            tokenizer=self._reader.tokenizer,
            is_template=isinstance(prompt, Filling),
            record=plan.record,
        )

    def _check_forbidden(self, scheme: Scheme) -> None:
        """Refuses to forbid a token that there is not, or all that there are."""
        forbid = scheme.sampling.forbid if isinstance(scheme, Unmask) else None
        if forbid is None:
            return
        size, tokens = self.manifest.dims.vocab_size, self.manifest.tokens
        if forbid[-1] >= size:
            raise OptionError(
                f"sampling: forbid is {forbid[-1]}; expected an id of the vocabulary, 0 to "
                f"{size - 1}"
            )
        if len({tokens.mask, *tokens.forbidden, *forbid}) >= size:
            raise OptionError("sampling: forbid has all ids of the vocabulary; leave one")

    def _row(self, prompt: Checked | Filling, plan: Plan) -> RowState:
        """Lays out what is given and what is to be decided."""
        mask_id, shift = self.manifest.tokens.mask, self.manifest.prediction_shift
        if isinstance(prompt, Filling):
            ids, start = self._reader.read_filling(prompt)
            return RowState.fill(ids, start, mask_id, shift=shift)
        ids = self._reader.read(prompt)
        default = self.manifest.decoding.max_new_tokens
        count = self._reader.new_tokens(ids, plan.max_new_tokens, default)
        end_tokens = self.manifest.tokens.eos if plan.stop_at_eos else ()
        # A last block may be made whole, as far as the model can look.
        whole = plan.scheme.length(len(ids), len(ids) + count)
        length = min(whole, self.manifest.dims.max_length)
        return RowState.begin(ids, count, mask_id, end_tokens, shift=shift, length=length)


def _check_parts(manifest: object, engine: object, tokenizer: object, chat: object) -> None:
    """Refuses parts of a decoder that are something else, before they fail at work."""
    kinds = (
        ("manifest", manifest, Manifest, "a Manifest"),
        ("engine", engine, Engine, "a name or an object with describe, run and close"),
        ("tokenizer", tokenizer, (Tokenizer, type(None)), "a Tokenizer"),
        ("chat", chat, (ChatTemplate, type(None)), "a ChatTemplate"),
    )
    for name, part, kind, expected in kinds:
        if not isinstance(part, kind) or isinstance(part, type):
            raise OptionError(f"decoder: {name} is {shown(part)}; expected {expected}")
