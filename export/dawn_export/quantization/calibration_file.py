"""`calibration.json`: what `dawn-calibrate ranges` found, and what static quantisation needs.

======================  ============================================================================
field                   meaning
======================  ============================================================================
format_version          version of this file format
dawn_edge_version       version of the toolkit that wrote it
model                   whose activations these are: `ModelFingerprint`
data_sha256             hash of the prompts they were recorded on, 64 hex digits
strata                  which rows were seen: share of masked positions, masked or not, how many
settings                how it was done: clipping, strengths tried, seed, ...
ranges                  ``layers.3.down_proj`` -> largest magnitude of that product's input to
                        represent (> 0), after smoothing; all 7 products of every layer
smoothing               ``layers.3.attention_norm`` or ``layers.3.mlp_norm`` -> s [hidden], > 0: the
                        norm's weight is divided by s, the input columns of the products behind it
                        are multiplied by s (SmoothQuant); norms left out are not changed
======================  ============================================================================

Reading is strict: a field that is missing, unknown, of another type, not finite or out of range is
refused by its name, and so is the file of another model.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Final

from dawn_export.errors import CalibrationFileError
from dawn_models.anatomy import linear_names, norm_names
from dawn_runtime._fields import Fields, read_text
from dawn_runtime._version import __version__
from dawn_runtime.decoding_defaults import OptionValue
from dawn_runtime.errors import ArtifactError
from dawn_runtime.manifest_records import Dims

CALIBRATION_FILE: Final = "calibration.json"
FORMAT_VERSION: Final = 1
MAX_BYTES: Final = 64 * 2**20
"""Largest file that is read; 80 layers of 8192 channels have 25 MB."""

_REMEDY = "run dawn-calibrate ranges again"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ModelFingerprint:
    """Tells models apart; see `dawn_export.quantization.fingerprint`.

    Attributes:
        family: Model family.
        dims: Its sizes.
        config_sha256: Hash of every switch of its configuration.
        weights_sha256: Hash of a small sample of every weight.
    """

    family: str
    dims: Dims
    config_sha256: str
    weights_sha256: str

    @classmethod
    def read(cls, source: Fields) -> ModelFingerprint:
        """Reads the record; raises `ArtifactError` at a wrong field."""
        source.only(*(entry.name for entry in fields(cls)))
        return cls(
            family=source.text("family"),
            dims=Dims.read(source.nested("dims")),
            config_sha256=source.text("config_sha256"),
            weights_sha256=source.text("weights_sha256"),
        )


@dataclass(frozen=True, slots=True)
class Stratum:
    """Rows that were seen at one stage of decoding.

    Attributes:
        lowest: Smallest share of masked positions in the answer, 0 to 1.
        highest: Largest one.
        masked: Whether the rows were masked positions themselves.
        rows: How many were seen.
    """

    lowest: float
    highest: float
    masked: bool
    rows: int

    @classmethod
    def read(cls, source: Fields) -> Stratum:
        """Reads the record; raises `ArtifactError` at a wrong field."""
        source.only(*(entry.name for entry in fields(cls)))
        return cls(
            lowest=source.number("lowest"),
            highest=source.number("highest"),
            masked=source.boolean("masked"),
            rows=source.integer("rows"),
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Content of `calibration.json`; the fields are those of the module's table.

    Raises:
        CalibrationFileError: A name does not belong to the model, or a number is out of range.
    """

    model: ModelFingerprint
    data_sha256: str
    strata: tuple[Stratum, ...]
    settings: Mapping[str, OptionValue]
    ranges: Mapping[str, float]
    smoothing: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    dawn_edge_version: str = __version__
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _check_names(self)
        for name, holds, expected in _rules(self):
            if not holds:
                raise CalibrationFileError(
                    f"field {name!r} is invalid, expected {expected}; {_REMEDY}"
                )

    def check_model(self, found: ModelFingerprint) -> None:
        """Refuses a model that this was not made for.

        Raises:
            CalibrationFileError: Some part of the fingerprint differs.
        """
        for entry in fields(ModelFingerprint):
            ours, theirs = getattr(self.model, entry.name), getattr(found, entry.name)
            if ours != theirs:
                raise CalibrationFileError(
                    f"the calibration was made for another model, {entry.name} is {ours!s:.80} and "
                    f"the checkpoint's is {theirs!s:.80}; {_REMEDY} on this checkpoint"
                )

    def to_json(self) -> str:
        """Returns the text of `calibration.json`."""
        return json.dumps(asdict(self), indent=1, allow_nan=False, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = CALIBRATION_FILE) -> Calibration:
        """Reads the text of `calibration.json`.

        Args:
            text: Content of the file.
            source: File name for messages.

        Raises:
            CalibrationFileError: The text is not a calibration this version can use.
        """
        try:
            return _read(Fields.parse(text, source, _REMEDY))
        except ArtifactError as error:
            raise CalibrationFileError(str(error)) from error
        except CalibrationFileError as error:
            raise CalibrationFileError(f"{source}: {error}") from error


