"""Everything that can be wrong with a checkpoint.

    CheckpointError            a folder that is not a checkpoint we can read
    ├── ConfigError            config.json: missing, malformed or unsupported field
    └── WeightsError           safetensors: missing, unexpected, mis-shaped or unsafe tensors

Every message is one line and names the file and, where there is one, the field or tensor.
"""

from __future__ import annotations


class CheckpointError(Exception):
    """A checkpoint folder that cannot be read; the message says which file and why."""


class ConfigError(CheckpointError):
    """A configuration value that is missing, has the wrong type, or is not implemented."""


class WeightsError(CheckpointError):
    """A weight file or tensor that is missing, unexpected, mis-shaped or unsafe to open."""
