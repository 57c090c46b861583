"""docs/benchmarks.md: what dawn-bench writes there is what the stored results give."""

from pathlib import Path

from dawn_runtime.bench.pages import results_of, written
from dawn_runtime.bench.prompts import RANDOM

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"


def test_sections_are_what_their_results_give() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = list(results_of(text, PAGE))
    assert found
    for path, record in found:
        assert written(text, PAGE, path, record) == text, (
            f"dawn-bench show {path} --markdown {PAGE}"
        )


def test_every_stored_result_has_a_section() -> None:
    text = PAGE.read_text(encoding="utf-8")
    stored = {path.resolve() for path in (ROOT / "docs" / "results").glob("*.json")}
    assert {path.resolve() for path, _ in results_of(text, PAGE)} == stored


def test_results_are_of_real_prompts_and_name_no_place_of_a_machine() -> None:
    for path, record in results_of(PAGE.read_text(encoding="utf-8"), PAGE):
        assert record.header["prompts"]["source"] != RANDOM, path
        assert not any(Path(word).is_absolute() for word in record.header["command"]), path
        assert not any(Path(folder).is_absolute() for folder in record.artifacts), path
