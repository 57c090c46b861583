"""The step contract run by torch, with weights from a checkpoint: an engine one can look inside."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dawn_models import KeyValue, Transformer
from dawn_runtime.contract import DRAFT_MASK, ENTROPY_ROWS
from dawn_runtime.engine.checks import check_inputs, named_inputs
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine_info import EngineInfo, info_of
from dawn_runtime.errors import EngineError
from dawn_runtime.manifest import Manifest


class TorchEngine:
    """Runs `Transformer.step`; NumPy goes in and comes out, as with every engine.

    Args:
        model: The network; it is run where its weights are.
        manifest: What it is, as `dawn_calibration.checkpoints` makes it.
    """

    def __init__(self, model: Transformer, manifest: Manifest) -> None:
        self._model: Transformer | None = model
        self._evidence_layers = len(manifest.evidence_layers)
        self._weight = model.embedding.weight
        self._info = info_of(f"torch-{self._weight.device.type}", manifest)

    def describe(self) -> EngineInfo:
        """Returns what this engine runs."""
        return self._info

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the network once.

        Raises:
            EngineError: The inputs break the contract, or the engine is closed.
        """
        if self._model is None:
            raise EngineError(f"{self._info.name}: the engine is closed; open the checkpoint again")
        check_inputs(inputs, self._info)
        fed = named_inputs(inputs, measures=True, drafts=self._info.drafts)
        with torch.inference_mode():
            found = self._model.step(
                self._tensor(inputs.input_ids),
                self._tensor(inputs.position_ids),
                self._tensor(inputs.attention_mask),
                self._tensor(inputs.logit_rows),
                self._tensor(inputs.attention_rows),
                self._tensor(fed[ENTROPY_ROWS]),
                self._past(inputs),
                self._evidence_layers,
                self._tensor(fed[DRAFT_MASK]) if self._info.drafts else None,
            )
        present = tuple(tensor for pair in found.present for tensor in pair)
        return StepOutputs(
            tokens=found.tokens.cpu().numpy(),
            confidence=found.confidence.cpu().numpy(),
            attention=found.attention.cpu().numpy(),
            logits=found.logits.cpu().numpy() if inputs.want_logits else None,
            present=tuple(t.float().cpu().numpy() for t in present) if inputs.want_present else (),
            entropy=found.entropy.cpu().numpy() if inputs.want_entropy else None,
            margin=found.margin.cpu().numpy() if inputs.want_margin else None,
        )

    def close(self) -> None:
        """Lets go of the weights."""
        self._model = None

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._weight.device)

    def _past(self, inputs: StepInputs) -> list[KeyValue]:
        info, weight = self._info, self._weight
        past = [self._tensor(array).to(weight.dtype) for array in inputs.past]
        if not past:
            shape = (len(inputs.input_ids), info.kv_heads, 0, info.kv_width)
            past = [weight.new_zeros(shape)] * (2 * info.layers)
        return [KeyValue(*pair) for pair in zip(past[::2], past[1::2], strict=True)]
