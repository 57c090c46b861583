"""What the server counts, in the text format of Prometheus."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Family:
    """One thing that is counted.

    Attributes:
        kind: `counter`, `gauge` or `histogram`.
        help: What it is.
    """

    kind: str
    help: str


FAMILIES: Final[Mapping[str, Family]] = {
    "dawn_requests_total": Family("counter", "HTTP requests answered, by route and status."),
    "dawn_answers_total": Family("counter", "Answers decoded, by why they ended."),
    "dawn_refused_total": Family("counter", "Orders not begun, by reason."),
    "dawn_prompt_tokens_total": Family("counter", "Tokens of prompts of the answers decoded."),
    "dawn_answer_tokens_total": Family("counter", "Final tokens of the answers decoded."),
    "dawn_steps_total": Family("counter", "Steps of the whole batch."),
    "dawn_rows_fed_total": Family(
        "counter", "Positions fed to the engine for the answers decoded."
    ),
    "dawn_engine_failures_total": Family("counter", "Steps in which the engine failed."),
    "dawn_queue_seconds": Family("histogram", "Time that answers waited before their first step."),
    "dawn_answer_seconds": Family("histogram", "Time from taking an order to its answer."),
    "dawn_running": Family("gauge", "Answers in the batch."),
    "dawn_waiting": Family("gauge", "Orders that wait for room in it."),
}
"""All that is counted, by name."""


class Metrics:
    """Counts; may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], float] = {}
        self._sums: dict[str, list[float]] = {}

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Adds to a counter of `FAMILIES`.

        Args:
            name: Of the counter.
            value: What is added.
            **labels: Which of its kinds; texts of our own, never of a client.
        """
        shown = ",".join(f'{key}="{text}"' for key, text in sorted(labels.items()))
        with self._lock:
            key = (name, f"{{{shown}}}" if shown else "")
            self._counts[key] = self._counts.get(key, 0) + value

    def observe(self, name: str, seconds: float) -> None:
        """Adds a time to a histogram of `FAMILIES`."""
        with self._lock:
            found = self._sums.setdefault(name, [0.0] * (len(_SECONDS) + 2))
            for place, bound in enumerate(_SECONDS):
                found[place] += seconds <= bound
            found[-2] += 1
            found[-1] += seconds

    def render(self, gauges: Mapping[str, float]) -> str:
        """Returns all of it as text.

        Args:
            gauges: Values of the gauges of `FAMILIES` at this moment.
        """
        with self._lock:
            counts, sums = dict(self._counts), {name: list(one) for name, one in self._sums.items()}
        lines = []
        for name, family in FAMILIES.items():
            lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
            if family.kind == "histogram":
                lines += _histogram(name, sums.get(name, [0.0] * (len(_SECONDS) + 2)))
            elif family.kind == "gauge":
                lines.append(f"{name} {gauges[name]:g}")
            else:
                own = {labels: n for (owner, labels), n in counts.items() if owner == name}
                lines += [
                    f"{name}{labels} {n:.15g}" for labels, n in sorted((own or {"": 0}).items())
                ]
        return "\n".join(lines) + "\n"


def _histogram(name: str, found: list[float]) -> list[str]:
    lines = [
        f'{name}_bucket{{le="{bound:g}"}} {count:g}'
        for bound, count in zip(_SECONDS, found, strict=False)
    ]
    *_, count, total = found
    return [
        *lines,
        f'{name}_bucket{{le="+Inf"}} {count:.15g}',
        f"{name}_sum {total:.15g}",
        f"{name}_count {count:.15g}",
    ]
