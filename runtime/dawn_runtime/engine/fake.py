"""Engines without a model, for testing policies, caches and applications.

`FakeEngine` honours the whole step contract, cached keys included. Its model is a pure function of
what each query can see, computed in integers, so that a result does not depend on the batch, on
padding or on the order of keys, to the last bit. `ReplayEngine` gives back prepared outputs.

    manifest = fake_manifest()
    decoder = Decoder(manifest, FakeEngine(manifest))
    decoder.generate(input_ids=[1, 2, 3], max_new_tokens=16).tokens
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from dawn_runtime._hashing import Hash, mix, unit
from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, KvArray
from dawn_runtime.engine.checks import check_inputs
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine_info import EngineInfo, info_of
from dawn_runtime.errors import EngineError
from dawn_runtime.manifest import DecodingDefaults, Dims, Manifest, SpecialTokens
from dawn_runtime.measures import entropy_of, margin_of

FakeModel = Callable[
    [IntArray, IntArray, IntArray, IntArray, BoolArray], tuple[FloatArray, FloatArray]
]
"""(query tokens [S], query positions [S], key tokens [K], key positions [K], visible [S, K])
-> (logits [S, V], attention [S, K]), for one row of the batch."""

_STRONGEST_LOGIT = 11.0


def fake_manifest(
    *, vocab_size: int = 64, max_length: int = 512, prediction_shift: int = 0
) -> Manifest:
    """Returns the manifest of a model that does not exist.

    The last three ids of the vocabulary are pad, end and mask; one layer, one head.

    Args:
        vocab_size: Number of token ids, >= 4.
        max_length: Longest sequence in tokens.
        prediction_shift: 0 if row i predicts token i, 1 if row i-1 does.
    """
    return Manifest(
        family="fake",
        dims=Dims(1, 2, 1, 1, 2, vocab_size, max_length),
        tokens=SpecialTokens(
            mask=vocab_size - 1,
            eos=(vocab_size - 2,),
            pad=vocab_size - 3,
            forbidden=(vocab_size - 1,),
        ),
        prediction_shift=prediction_shift,
        evidence_layers=(0,),
        dialect="portable",
        opset=20,
        precision="fp32",
        activations="fp32",
        decoding=DecodingDefaults(policy="threshold", options={}),
        files={},
    )


class HashModel:
    """Pseudo-random logits and attention, a function of visible (token, position) pairs alone.

    About a third of the predictions have a confidence above 0.9; some keys draw several times the
    attention of others.

    Args:
        vocab_size: Number of token ids.
        seed: Another seed is another model.
    """

    def __init__(self, vocab_size: int, seed: int = 0) -> None:
        self._vocabulary = np.arange(vocab_size, dtype=np.uint64)
        self._seed = np.array([seed], dtype=np.uint64)

    def __call__(
        self,
        query_tokens: IntArray,
        query_positions: IntArray,
        key_tokens: IntArray,
        key_positions: IntArray,
        visible: BoolArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Computes one row of the batch; see `FakeModel`."""
        queries = self._identity(query_tokens, query_positions)
        keys = self._identity(key_tokens, key_positions)
        # Sums of integers that wrap around do not depend on their order.
        seen = np.where(visible, keys, np.uint64(0)).sum(axis=1, dtype=np.uint64)
        return self._logits(mix(queries + seen)), self._attention(queries, keys, visible)

    def _identity(self, tokens: IntArray, positions: IntArray) -> Hash:
        return mix(mix(tokens.astype(np.uint64) + self._seed) + positions.astype(np.uint64))

    def _logits(self, states: Hash) -> FloatArray:
        """Noise below 1 plus one favourite token with a lead from 0 to `_STRONGEST_LOGIT`."""
        logits = unit(mix(states[:, None] + self._vocabulary))
        favourites = (states % np.uint64(len(self._vocabulary))).astype(np.int64)
        logits[np.arange(len(states)), favourites] += _STRONGEST_LOGIT * unit(mix(states))
        return logits.astype(np.float32)

    @staticmethod
    def _attention(queries: Hash, keys: Hash, visible: BoolArray) -> FloatArray:
        """Skewed integer weights, divided once by their exact sum."""
        draw = mix(queries[:, None] ^ keys) >> np.uint64(56)
        popularity = (keys >> np.uint64(61)) + np.uint64(1)
        weights = np.where(
            visible, (draw + np.uint64(1)) ** np.uint64(5) * popularity, np.uint64(0)
        )
        shares: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        return shares


