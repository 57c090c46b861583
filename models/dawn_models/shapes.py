"""Shapes of the parameters of our transformer, which those of a checkpoint must have."""

from __future__ import annotations

from dawn_models.config import ModelConfig


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter of our transformer, projections as [out, in]."""
    hidden, wide = config.hidden_size, config.intermediate_size
    queries, keys = config.query_size, config.key_value_size
    layer: dict[str, tuple[int, ...]] = {
        "attention_norm.weight": (hidden,),
        "q_proj.weight": (queries, hidden),
        "k_proj.weight": (keys, hidden),
        "v_proj.weight": (keys, hidden),
        "o_proj.weight": (hidden, queries),
        "mlp_norm.weight": (hidden,),
        "gate_proj.weight": (wide, hidden),
        "up_proj.weight": (wide, hidden),
        "down_proj.weight": (hidden, wide),
    }
    if config.qkv_bias:
        layer |= {"q_proj.bias": (queries,), "k_proj.bias": (keys,), "v_proj.bias": (keys,)}
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (config.vocab_size, hidden),
        "norm.weight": (hidden,),
    }
    if not config.tied_head:
        shapes["head.weight"] = (config.vocab_size, hidden)
    for i in range(config.num_layers):
        shapes |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
    return shapes
