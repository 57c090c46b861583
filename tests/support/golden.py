"""The published torch reference: two random-weight checkpoints and what it decodes from them.

`tests/data/golden/*` holds six prompts for each checkpoint and what the released DAWN code decodes
(64 new tokens, block 32). `NumpyEngine` runs the checkpoints without torch and ONNX.

`prefix_cache` and `dual_cache` are the caches of Fast-dLLM under the threshold rule. Their code
keeps keys before rotation and rotates them anew in every step, which is the same up to rounding;
for a batch of one nothing else of it differs from ours.
"""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dawn_runtime import Decoder, Result
from dawn_runtime.engine import EngineInfo, StepInputs, StepOutputs
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.manifest import SpecialTokens
from dawn_runtime.measures import entropy_of, margin_of

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
EVIDENCE_LAYERS = 4
CASES = {
    "dream": ("dawn", "dawn_published", "threshold", "factor", "local_leap", "klass"),
    "llada": (
        *("dawn", "dawn_published", "threshold", "threshold_09", "one_per_step"),
        *("factor", "local_leap", "klass", "prefix_cache", "dual_cache"),
    ),
}

LLADA_NAMES = {
    "embed": "model.transformer.wte",
    "norm": "model.transformer.ln_f",
    "head": "model.transformer.ff_out",
    "layer": "model.transformer.blocks.{}.",
    "input_norm": "attn_norm",
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "o": "attn_out",
    "mlp_norm": "ff_norm",
    "gate": "ff_proj",
    "up": "up_proj",
    "down": "ff_out",
}
DREAM_NAMES = {
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "layer": "model.layers.{}.",
    "input_norm": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Reads BF16 safetensors as float32."""
    weights = {}
    for path in folder.glob("*.safetensors"):
        content = path.read_bytes()
        start = 8 + struct.unpack("<Q", content[:8])[0]
        for name, entry in json.loads(content[8:start]).items():
            if name == "__metadata__":
                continue
            begin, end = (start + offset for offset in entry["data_offsets"])
            bits = np.frombuffer(content[begin:end], dtype="<u2").astype(np.uint32) << 16
            weights[name] = bits.view(np.float32).reshape(entry["shape"])
    return weights


MASK = 254
"""Id of the mask in both checkpoints."""


def reference_logits(family: str) -> np.ndarray:
    """Logits [2, 88, 256] of the reference; in no row the mask is the best."""
    logits: np.ndarray = np.load(GOLDEN / f"{family}-random" / "forward.npz")["logits"]
    assert not (logits.argmax(axis=-1) == MASK).any()
    return logits


def barred(logits: np.ndarray) -> np.ndarray:
    """The same without the mask, as our graphs return them."""
    return np.where(np.arange(logits.shape[-1]) == MASK, np.float32(-np.inf), logits)


def probability_of_best(logits: np.ndarray) -> np.ndarray:
    """Probability of the best token among all."""
    found: np.ndarray = 1 / np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1)
    return found


class NumpyEngine:
    """A pre-norm RoPE transformer under the whole step contract, cached keys included.

    Hundreds of decodings wait for it: large arrays are computed in place.
    """

    def __init__(
        self, family: str, weights: str = "random", evidence_layers: int = EVIDENCE_LAYERS
    ) -> None:
        self.evidence_layers = evidence_layers
        folder = GOLDEN / f"{family}-{weights}"
        config = json.loads((folder / "config.json").read_text())
        self.names = DREAM_NAMES if family == "dream" else LLADA_NAMES
        self.weights = read_weights(folder)
        self.layers = config.get("num_hidden_layers") or config["n_layers"]
        self.heads = config.get("num_attention_heads") or config["n_heads"]
        self.kv_heads = config.get("num_key_value_heads") or config["n_kv_heads"]
        self.eps, self.theta = config["rms_norm_eps"], config["rope_theta"]

    def describe(self) -> EngineInfo:
        info = EngineInfo("numpy", self.layers, self.kv_heads, 8, 256, 2048, "float32")
        return replace(info, measures=True)

    def close(self) -> None:
        pass

    def run(self, inputs: StepInputs) -> StepOutputs:
        hidden = self.weights[self.names["embed"] + ".weight"][inputs.input_ids]
        rotation = self.rotation(inputs.position_ids)
        unseen = np.where(inputs.attention_mask, np.float32(0), np.float32(-np.inf))
        evidence: Any = np.float32(0)
        present: list[np.ndarray] = []
        for layer in range(self.layers):
            past = inputs.past[2 * layer : 2 * layer + 2]
            normed = self.norm(layer, "input_norm", hidden)
            mixed, attention, *new = self.attend(layer, normed, rotation, past, unseen)
            present += new
            hidden = hidden + mixed
            hidden = hidden + self.mlp(layer, self.norm(layer, "mlp_norm", hidden))
            if layer >= self.layers - self.evidence_layers:
                evidence = evidence + self.mean_of_heads(attention, inputs.attention_rows)
        scale = self.weights[self.names["norm"] + ".weight"]
        logits = self.rms(hidden, scale) @ self.weights[self.names["head"] + ".weight"].T
        logits = np.take_along_axis(logits, inputs.logit_rows[..., None], axis=1)
        return StepOutputs(
            tokens=logits.argmax(axis=-1),
            confidence=probability_of_best(logits),
            attention=evidence,
            logits=logits,
            present=tuple(present) if inputs.want_present else (),
            entropy=entropy_of(logits) if inputs.want_entropy else None,
            margin=margin_of(logits) if inputs.want_margin else None,
        )

    def mean_of_heads(self, attention: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if not rows.size:
            return attention[:, 0, :0]
        mean = attention.mean(axis=1) / self.evidence_layers
        return np.take_along_axis(mean, rows[..., None], axis=1)

    def linear(self, layer: int, name: str, x: np.ndarray) -> np.ndarray:
        full = self.names["layer"].format(layer) + self.names[name]
        made: np.ndarray = x @ self.weights[full + ".weight"].T
        bias = self.weights.get(full + ".bias")
        return made if bias is None else np.add(made, bias, out=made)

    def norm(self, layer: int, name: str, x: np.ndarray) -> np.ndarray:
        full = self.names["layer"].format(layer) + self.names[name] + ".weight"
        return self.rms(x, self.weights[full])

    def rms(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self.eps)) * scale

    def rotation(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width = 8
        frequencies = self.theta ** -(np.arange(0, width, 2) / width)
        angles = np.tile(positions[:, None, :, None] * frequencies, 2)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def attend(
        self, layer: int, x: np.ndarray, rotation: Any, past: Any, unseen: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        cos, sin = rotation

        def heads(name: str, count: int) -> np.ndarray:
            return self.linear(layer, name, x).reshape(*x.shape[:2], count, -1).swapaxes(1, 2)

        def rotate(y: np.ndarray) -> np.ndarray:
            half = y.shape[-1] // 2
            turned = y * cos
            turned[..., :half] -= y[..., half:] * sin[..., :half]
            turned[..., half:] += y[..., :half] * sin[..., half:]
            return turned

        new = rotate(heads("k", self.kv_heads)), heads("v", self.kv_heads)
        joined = (
            [np.concatenate(pair, axis=2) for pair in zip(past, new, strict=True)] if past else new
        )
        groups = self.heads // self.kv_heads
        k, v = (array.repeat(groups, axis=1) if groups > 1 else array for array in joined)
        q = rotate(heads("q", self.heads))
        weights = q @ k.swapaxes(2, 3)
        weights /= np.sqrt(np.float32(q.shape[-1]))
        weights += unseen
        weights -= weights.max(axis=-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = (weights @ v).swapaxes(1, 2).reshape(x.shape)
        return self.linear(layer, "o", mixed), weights, *new

    def mlp(self, layer: int, x: np.ndarray) -> np.ndarray:
        gate = self.linear(layer, "gate", x)
        beside = np.exp(-gate)
        beside += 1
        gate /= beside
        gate *= self.linear(layer, "up", x)
        return self.linear(layer, "down", gate)


def decode_case(decoder: Decoder, family: str, case: str) -> list[Result]:
    """Decodes the six prompts of a case together."""
    meta = json.loads((GOLDEN / f"{family}-random" / "decode.json").read_text())
    policy = case.replace("_published", "").replace("_09", "").replace("_", "-")
    cache = "none"
    if policy.endswith("-cache"):
        policy, cache = "threshold", policy.removesuffix("-cache")
    names = {"conf_threshold": "tau_low" if policy == "dawn" else "threshold"}
    options = {
        names.get(key, key): value
        for key, value in meta["cases"][case].items()
        if key not in ("dawn", "local_leap", "alg")
    }
    if (family, case) == ("llada", "klass"):
        options["warm_up"] = "window"
    return decoder.generate_batch(
        list(np.load(GOLDEN / f"{family}-random" / "decode.npz")["prompts"]),
        max_new_tokens=meta["gen_length"],
        block_length=meta["block_length"],
        policy=policy,
        cache=cache,
        options=options,
        stop_at_eos=False,
    )


def golden_case(family: str, case: str) -> tuple[np.ndarray, list[int]]:
    """Returns the new tokens [6, 64] and the numbers of forwards of the reference."""
    golden = np.load(GOLDEN / f"{family}-random" / "decode.npz")
    return golden[case][:, golden["prompts"].shape[1] :], golden[f"{case}_nfe"].tolist()


def scheme_decoder(folder: str, evidence_layers: int = EVIDENCE_LAYERS) -> Decoder:
    """Returns a decoder of one of the four golden checkpoints, such as `llada-sharp`."""
    family, weights = folder.split("-")
    manifest = fake_manifest(
        vocab_size=256, max_length=2048, prediction_shift=1 if family == "dream" else 0
    )
    tokens = SpecialTokens(mask=254, eos=(253,), pad=253)
    engine = NumpyEngine(family, weights, evidence_layers)
    return Decoder(replace(manifest, tokens=tokens), engine)
