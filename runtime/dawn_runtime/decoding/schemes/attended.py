"""Policies decode models of every kind of attention; which scheme that takes is said here."""

from dawn_runtime.decoding.caches import Cache
from dawn_runtime.decoding.sampling import Sampling
from dawn_runtime.decoding.schemes.block_causal import BlockCausal
from dawn_runtime.decoding.schemes.causal_rows import CausalRows
from dawn_runtime.decoding.schemes.unmask import Unmask
from dawn_runtime.decoding.windows import Window
from dawn_runtime.manifest_records import Attention
from dawn_runtime.policies import Guard, Policy


def unmasking(
    attention: Attention,
    policy: Policy,
    window: Window,
    cache: Cache,
    sampling: Sampling,
    guards: tuple[Guard, ...],
) -> Unmask:
    """Returns the scheme in which a policy chooses, for a model.

    Args:
        attention: What it was trained to see.
        policy: Chooses.
        window: Where.
        cache: What is computed for it.
        sampling: How tokens are drawn.
        guards: What they do not let through waits.

    Raises:
        OptionError: A part is of no use for such a model.
    """
    if attention.kind == "full":
        return Unmask(policy, window, cache, sampling, guards)
    if attention.block_length is None:
        return CausalRows(policy, window, cache, sampling, guards)
    return BlockCausal(
        policy,
        window,
        cache,
        sampling,
        guards,
        block_length=attention.block_length,
        origin=attention.origin,
        carry=attention.carry,
        causal=attention.kind == "causal",
    )
