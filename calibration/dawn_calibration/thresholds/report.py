"""What tuning tells people: lines of text, a document for JSON, and the Pareto picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dawn_calibration.answers import Likeness
from dawn_calibration.thresholds.length import EXPONENT, REFERENCE
from dawn_calibration.thresholds.search import Point, pareto
from dawn_calibration.thresholds.tune import Measured, Tuned
from dawn_runtime.pictures import picture
from dawn_runtime.wording import counted


def report_text(tuned: Tuned) -> str:
    """Returns the result for people."""
    return "\n".join(_lines(tuned)) + "\n"


def to_dict(tuned: Tuned) -> dict[str, Any]:
    """Returns all of it for JSON."""
    return {**asdict(tuned), "gained": tuned.gained}


def draw_pareto(tuned: Tuned, path: Path) -> None:
    """Draws quality against forwards: all that was tried, its front, start and choice.

    Args:
        tuned: Result of tuning.
        path: Where the PNG shall be.
    """
    title = f"{tuned.policy}: thresholds tried on {counted(tuned.prompts[0], 'prompt')}"
    with picture(path, 1, 1, title=title) as (axis,):
        tried, front = tuned.points, pareto(tuned.points)
        axis.plot(*_coordinates(tried), "o", color="0.75", label="tried")
        axis.plot(*_coordinates(front), "o-", label="Pareto front")
        axis.plot(*_coordinates([tuned.start]), "s", color="tab:red", label="before")
        axis.plot(*_coordinates([tuned.chosen]), "*", color="k", markersize=13, label="tuned")
        axis.axhline(100 * tuned.wanted, linestyle=":", color="k", label="wanted")
        axis.set_xlabel("forwards an answer")
        axis.set_ylabel(f"{_quality_name(tuned)}, %")
        axis.legend(fontsize="small", loc="lower right")


def _lines(tuned: Tuned) -> Iterator[str]:
    searched, held_out = tuned.prompts
    yield (
        f"{tuned.policy}: {counted(len(tuned.points), 'setting')} tried on "
        f"{counted(searched, 'prompt')}; wanted is {_quality_name(tuned)} of "
        f"{100 * tuned.wanted:.1f} % with the fewest forwards"
    )
    yield ""
    for name, value in tuned.chosen.options.items():
        before = tuned.start.options[name]
        yield f"  {name:<17} {before} -> {value}" if value != before else f"  {name:<17} {value}"
    yield ""
    yield f"On {counted(held_out, 'held-out prompt')}:"
    yield f"{'':<22}{'agreement %':>12}{'same answer %':>15}{'right %':>9}{'forwards':>10}"
    for entry in tuned.held_out:
        yield _row(entry.name, entry.likeness)
    yield ""
    lost = 100 * (_quality(tuned.held_out[1]) - _quality(tuned.held_out[2]))
    if lost > 0:
        yield (
            f"Held-out prompts lose {lost:.1f} points of {_quality_name(tuned)}; if that is too "
            "much, ask for more with --agreement or search on more prompts."
        )
        yield ""
    yield _length(tuned)


def _length(tuned: Tuned) -> str:
    """How long the sequences were, and what that means for the thresholds of attention."""
    lengths = tuned.lengths
    ends = dict.fromkeys((lengths.shortest, lengths.longest))
    seen = f"{' to '.join(map(str, ends))} tokens, prompt and answer together"
    if EXPONENT not in tuned.chosen.options:
        return f"The sequences have {seen}."
    if lengths.alike:
        return (
            f"All sequences have {seen}: {EXPONENT} cannot be told apart there and was not "
            "searched; give prompts of different length to find it."
        )
    reference = tuned.chosen.options[REFERENCE]
    if not (reference and tuned.chosen.options[EXPONENT]):
        return f"The sequences have {seen}; scaling tau_edge and tau_sink by length gained nothing."
    return (
        f"The sequences have {seen}. tau_edge and tau_sink are for {reference}; where there are "
        f"more or fewer they are multiplied by ({reference} / tokens) ** {EXPONENT}."
    )


def _row(name: str, likeness: Likeness) -> str:
    right = "-" if likeness.right is None else f"{100 * likeness.right:.1f}"
    return (
        f"{name:<22}{100 * likeness.agreement:>12.1f}{100 * likeness.equal:>15.1f}"
        f"{right:>9}{likeness.forwards:>10.2f}"
    )


def _quality(measured: Measured) -> float:
    return Point({}, measured.likeness).quality


def _quality_name(tuned: Tuned) -> str:
    return "agreement" if tuned.start.likeness.right is None else "right answers"


def _coordinates(points: Any) -> tuple[list[float], list[float]]:
    return (
        [point.likeness.forwards for point in points],
        [100 * point.quality for point in points],
    )
