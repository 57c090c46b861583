"""The published reference again, through the exported graph and ONNX Runtime.

One test for each family; all cases share its artifact.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dawn_runtime import Artifact, Decoder, open_engine
from support.golden import CASES, decode_case, golden_case


@pytest.mark.parametrize("family", ["dream", "llada"])
def test_exported_graph_decodes_what_the_published_reference_decodes(
    family: str, exported: Callable[..., Path]
) -> None:
    artifact = Artifact.open(exported(family))
    engine = open_engine(artifact, threads=1)
    for case in CASES[family]:
        tokens, forwards = golden_case(family, case)
        decoder = Decoder(artifact.manifest, engine)
        results = decode_case(decoder, family, case)
        np.testing.assert_array_equal(np.stack([r.tokens for r in results]), tokens, err_msg=case)
        assert [result.forwards for result in results] == forwards, case
    engine.close()
