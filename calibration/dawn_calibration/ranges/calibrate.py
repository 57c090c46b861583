"""The run itself: decode, record, search the smoothing, decode again, choose the ranges.

Statistics after smoothing are measured on the smoothed network, not derived: it computes the same
as before, so it takes the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from dawn_calibration.checkpoints import load_model, read_surroundings
from dawn_calibration.prompts import Question, data_sha256, encode_all
from dawn_calibration.ranges.identity import Identity
from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.ranges.progress import PHASES, Progress, read_saved
from dawn_calibration.ranges.recording import Recorder, RecordingEngine, Watcher
from dawn_calibration.ranges.samples import Samples
from dawn_calibration.ranges.sites import Site, sites_of
from dawn_calibration.ranges.smoothing import Smoothing, fold, search_all
from dawn_calibration.ranges.statistics import Statistics
from dawn_calibration.torch_engine import TorchEngine
from dawn_export.quantization.calibration_file import Calibration, Stratum
from dawn_export.quantization.fingerprint import fingerprint
from dawn_models import Checkpoint

_OBSERVE, _MEASURE = PHASES


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a run keeps its state.

    Attributes:
        path: The file.
        every: Prompts between two writings, >= 1.
    """

    path: Path
    every: int = 8


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
        progress: Whether to show a bar on standard error.

    Raises:
        PromptError: A prompt cannot be decoded.
        SourceError: The checkpoint cannot be read.
        OptionError: The device cannot be used.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        questions: Sequence[Question],
        options: RangeOptions,
        storage: Storage,
        *,
        device: str = "cpu",
        progress: bool = False,
    ) -> None:
        self._options = options
        self._storage = storage
        self._show = progress
        self._surroundings = read_surroundings(checkpoint)
        self._prompts = encode_all(
            lambda prompt: self._surroundings.encode(prompt, options.max_new_tokens), questions
        )
        self._sites = sites_of(checkpoint.config)
        self._fingerprint = fingerprint(checkpoint)
        self._data = data_sha256(questions)
        self._settings = options.to_settings()
        self._model = load_model(checkpoint, device, options.dtype)
        self._device = self._model.embedding.weight.device

    def run(self) -> Found:
        """Decodes all prompts, with smoothing twice.

        The state stays behind; delete it once the result is in its place.

        Raises:
            ActivationError: A value is NaN or infinite; the message names the layer.
            StateError: The state is damaged, or of another run.
        """
        progress = self._begin()
        resumed = progress.done
        if progress.phase == _OBSERVE:
            self._record(progress)
            progress = self._smoothed(progress)
            progress.save(self._storage.path)
        vectors = {name: found.vector for name, found in progress.smoothing.items()}
        fold(self._model, vectors, self._sites)
        self._record(progress)
        calibration = self._calibration(progress)
        return Found(calibration, self._sites, progress.statistics, progress.smoothing, resumed)

    def _begin(self) -> Progress:
        """Takes up what an interrupted run has left, or starts anew."""
        run = self._identity()
        saved = read_saved(self._storage.path, run)
        if saved is None:
            return self._empty(run, _OBSERVE if self._options.smooth else _MEASURE)
        progress = self._empty(run, saved.header["phase"])
        progress.done, progress.forwards = saved.header["done"], saved.header["forwards"]
        progress.smoothing = saved.smoothing
        progress.fill(saved)
        return progress

    def _empty(self, run: Identity, phase: str) -> Progress:
        count = len(self._options.strata)
        observed = [s for s in self._sites if s.smoothed and phase == _OBSERVE]
        widths = [(site.name, site.width) for site in observed]
        return Progress(
            run,
            phase,
            Statistics(self._sites, count, self._device),
            Samples(widths, count, self._options.samples, self._device),
        )

    def _smoothed(self, observed: Progress) -> Progress:
        """Ends the first phase: what to smooth is known, what comes of it is still to be seen."""
        progress = self._empty(observed.run, _MEASURE)
        progress.forwards = observed.forwards
        progress.smoothing = search_all(
            *(self._model, self._sites, observed.statistics, observed.samples),
            self._options.clip,
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
        engine = RecordingEngine(TorchEngine(self._model, self._surroundings.manifest), recorder)
        watcher = Watcher(self._surroundings.decoder(engine), engine, recorder, self._options)
        numbers = range(progress.done, len(self._prompts))
        with tqdm(
            total=len(self._prompts),
            initial=progress.done,
            desc=progress.phase,
            unit="prompt",
            disable=not self._show,
        ) as bar:
            for number in numbers:
                progress.forwards += watcher.watch(number, self._prompts[number])
                progress.done = number + 1
                bar.update()
                if progress.done % self._storage.every == 0:
                    progress.save(self._storage.path)

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
