"""The run itself: decode, record, search the smoothing, decode again, choose the ranges.

Statistics after smoothing are measured on the smoothed network, not derived: it computes the same
as before, so it takes the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from dawn_calibration.checkpoints import load_model, read_surroundings
from dawn_calibration.errors import StateError
from dawn_calibration.prompts import Question, data_sha256, encode_all, listed_questions
from dawn_calibration.ranges.bounds import check_memory, check_room
from dawn_calibration.ranges.identity import Identity
from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.ranges.progress import PHASES, Progress, Saved, read_saved
from dawn_calibration.ranges.recording import Recorder, RecordingEngine, Watcher
from dawn_calibration.ranges.samples import Samples
from dawn_calibration.ranges.sites import Site, sites_of
from dawn_calibration.ranges.smoothing import Smoothing, fold, search_all
from dawn_calibration.ranges.statistics import Statistics
from dawn_calibration.torch_engine import TorchEngine
from dawn_export.progress import stage
from dawn_export.quantization.calibration_file import Calibration, Stratum
from dawn_export.quantization.fingerprint import fingerprint
from dawn_models import Checkpoint
from dawn_runtime.arrays import IntArray
from dawn_runtime.checks import check_integer, check_kind
from dawn_runtime.errors import OptionError
from dawn_runtime.files import reason_of
from dawn_runtime.interruption import held
from dawn_runtime.settings import make_plan
from dawn_runtime.threads import Threads, choose_threads
from dawn_runtime.wording import counted

_OBSERVE, _MEASURE = PHASES


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a run keeps its state.

    Attributes:
        path: The file.
        every: Prompts between two writings, >= 1.

    Raises:
        OptionError: There are none.
    """

    path: Path
    every: int = 8

    def __post_init__(self) -> None:
        check_integer("ranges", "save_every", self.every, minimum=1)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a run has found.

    Attributes:
        calibration: What is written into `calibration.json`.
        sites: Where it looked.
        statistics: Magnitudes, after smoothing.
        smoothing: Norm -> its smoothing; empty without.
        resumed: Prompts that an interrupted run had finished already.
    """

    calibration: Calibration
    sites: tuple[Site, ...]
    statistics: Statistics
    smoothing: dict[str, Smoothing]
    resumed: int


class Calibrator:
    """Finds the ranges of one checkpoint on given prompts.

    Args:
        checkpoint: The model.
        questions: The prompts.
        options: How ranges are found.
        storage: Where to keep the state.
        device: A device of torch.
        threads: CPU threads of torch; None takes as many as help, or those of the interrupted run
            that is taken up, because the last bits of a sum depend on their number.

    Attributes:
        threads: How many were chosen, and why, once it runs.

    Raises:
        PromptError: A prompt cannot be decoded, or there are none.
        SourceError: The checkpoint cannot be read.
        OptionError: The device cannot be used, what is recorded does not fit the memory, or no rule
            of today decodes the model.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        questions: Iterable[Question],
        options: RangeOptions,
        storage: Storage,
        *,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        check_kind("ranges", "options", options, RangeOptions, "RangeOptions")
        questions = listed_questions(questions)
        self._options = options
        self._storage = storage
        self._wanted = threads
        self.threads: Threads | None = None
        self._surroundings = read_surroundings(checkpoint)
        manifest = self._surroundings.manifest
        make_plan(options.decoding(), manifest.decoding, manifest.attention)
        if manifest.attention.kind != "full":
            raise OptionError(
                "ranges are recorded of passes that see everything, and this model attends "
                f"{manifest.attention.words()}; export it with --target cpu or cuda, whose INT8 "
                "and INT4 need no calibration"
            )
        self._prompts = encode_all(
            lambda prompt: self._surroundings.encode(prompt, options.max_new_tokens), questions
        )
        self._sites = sites_of(checkpoint.config)
        self._fingerprint = fingerprint(checkpoint)
        self._data = data_sha256(questions)
        self._settings = options.to_settings()
        check_memory(self._sites, options)
        with stage("loading", f"loading the network in {options.dtype}"):
            self._model = load_model(checkpoint, device, options.dtype)
        self._device = self._model.embedding.weight.device

    def run(self) -> Found:
        """Decodes all prompts, with smoothing twice.

        The state stays behind; delete it once the result is in its place. An interruption saves it
        as it is then, in the middle of a prompt too.

        Raises:
            ActivationError: A value is NaN or infinite; the message names the layer.
            StateError: The state is damaged, or of another run, or cannot be written.
            KeyboardInterrupt: It was interrupted; the state is saved.
        """
        progress = self._begin()
        resumed = progress.done
        try:
            if progress.phase == _OBSERVE:
                self._record(progress)
                progress = self._smoothed(progress)
                progress.save(self._storage.path)
            vectors = {name: found.vector for name, found in progress.smoothing.items()}
            fold(self._model, vectors, self._sites)
            self._record(progress)
            progress.save(self._storage.path)
        except KeyboardInterrupt as interrupt:
            raise self._kept(progress, interrupt) from None
        calibration = self._calibration(progress)
        return Found(calibration, self._sites, progress.statistics, progress.smoothing, resumed)

    def _begin(self) -> Progress:
        """Takes up what an interrupted run has left, or starts anew."""
        run = self._identity()
        saved = read_saved(self._storage.path, run)
        self._take_threads(saved)
        phase = _OBSERVE if self._options.smooth else _MEASURE
        progress = self._empty(run, phase if saved is None else saved.phase)
        if saved is not None:
            progress.fill(saved, len(self._prompts))
        check_room(self._storage.path, progress.size)
        return progress

    def _take_threads(self, saved: Saved | None) -> None:
        dims, wanted = self._surroundings.manifest.dims, self._wanted
        if wanted is None and saved is not None:
            chosen = choose_threads(dims, saved.threads)
            self.threads = replace(chosen, reason="as before the interruption")
        else:
            self.threads = choose_threads(dims, wanted)
        with stage("threads", self.threads.line()):
            torch.set_num_threads(self.threads.count)

    def _kept(self, progress: Progress, interrupt: KeyboardInterrupt) -> BaseException:
        """Saves what an interruption leaves; returns what is to be raised then."""
        try:
            progress.save(self._storage.path)
        except OSError as error:
            return StateError(
                f"{self._storage.path}: interrupted, and the state cannot be written "
                f"({reason_of(error)}); what was saved before is there still"
            )
        where = f"prompt {progress.done + 1} of {len(self._prompts)}, run {len(progress.trail)}"
        interrupt.args = (
            f"in phase {progress.phase}, {where}; {self._storage.path} keeps what is done, and the "
            "same command takes it up",
        )
        return interrupt

    def _empty(self, run: Identity, phase: str) -> Progress:
        count = len(self._options.strata)
        observed = [s for s in self._sites if s.smoothed and phase == _OBSERVE]
        widths = [(site.name, site.width) for site in observed]
        return Progress(
            run,
            phase,
            Statistics(self._sites, count, self._device),
            Samples(widths, count, self._options.samples, self._device),
            threads=torch.get_num_threads(),
        )

    def _smoothed(self, observed: Progress) -> Progress:
        """Ends the first phase: what to smooth is known, what comes of it is still to be seen."""
        progress = self._empty(observed.run, _MEASURE)
        progress.forwards = observed.forwards
        norms = sum(site.smoothed for site in self._sites)
        with stage("smoothing", f"searching the smoothing of {norms} norms", norms, "norm") as done:
            progress.smoothing = search_all(
                *(self._model, self._sites, observed.statistics, observed.samples),
                self._options.clip,
                lambda: done(1),
            )
        return progress

    def _record(self, progress: Progress) -> None:
        """Decodes the prompts that this phase still lacks."""
        recorder = Recorder(
            self._model,
            self._sites,
            progress.statistics,
            progress.samples,
            self._options.strata,
            self._surroundings.manifest.tokens.mask,
            self._options.seed,
        )
        lengths = list(map(self._new_tokens, self._prompts))[progress.done :]
        with stage(progress.phase, self._doing(progress), sum(lengths), "token") as advance:
            meter = _Meter(advance)
            network = TorchEngine(self._model, self._surroundings.manifest)
            engine = RecordingEngine(network, recorder, progress.trail, meter.decided)
            watcher = Watcher(self._surroundings.decoder(engine), engine, recorder, self._options)
            for number, length in enumerate(lengths, start=progress.done):
                forwards = watcher.watch(number, self._prompts[number])
                with held():
                    progress.forwards += forwards
                    progress.done = number + 1
                    progress.trail.clear()
                meter.finished(length)
                if progress.done % self._storage.every == 0:
                    progress.save(self._storage.path)

    def _new_tokens(self, prompt: IntArray) -> int:
        manifest = self._surroundings.manifest
        wanted = self._options.max_new_tokens or manifest.decoding.max_new_tokens
        return min(wanted, manifest.dims.max_length - len(prompt))

    def _doing(self, progress: Progress) -> str:
        """The phase for people."""
        number = PHASES.index(progress.phase) + 1 if self._options.smooth else 1
        prompts = counted(len(self._prompts), "prompt")
        begun = f" from prompt {progress.done + 1} on" if progress.done or progress.trail else ""
        goal = "to choose smoothing by" if progress.phase == _OBSERVE else "to choose ranges by"
        return (
            f"phase {number} of {len(PHASES) if self._options.smooth else 1}: decoding {prompts}"
            f"{begun} and recording activations, {goal}"
        )

    def _calibration(self, progress: Progress) -> Calibration:
        clip, strata, statistics = self._options.clip, self._options.strata, progress.statistics
        ranges = {site.name: statistics.sites[site.name].range_of(clip) for site in self._sites}
        smoothed = {n: s for n, s in progress.smoothing.items() if s.strength is not None}
        strengths = {f"strength.{name}": found.strength or 0.0 for name, found in smoothed.items()}
        counts = {"prompts": len(self._prompts), "forwards": progress.forwards}
        return Calibration(
            model=self._fingerprint,
            data_sha256=self._data,
            strata=tuple(
                Stratum(*strata.bounds(number), strata.is_masked(number), rows)
                for number, rows in enumerate(statistics.rows.tolist())
            ),
            settings={**self._settings, **counts, **strengths},
            ranges={name: ranges[site.name] for site in self._sites for name in site.linears},
            smoothing={name: found.vector for name, found in smoothed.items()},
        )

    def _identity(self) -> Identity:
        return Identity(asdict(self._fingerprint), self._data, self._settings)


class _Meter:
    """Tells a stage how many tokens are decided, over all of its prompts."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._before = self._told = 0

    def decided(self, tokens: int) -> None:
        """So many are decided of the prompt under way."""
        more = self._before + tokens - self._told
        if more > 0:
            self._told += more
            self._advance(more)

    def finished(self, tokens: int) -> None:
        """The prompt, which had so many, is done."""
        self.decided(tokens)
        self._before += tokens
