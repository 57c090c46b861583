"""What the names of tensors tell about a checkpoint that does not match its configuration."""

from __future__ import annotations

from collections.abc import Collection

_ENDINGS = {
    "compressed-tensors": (".weight_packed",),
    "GPTQ or AWQ": (".qweight", ".qzeros", ".g_idx"),
    "bitsandbytes": (".absmax", ".quant_map", ".SCB", ".quant_state.bitsandbytes__nf4"),
    "FP8": (".weight_scale_inv", ".weight_scale", ".input_scale"),
}
_PARTS = {
    "q_norm.": "norms of queries and keys, as Qwen3 has, are no part of this family",
    ".experts.": "mixtures of experts are not implemented",
}

_HEADS = frozenset(("lm_head.weight", "diffusion_head.weight", "model.transformer.ff_out.weight"))


def hint(found: Collection[str], expected: Collection[str], missing: Collection[str]) -> str:
    """What to do about tensors that do not match; empty where their names say nothing.

    Args:
        found: names in the files.
        expected: names that the configuration asks for.
        missing: those that are not found.
    """
    if any(name.startswith("base_model.model.") or ".lora_" in name for name in found):
        return "; these are weights of peft (LoRA): merge them first (merge_and_unload)"
    for what, endings in _ENDINGS.items():
        if any(name.endswith(endings) for name in found):
            return f"; the weights are rounded ({what}): export the checkpoint they were made from"
    for part, what in _PARTS.items():
        known = any(part in name for name in expected)
        if not known and any(part in name for name in found):
            return f"; {what}"
    return _prefixed(found, expected, missing)


def _prefixed(found: Collection[str], expected: Collection[str], missing: Collection[str]) -> str:
    """Names that a wrapper around the model, or the lack of one, has changed."""
    for wanted in sorted(missing):
        for name in found:
            if name.endswith(f".{wanted}") and name not in expected:
                return f"; names start with {name.removesuffix(wanted)!r:.60}: save the inner model"
        first, _, rest = wanted.partition(".")
        if rest in found:
            return f"; names lack {first + '.'!r}: save the model with its head"
    if len(missing) == 1:
        (only,) = missing
        if only in _HEADS and not _HEADS.intersection(found):
            return (
                "; if the head is the embedding, config.json must say so with tie_word_embeddings "
                "(LLaDA: weight_tying)"
            )
    return ""