class FakeEngine:
    """Runs a `FakeModel` under the step contract, in several threads at once if need be.

    Keys carry the token and the position they were fed with, so a cached key is as stale as in a
    real model.

    Args:
        manifest: Sizes to honour, such as `fake_manifest()`; keys must be float32, at least 2 wide.
        model: What to compute; `HashModel` by default.
        drafter: What rows compute to which an adapter for drafts is added, if the manifest has one;
            another `HashModel` by default.

    Raises:
        EngineError: The manifest's keys cannot hold a token and a position.
    """

    concurrent: Final = True

    def __init__(
        self, manifest: Manifest, model: FakeModel | None = None, drafter: FakeModel | None = None
    ) -> None:
        self._info = info_of("fake", manifest)
        if self._info.head_dim < 2 or self._info.kv_dtype != "float32":
            raise EngineError(
                f"fake: keys are {self._info.kv_dtype} of width {self._info.head_dim}; "
                "expected float32 and a width of at least 2"
            )
        self._model = model or HashModel(manifest.dims.vocab_size)
        self._drafter = drafter or HashModel(manifest.dims.vocab_size, seed=1)

    def describe(self) -> EngineInfo:
        """Returns the sizes of the manifest."""
        return self._info

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Computes every row of the batch on its own.

        Raises:
            EngineError: The inputs break the contract.
        """
        check_inputs(inputs, self._info)
        rows = [self._run_row(inputs, index) for index in range(len(inputs.input_ids))]
        logits = np.stack([row[0] for row in rows])
        # This model gives no share of the probability to what is never predicted.
        logits[..., list(self._info.forbidden)] = -np.inf
        tokens, confidence = _most_probable(logits)
        return StepOutputs(
            tokens=tokens,
            confidence=confidence,
            attention=np.stack([row[1] for row in rows]),
            logits=logits if inputs.want_logits else None,
            present=self._present(inputs) if inputs.want_present else (),
            entropy=entropy_of(logits) if inputs.want_entropy else None,
            margin=margin_of(logits) if inputs.want_margin else None,
        )

    def close(self) -> None:
        """Does nothing: there is no device."""

    def _run_row(self, inputs: StepInputs, index: int) -> tuple[FloatArray, FloatArray]:
        tokens, positions = inputs.input_ids[index], inputs.position_ids[index]
        past = inputs.past[0][index, 0].astype(np.int64) if inputs.past else np.zeros((0, 2), int)
        seen = (
            np.concatenate([past[:, 0], tokens]),
            np.concatenate([past[:, 1], positions]),
            inputs.attention_mask[index, 0],
        )
        logits, attention = self._model(tokens, positions, *seen)
        if inputs.draft_mask is not None and (drafts := inputs.draft_mask[index, :, None]).any():
            found = self._drafter(tokens, positions, *seen)
            logits, attention = (
                np.where(drafts, *pair) for pair in zip(found, (logits, attention), strict=True)
            )
        rows, evidence = inputs.logit_rows[index], inputs.attention_rows[index]
        # A model may compute in any precision.
        return logits[rows].astype(np.float32), attention[evidence].astype(np.float32)

    def _present(self, inputs: StepInputs) -> tuple[KvArray, ...]:
        info = self._info
        batch, fed = inputs.input_ids.shape
        keys = np.zeros((batch, info.kv_heads, fed, info.kv_width), dtype=np.float32)
        keys[..., 0] = inputs.input_ids[:, None]
        keys[..., 1] = inputs.position_ids[:, None]
        return (keys, keys) * info.layers


class ReplayEngine:
    """Returns prepared outputs one after another and remembers what it was fed.

    Args:
        manifest: Sizes to describe.
        outputs: One entry for each run.

    Attributes:
        seen: The inputs of every run so far.
    """

    def __init__(self, manifest: Manifest, outputs: Iterable[StepOutputs]) -> None:
        self._info = info_of("fake", manifest)
        self._outputs = iter(outputs)
        self.seen: list[StepInputs] = []

    def describe(self) -> EngineInfo:
        """Returns the sizes of the manifest."""
        return self._info

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Returns the next prepared output.

        Raises:
            EngineError: None is left.
        """
        self.seen.append(inputs)
        try:
            return next(self._outputs)
        except StopIteration:
            raise EngineError(f"fake: no output was prepared for run {len(self.seen)}") from None

    def close(self) -> None:
        """Does nothing: there is no device."""


def _most_probable(logits: FloatArray) -> tuple[IntArray, FloatArray]:
    """Argmax and its probability, exp(max - logsumexp) in float32."""
    best = logits.max(axis=-1, keepdims=True)
    total = np.exp(logits - best).sum(axis=-1)
    return logits.argmax(axis=-1), (np.float32(1) / total).astype(np.float32)