def read_calibration(path: Path) -> Calibration:
    """Reads a calibration file.

    Raises:
        CalibrationFileError: It cannot be read, or is not a calibration this version can use.
    """
    if not os.path.lexists(path):
        raise CalibrationFileError(
            f"{path}: no such file; check the path, or make one with dawn-calibrate ranges"
        )
    try:
        text = read_text(path, MAX_BYTES, _REMEDY)
    except ArtifactError as error:
        raise CalibrationFileError(str(error)) from error
    return Calibration.from_json(text, str(path))


def _read(root: Fields) -> Calibration:
    if "decoding" in root.values:
        raise CalibrationFileError(
            "is the manifest of an artifact; give the calibration.json of dawn-calibrate ranges"
        )
    version = root.integer("format_version", minimum=1)
    if version > FORMAT_VERSION:
        raise CalibrationFileError(
            f"format version {version} is newer than {FORMAT_VERSION}, the newest "
            f"that dawn-edge {__version__} reads; update dawn-edge or {_REMEDY}"
        )
    root.only(*(entry.name for entry in fields(Calibration)))
    settings, ranges, smoothing = map(root.nested, ("settings", "ranges", "smoothing"))
    return Calibration(
        model=ModelFingerprint.read(root.nested("model")),
        data_sha256=root.text("data_sha256"),
        strata=tuple(map(Stratum.read, root.objects("strata"))),
        settings={name: settings.option(name) for name in settings.values},
        ranges={name: ranges.number(name) for name in ranges.values},
        smoothing={name: smoothing.numbers(name) for name in smoothing.values},
        dawn_edge_version=root.text("dawn_edge_version"),
        format_version=version,
    )


def _check_names(calibration: Calibration) -> None:
    """Every product has a range; nothing has a name that the model does not know."""
    layers = calibration.model.dims.layers
    linears, norms = set(linear_names(layers)), set(norm_names(layers))
    missing = sorted(linears - set(calibration.ranges))
    unknown = sorted(set(calibration.ranges) - linears | set(calibration.smoothing) - norms)
    for names, problem in ((missing, "has no range"), (unknown, "is no part of the model")):
        if names:
            raise CalibrationFileError(f"{names[0]!r:.80} {problem} of {layers} layers; {_REMEDY}")


def _rules(calibration: Calibration) -> list[tuple[str, bool, str]]:
    """Lists (field, whether it holds, what is expected) for every range check."""
    model, hidden = calibration.model, calibration.model.dims.hidden
    hashes = {
        "data_sha256": calibration.data_sha256,
        "model.config_sha256": model.config_sha256,
        "model.weights_sha256": model.weights_sha256,
    }
    return [
        *(
            (name, _SHA256.fullmatch(value) is not None, "64 hex digits")
            for name, value in hashes.items()
        ),
        ("strata", all(map(_sound, calibration.strata)), "0 <= lowest <= highest <= 1, rows >= 0"),
        *(
            (f"ranges.{name}", _positive(value), "a finite number > 0")
            for name, value in calibration.ranges.items()
        ),
        *(
            (
                f"smoothing.{name}",
                len(vector) == hidden and all(map(_positive, vector)),
                f"{hidden} finite numbers > 0",
            )
            for name, vector in calibration.smoothing.items()
        ),
    ]


def _sound(stratum: Stratum) -> bool:
    return 0 <= stratum.lowest <= stratum.highest <= 1 and stratum.rows >= 0


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
