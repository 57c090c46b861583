"""The batch of an engine on a device: evidence stays there, and a kernel chooses by it.

Rows, schemes and memory are those of `Batch`. Of an ask whose rule has a kernel, see
`Scheme.kernel_view`, nothing comes to the host but tokens, their confidence and what was chosen;
what follows is decided as for any other answer. Rows of other rules, sampling among them, may be in
the same run: their evidence comes to the host, and theirs alone.
"""

import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from dawn_runtime.arrays import FloatArray
from dawn_runtime.contract import MEASURES
from dawn_runtime.cuda.arrays import DeviceArray
from dawn_runtime.cuda.chooser import Chooser, Placed
from dawn_runtime.cuda.pool import Pool
from dawn_runtime.decoding.ask import Answer, Ask
from dawn_runtime.decoding.batch import Batch
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.prefixes import PrefixCache
from dawn_runtime.decoding.run import Run
from dawn_runtime.engine.checks import check_finite, check_present, check_tokens, not_finite
from dawn_runtime.engine.device import DeviceEngine, DeviceOutputs
from dawn_runtime.engine.protocol import StepInputs, StepOutputs

_BEFORE, _AFTER = 0, 1


@dataclass(frozen=True, slots=True)
class _Workspace:
    """What steps pass through, of use to one at a time."""

    chooser: Chooser
    pool: Pool


_WORKSPACES: dict[int, _Workspace] = {}
_MAKING = threading.Lock()


def _workspace(engine: DeviceEngine) -> _Workspace:
    """Returns the one of an engine, for all its batches: they take turns, step by step.

    Each would need some twenty allocations of its own otherwise, and freeing waits for the device.
    """
    with _MAKING:
        found = _WORKSPACES.get(id(engine))
        if found is None:
            found = _Workspace(Chooser(engine.device), Pool(engine.device))
            with suppress(TypeError):  # no weak references: each batch has one of its own
                weakref.finalize(engine, _WORKSPACES.pop, id(engine), None).atexit = False
                _WORKSPACES[id(engine)] = found
        return found


class DeviceBatch(Batch):
    """Rows under way next to an engine on a device; arguments and attributes as for `Batch`.

    `engine_seconds` is the time between the beginning and the end of the engine's runs on the
    stream, where a kernel chooses.
    """

    def __init__(
        self,
        engine: DeviceEngine,
        packer: Packer,
        *,
        max_rows: int,
        max_tokens: int,
        prefixes: PrefixCache | None = None,
    ) -> None:
        super().__init__(
            engine, packer, max_rows=max_rows, max_tokens=max_tokens, prefixes=prefixes
        )
        self._next_to = engine
        workspace = _workspace(engine)
        self._chooser, self._pool = workspace.chooser, workspace.pool

    def _timed(self, owners: list[tuple[int, int]], asks: list[Ask], inputs: StepInputs) -> Run:
        """Runs the engine once, and the kernels behind it; waits for both together."""
        rows = self._placed(owners, asks, inputs)
        if not any(rows):
            return super()._timed(owners, asks, inputs)
        device = self._next_to.device
        device.mark(_BEFORE)
        outputs = self._next_to.run_on_device(inputs)
        device.mark(_AFTER)
        # Written while the engine runs, and never into memory of an engine that is closed.
        self._chooser.send(rows, inputs.attention_mask.shape[-1])
        self._chooser.start(outputs.tokens, outputs.confidence, outputs.attention)
        found = self._sent_for(asks, rows, outputs)
        device.synchronize()
        self._check(inputs, outputs, found)
        answers = self._answers_of(asks, inputs, found)
        seconds = device.seconds(_BEFORE, _AFTER)
        return Run(owners, asks, inputs, answers, outputs.present, seconds)

    def _placed(
        self, owners: list[tuple[int, int]], asks: list[Ask], inputs: StepInputs
    ) -> list[Placed | None]:
        """What the kernel has to know of each ask, None where the host decides."""
        width, rows = inputs.input_ids.shape[1], list[Placed | None]()
        slots = inputs.attention_mask.shape[-1] - width
        for (key, _), ask in zip(owners, asks, strict=True):
            member = self._member(key)
            # Whoever records looks at the evidence, with which the host chooses the same.
            records = member.recorder is not None
            view = None if records else member.scheme.kernel_view(member.row, ask)
            columns = self._packer.columns(ask, width, slots)
            rows.append(None if view is None else Placed(view, columns))
        return rows

    def _sent_for(
        self, asks: list[Ask], rows: list[Placed | None], outputs: DeviceOutputs
    ) -> list[StepOutputs]:
        """What comes to the host for each ask, there once the device is synchronized.

        It is in memory that the next step fills again.
        """
        tokens = self._pool.fetch("tokens", outputs.tokens)
        confidence = self._pool.fetch("confidence", outputs.confidence)
        entropy, margin = (self._fetched(name, getattr(outputs, name)) for name in MEASURES)
        found = []
        for place, (ask, row) in enumerate(zip(asks, rows, strict=True)):
            here, logits = slice(place, place + 1), outputs.logits if row is None else None
            queries = len(ask.evidence) if row is None else 0
            found.append(
                StepOutputs(
                    tokens[here, : len(ask.predict)],
                    confidence[here, : len(ask.predict)],
                    self._row_of(outputs.attention, place, queries),
                    None if logits is None else self._row_of(logits, place, len(ask.predict)),
                    entropy=None if entropy is None else entropy[here],
                    margin=None if margin is None else margin[here],
                )
            )
        return found

    def _fetched(self, name: str, array: DeviceArray | None) -> FloatArray | None:
        return None if array is None else self._pool.fetch(name, array)

    def _row_of(self, array: DeviceArray, place: int, count: int) -> FloatArray:
        """Sends for the first numbers of a batch row, float32 [1, count, m] of [B, n, m]."""
        _, rows, size = array.shape
        target = np.empty((1, count, size), dtype=np.float32)
        if count:
            source = array.view((1, count, size), skip=place * rows * size)
            self._next_to.device.download(target, source)
        return target

    def _check(
        self, inputs: StepInputs, outputs: DeviceOutputs, found: Sequence[StepOutputs]
    ) -> None:
        """Refuses what nothing can be decided on; see `check_outputs`."""
        info = self._next_to.describe()
        for one in found:
            check_tokens(info, one.tokens)
            for name in ("confidence", "attention", "logits", *MEASURES):
                array = getattr(one, name)
                if array is not None:
                    check_finite(info, name, array)
        if not self._chooser.finite:
            raise not_finite(info, "attention")
        if inputs.want_present:
            check_present(info, inputs, outputs.present)

    def _answers_of(
        self, asks: list[Ask], inputs: StepInputs, found: Sequence[StepOutputs]
    ) -> list[Answer]:
        """The answers, in memory of their own."""
        slots = inputs.attention_mask.shape[-1] - inputs.input_ids.shape[1]
        answers = []
        for ask, one, selected in zip(asks, found, self._chooser.read(), strict=True):
            own = replace(
                one,
                tokens=one.tokens.copy(),
                confidence=one.confidence.copy(),
                entropy=_copied(one.entropy),
                margin=_copied(one.margin),
            )
            answers.append(replace(self._packer.answer(ask, own, 0, slots), selected=selected))
        return answers


def _copied(array: FloatArray | None) -> FloatArray | None:
    return None if array is None else array.copy()
