"""A default that was measured lies beside the checkpoint, and every export of it has it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawn_export import ExportOptions, export
from dawn_runtime import Decoder
from dawn_runtime.decoding_defaults import DECODING_FILE
from dawn_runtime.errors import ArtifactError

TWO_LAYERS = ExportOptions(evidence_layers=2)
SCORE = {"quality": 0.98, "forwards": 3.5, "rows": 700, "milliseconds": 9}
RECORD: dict[str, Any] = {
    "policy": "verify",
    "options": {"tries": 2, "threshold": 0.98},
    "cache": "dual",
    "measured": {
        "prompts": "held-out items of sort",
        "items": 96,
        "quality": "right answers",
        "criterion": "fewest forwards, losing at most 1 points of right answers",
        "engine": "onnxruntime-cpu, fp32",
        "chosen": SCORE,
        "one_per_step": SCORE,
    },
}


@pytest.mark.usefixtures("traced")
def test_an_export_takes_the_record_over(small: Path, tmp_path: Path) -> None:
    (small / DECODING_FILE).write_text(json.dumps(RECORD))
    export(small, tmp_path / "out", TWO_LAYERS)
    document = json.loads((tmp_path / "out" / "dawn.json").read_text())["decoding"]
    assert {name: document[name] for name in RECORD} == RECORD
    assert document["published"]["policy"] == "dawn"
    assert document["published"]["options"]["tau_sink"] == 0.03, "that of the family"
    with Decoder.open(tmp_path / "out", threads=1) as decoder:
        assert decoder.generate(input_ids=[1, 2], max_new_tokens=4).policy == "verify"


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        (json.dumps({**RECORD, "policy": "tomorrow"}), "unknown policy: 'tomorrow'"),
        (json.dumps({**RECORD, "options": {"tries": 0}}), "tries is 0"),
        (json.dumps({"policy": "wino", "options": {}}), "wino"),
        (json.dumps({**RECORD, "block_length": 4}), "'block_length' is unknown"),
    ],
)
def test_a_record_that_cannot_be_used_is_known_before_the_weights_are_written(
    record: str, message: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(*arguments: Any) -> None:
        pytest.fail("the weights were written")

    refuse: Callable[..., None] = written
    monkeypatch.setattr("dawn_export.exporter._write_weights", refuse)
    (small / DECODING_FILE).write_text(record)
    with pytest.raises(ArtifactError, match=message) as caught:
        export(small, tmp_path / "out", TWO_LAYERS)
    assert DECODING_FILE in str(caught.value)
    assert not (tmp_path / "out").exists()
