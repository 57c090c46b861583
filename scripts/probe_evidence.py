"""Whether attention, or anything else, tells which tokens depend on each other, and if it pays.

    python scripts/probe_evidence.py models/tiny-dream --record build/evidence.jsonl --threads 1 \
        --tasks coupled-record coupled-calls coupled-tables --items 40

MODEL is the folder of a checkpoint: a graph does not give out the attention of single heads.

First the evidence. States are met by decoding with `threshold` 0.9. In each, the tokens that a rule
may commit and is not sure of (confidence 0.3 to 0.95) are written in one at a time, and what that
does to the predictions of the others is their true coupling. What could have told coupled pairs
from others is measured by the area under the ROC curve, 0.5 being chance; what has to be learned is
learned on other items (`--learn-items`) than it is judged on.

Then the front. DAWN's selection is given the true coupling for a graph, which no decoder could
afford (its runs are not counted), the learned evidence, the mean attention as it is, and a graph
of all edges; beside it stand `threshold`, `eb` and `verify`. Every setting answers the same items:
that of the true graph which looks best was not chosen on others, so it is a bound from above. Rows
and wall time say nothing here; forwards do.

What is finished is in `--record`, the evidence in a file beside it named `.auc.jsonl`: the same
command goes on, or shows the tables again. Standard output gets Markdown, or one JSON document with
--json.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dawn_calibration.checkpoints import (
    Surroundings,
    load_model,
    open_checkpoint,
    read_surroundings,
)
from dawn_calibration.errors import CalibrationError
from dawn_calibration.tasks import GROUPS, TASKS
from dawn_calibration.torch_engine import TorchEngine
from dawn_models import Transformer
from dawn_runtime import Decoder, Engine
from dawn_runtime.arrays import FloatArray
from dawn_runtime.artifact import sha256_of
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from front.groups import groups
from front.questions import Phase, questions
from front.record import Conditions, Record
from front.report import Table, to_dict
from front.rules import Setting
from front.summary import Judged
from front.sweep import Sweep, progress
from held_out import add_item_flags
from probe import fronts
from probe import record as kept
from probe.engines import State, Watched, WithEvidence
from probe.graphs import (
    COMPLETE,
    LEARNED,
    PLAIN,
    TRUE,
    Complete,
    LearnedGraph,
    TrueGraph,
    settings_of,
)
from probe.judging import FRONT_LABEL, judged, learned, table
from probe.network import Network
from probe.pairs import LABELS, Pairs, pairs_of, states_of

PROBED = ("arithmetic", *GROUPS["coupled"], *GROUPS["free"])
_HEADS = "all heads and entropies, learned"


@dataclass(frozen=True)
class Probe:
    """A model that is looked into.

    Attributes:
        model: The network.
        surroundings: What decoding needs beside it.
        network: The same network, opened.
        say: Told what is being done.
    """

    model: Transformer
    surroundings: Surroundings
    network: Network
    say: Callable[[str], object]

    def engine(self) -> Engine:
        """Makes an engine of the model."""
        return TorchEngine(self.model, self.surroundings.manifest)

    def with_graph(self, graph: Callable[[State], FloatArray]) -> Decoder:
        """Makes a decoder to which a graph is given in place of attention."""
        mask, shift = self.network.mask, self.network.shift
        return self.surroundings.decoder(WithEvidence(self.engine(), mask, shift, graph))

    def pairs(self, task: str, phase: Phase, conditions: Conditions) -> Pairs | None:
        """Collects the pairs of a task; None if no state has any."""
        watched = Watched(self.engine(), self.network.mask, self.network.shift)
        decoder = self.surroundings.decoder(watched)
        rng = np.random.default_rng(conditions.seed)
        asked = questions(task, phase, conditions.items, conditions.seed)
        found: list[Pairs] = []
        for number, item in enumerate(asked):
            states = states_of(decoder, watched, item, conditions)
            found += pairs_of(self.network, states, number, rng)
        self.say(f"{phase}, {task}: {sum(len(one.item) for one in found)} pairs")
        return Pairs.joined(found) if found else None


def main() -> int:
    """Probe, decode what is missing, print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser(
        "probe_evidence", "What tells which tokens depend on each other, and if it pays."
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of a checkpoint")
    add_item_flags(parser, batch=20)
    parser.set_defaults(tasks=list(PROBED), items=40)
    parser.add_argument("--learn-items", type=count, default=20, help="others, of each task")
    parser.add_argument("--record", type=Path, required=True, help="file of what is finished")
    parser.add_argument("--no-front", action="store_true", help="stop after the evidence")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    checkpoint = open_checkpoint(arguments.model)
    record = Record(arguments.record)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    model = load_model(checkpoint)
    probe = Probe(model, read_surroundings(checkpoint), Network(model), progress(arguments.quiet))
    subject = _subject(arguments)
    evidence = _evidence(probe, subject, kept.path_beside(arguments.record))
    tables = [] if arguments.no_front else list(_front(probe, subject, evidence, record))
    if arguments.json:
        print_json(
            {
                "subject": asdict(subject),
                "evidence": kept.found_dicts(evidence.found),
                "front": to_dict(tables, {}),
            }
        )
        return
    print(f"### {subject.model}: what tells coupled pairs from others\n")
    print("\n".join(table(evidence.found)))
    if tables:
        print(f"\n{fronts.text(tables)}")


def _subject(arguments: argparse.Namespace) -> kept.Subject:
    judge = Conditions(
        items=arguments.items,
        seed=arguments.seed,
        max_new_tokens=arguments.max_new_tokens,
        block_length=arguments.block_length,
        batch=arguments.batch,
        threads=arguments.threads,
    )
    return kept.Subject(
        model=arguments.model.resolve().name,
        digest=_digest(arguments.model),
        tasks=tuple(task for task in TASKS if task in arguments.tasks),
        learn=replace(judge, items=arguments.learn_items),
        judge=judge,
    )


def _digest(folder: Path) -> str:
    """Of all files of a checkpoint: other weights are another model."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _evidence(probe: Probe, subject: kept.Subject, path: Path) -> kept.Evidence:
    """Reads or finds how well every evidence tells coupled pairs from others."""
    known = kept.load(path, subject)
    if known is not None:
        return known
    phases: tuple[tuple[Phase, Conditions], ...] = (
        ("choose", subject.learn),
        ("judge", subject.judge),
    )
    learning, judging = (
        {task: probe.pairs(task, phase, conditions) for task in subject.tasks}
        for phase, conditions in phases
    )
    to_learn = [one for one in learning.values() if one is not None]
    to_judge = {task: one for task, one in judging.items() if one is not None}
    if not to_learn or not to_judge:
        raise CalibrationError(
            f"{subject.model}: no step has two tokens to decide about on these items; give more "
            "--items and --learn-items, or harder --tasks"
        )
    models = {label: learned(Pairs.joined(to_learn), label) for label in LABELS}
    found = [one for label in LABELS for one in judged(models[label], to_judge, label)]
    evidence = kept.Evidence(found, models[FRONT_LABEL][_HEADS])
    kept.add(path, subject, evidence)
    return evidence


def _front(
    probe: Probe, subject: kept.Subject, evidence: kept.Evidence, record: Record
) -> Iterator[Table]:
    """Decodes with every graph; returns a table for each group of tasks."""
    conditions: dict[Phase, Conditions] = {"judge": subject.judge}
    digest = f"{subject.digest} learned from {subject.learn.items}"
    sweep = Sweep(subject.model, digest, record, subject.tasks, conditions, probe.say)
    runs: list[tuple[Decoder, tuple[Setting, ...]]] = [
        (probe.surroundings.decoder(probe.engine()), settings_of(PLAIN)),
        (probe.with_graph(Complete()), settings_of(COMPLETE)),
        (probe.with_graph(TrueGraph(probe.network)), settings_of(TRUE)),
        (probe.with_graph(LearnedGraph(probe.network, evidence.model)), settings_of(LEARNED)),
    ]
    for decoder, settings in runs:
        sweep.run(decoder, settings, "judge")
    judged_settings = [one for _, settings in runs for one in settings]
    for group, tasks in groups(subject.tasks).items():
        outcomes = [sweep.outcomes(one, "judge", tasks) for one in judged_settings]
        result = Judged(judged_settings, outcomes, subject.judge.batch)
        yield Table(subject.model, group, tasks, result.rows(), result.ahead())


if __name__ == "__main__":
    sys.exit(main())
