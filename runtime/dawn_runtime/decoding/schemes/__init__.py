"""Ways of decoding behind the seam of `dawn_runtime.decoding.ask`; one scheme a file."""

from dawn_runtime.decoding.schemes.attended import unmasking
from dawn_runtime.decoding.schemes.autoregressive import Autoregressive
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme, fitted
from dawn_runtime.decoding.schemes.block_causal import BlockCausal
from dawn_runtime.decoding.schemes.causal_rows import CausalRows
from dawn_runtime.decoding.schemes.conv_drawn import ConvDrawn
from dawn_runtime.decoding.schemes.credit import Credit
from dawn_runtime.decoding.schemes.edit import Edit
from dawn_runtime.decoding.schemes.freedave import FreeDave
from dawn_runtime.decoding.schemes.info_gain import InfoGain
from dawn_runtime.decoding.schemes.linear_speculation import LinearSpeculation
from dawn_runtime.decoding.schemes.p2 import PathPlanning
from dawn_runtime.decoding.schemes.prophet import Prophet
from dawn_runtime.decoding.schemes.self_verify import SelfVerify
from dawn_runtime.decoding.schemes.unmask import Unmask
from dawn_runtime.decoding.schemes.verify import Verify
from dawn_runtime.decoding.schemes.wino import Wino

__all__ = [
    "SCHEMES",
    "Autoregressive",
    "BlockCausal",
    "CausalRows",
    "ConvDrawn",
    "Credit",
    "Edit",
    "FreeDave",
    "InfoGain",
    "LinearSpeculation",
    "PathPlanning",
    "Prophet",
    "Scheme",
    "SelfVerify",
    "Unmask",
    "Verify",
    "Wino",
    "fitted",
    "unmasking",
]
