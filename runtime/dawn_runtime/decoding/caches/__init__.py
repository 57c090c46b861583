"""Cache strategies: which positions a step computes anew, and whose keys are kept for later ones.

Attention without a causal mask does not care about the order of keys, so a cache is a choice of
positions and the engine never knows which strategy is used. A step is either a full pass, which
feeds every visible position, or a cached one, which feeds some and looks at kept keys of the rest:

    none      every step is a full pass; exact, the reference for every other strategy
    prefix    a cached step feeds the window and all that follows (Fast-dLLM, arXiv 2505.22618)
    dual      a cached step feeds the window alone
    causal    a cached step feeds what is not finished; exact, and only for models that never look
              ahead (`dawn_runtime.decoding.schemes.block_causal`)
    trailing  a cached step feeds the window and the tokens just before it (DSB, arXiv 2602.05992)
    d2        a cached step feeds what is likely to be decided soon, what was decided last, and the
              known tokens that matter most (d2Cache, arXiv 2509.23094)

Options of `prefix` and `dual` make a cached step less: `feed=undecided` leaves out what is decided
and has been fed since, `head=candidates` predicts nothing but candidates. Others say when keys are
computed anew: all of them every so many commits, or when the attention that they draw has moved
(`refresh`), and a few of them in every step (`track`).

Kept keys are as old as the pass that computed them: the tokens around them have changed since,
which makes all but `none` and `causal` approximations. Their own token never differs: a position
whose token changed since its key was computed is fed again, whatever the strategy says.

To add one: a frozen dataclass decorated by `@CACHES.register`; its fields are its options.
"""

from dawn_runtime.decoding.caches.base import CACHES, Cache, Causal, FullPass, NoCache
from dawn_runtime.decoding.caches.d2 import D2
from dawn_runtime.decoding.caches.leading import Dual, Prefix
from dawn_runtime.decoding.caches.trailing import Trailing

__all__ = ["CACHES", "D2", "Cache", "Causal", "Dual", "FullPass", "NoCache", "Prefix", "Trailing"]
