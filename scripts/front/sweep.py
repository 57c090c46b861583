"""Settings decoded on items: first all of them, then on others those that were worth it."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dawn_calibration.tasks import Item
from dawn_runtime import Decoder, Result
from dawn_runtime.errors import EngineError, OptionError
from front.groups import group_of
from front.pareto import far_behind, front, thinned
from front.questions import Phase, questions
from front.record import Conditions, Job, Outcome, Record
from front.rules import Setting
from held_out import batches, judged


@dataclass(frozen=True)
class Sweep:
    """One artifact, and what of it is kept.

    Attributes:
        artifact: Its name.
        digest: Of its manifest.
        record: Outcomes, those of earlier runs too.
        tasks: Names of tasks.
        conditions: Of either phase: how many items of each group of tasks, and how they are
            decoded.
        say: Told what is being done.
    """

    artifact: str
    digest: str
    record: Record
    tasks: tuple[str, ...]
    conditions: Mapping[Phase, Conditions]
    say: Callable[[str], object]

    def job(self, setting: Setting, task: str, phase: Phase) -> Job:
        """Returns what is decoded for a setting on a task."""
        conditions = self.conditions_of(task, phase)
        return Job(self.artifact, self.digest, setting, task, phase, conditions)

    def conditions_of(self, task: str, phase: Phase) -> Conditions:
        """Returns those of a task, which has its part of the items of its group, rounded up."""
        beside = sum(group_of(task) == group_of(other) for other in self.tasks)
        conditions = self.conditions[phase]
        return replace(conditions, items=math.ceil(conditions.items / beside))

    def outcomes(self, setting: Setting, phase: Phase, tasks: Sequence[str]) -> list[Outcome]:
        """Returns what came of a setting, task by task."""
        return [self.record.outcomes[self.job(setting, task, phase)] for task in tasks]

    def missing(self, setting: Setting, phase: Phase) -> list[str]:
        """Returns the tasks on which a setting is not in the record."""
        outcomes = self.record.outcomes
        return [task for task in self.tasks if self.job(setting, task, phase) not in outcomes]

    def run(self, decoder: Decoder, settings: Sequence[Setting], phase: Phase) -> None:
        """Decodes what is not in the record.

        All settings answer a task before the next task begins: what else the machine does changes
        from hour to hour, and their times are compared with each other.

        Args:
            decoder: The artifact.
            settings: Rules and strengths.
            phase: What the items are for.

        Raises:
            EngineError: The engine failed.
        """
        for task in self.tasks:
            missing = [one for one in settings if task in self.missing(one, phase)]
            if not missing:
                continue
            wanted = self.conditions_of(task, phase)
            asked = questions(task, phase, wanted.items, wanted.seed)
            self.say(
                f"{self.artifact}, {phase}, {task}: {len(missing)} settings, {len(asked)} items"
            )
            for setting in missing:
                outcome = decoded(decoder, asked, setting, wanted)
                self.record.add(self.job(setting, task, phase), outcome)

    def chosen(self, settings: Sequence[Setting], most: int) -> list[Setting]:
        """Returns the settings of each rule that none of its own beats where settings are chosen.

        Args:
            settings: Those that were run.
            most: Of one rule; more are thinned out evenly by forwards. Of a rule that is far behind
                only the most careful is kept, as it takes hours to judge what is not in question.
        """
        points = {one: _point(self.outcomes(one, "choose", self.tasks)) for one in settings}
        found = []
        for rule in dict.fromkeys(setting.rule for setting in settings):
            own = [setting for setting in settings if setting.rule == rule]
            best = [own[number] for number in front([points[one] for one in own])]
            far = all(far_behind(points[one], points.values()) for one in best)
            found += [best[number] for number in thinned(range(len(best)), 1 if far else most)]
        return found


def refusals(
    decoder: Decoder, settings: Sequence[Setting], conditions: Conditions
) -> dict[Setting, str]:
    """Finds out which settings an artifact cannot be decoded with, and why.

    A rule may need what a model or an engine does not have, and some numbers do not go with every
    length. Each is tried on one question, which warms the engine up, too.

    Args:
        decoder: The artifact.
        settings: Rules and strengths.
        conditions: How they are decoded.
    """
    reasons = ((setting, _refusal(decoder, setting, conditions)) for setting in settings)
    return {setting: reason for setting, reason in reasons if reason}


def _refusal(decoder: Decoder, setting: Setting, conditions: Conditions) -> str:
    question = [[{"role": "user", "content": "2 + 3"}]]
    given = setting.settings(conditions.max_new_tokens, conditions.block_length)
    try:
        decoder.generate_batch(question, **given)
    except (OptionError, EngineError) as error:
        return str(error)
    return ""


def by_rule(refused: Mapping[Setting, str], settings: Sequence[Setting]) -> dict[str, str]:
    """Returns the reasons by rule, or by rule and setting where others of the rule can be run."""
    run = {setting.rule for setting in settings if setting not in refused}
    return {
        f"{setting.rule} at {setting}" if setting.rule in run else setting.rule: reason
        for setting, reason in refused.items()
    }


def decoded(
    decoder: Decoder, asked: list[Item], setting: Setting, conditions: Conditions
) -> Outcome:
    """Decodes items of one task and judges the answers."""
    given = setting.settings(conditions.max_new_tokens, conditions.block_length)
    results: list[Result] = []
    seconds: list[float] = []
    started = time.process_time()
    for batch in batches(decoder, asked, conditions.batch, given):
        results += batch
        spent = time.process_time() - started if conditions.threads == 1 else batch[0].seconds
        seconds += [spent / len(batch)] * len(batch)  # a result has those of all
        started = time.process_time()
    return Outcome(
        right=tuple(verdict.correct for verdict in judged(asked[0].task, asked, results)),
        forwards=tuple(result.forwards for result in results),
        rows=tuple(result.rows_fed for result in results),
        seconds=tuple(seconds),
    )


def progress(quiet: bool) -> Callable[[str], object]:
    """Returns what tells people what is being done."""
    return lambda line: None if quiet else print(line, file=sys.stderr, flush=True)


def _point(outcomes: Sequence[Outcome]) -> tuple[float, float, float]:
    """The share of right answers, forwards and rows of an answer."""
    return (
        statistics.mean(right for one in outcomes for right in one.right),
        statistics.mean(forwards for one in outcomes for forwards in one.forwards),
        statistics.mean(rows for one in outcomes for rows in one.rows),
    )
