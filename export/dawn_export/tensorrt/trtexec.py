"""The `trtexec` commands that build the same plan as `build_plan`, for machines without us.

`trtexec` comes with TensorRT itself (archive, Debian packages, containers, JetPack), not with its
Python packages. Flags as in samples/common/sampleOptions.cpp of the releases 10.3 and 11.1.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from dawn_export.tensorrt.files import write_whole
from dawn_export.tensorrt.options import EngineOptions
from dawn_runtime.engine.tensorrt.plans import COMMANDS_FILE, PLAN_SUFFIX, TIMING_CACHE
from dawn_runtime.engine.tensorrt.profiles import Profile, shape_of
from dawn_runtime.manifest import Manifest

PLAN_NAME: Final = f"model{PLAN_SUFFIX}"

_TYPED: Final = {10: ["--stronglyTyped"], 11: []}
"""Major release -> flags that make types come from the graph alone; 11 knows nothing else."""


def trtexec_command(manifest: Manifest, options: EngineOptions, major: int) -> list[str]:
    """Returns the command for a major release, to be run in the artifact folder.

    Args:
        manifest: Manifest of the artifact.
        options: What the plan is for.
        major: 10 or 11.
    """
    command = [
        "trtexec",
        f"--onnx={manifest.step.file}",
        f"--saveEngine={PLAN_NAME}",
        *_TYPED[major],
    ]
    command += ["--noTF32", "--skipInference", "--profilingVerbosity=detailed"]
    command += [f"--timingCacheFile={TIMING_CACHE}"]
    # As `build_plan` has it: attention without a kernel of its own may be several.
    command += ["--decomposableAttentions=*"] if manifest.dialect == "fused" else []
    command += ["--versionCompatible"] if options.version_compatible else []
    command += ["--stripWeights"] if options.stripped else []
    for index, profile in enumerate(options.profiles(manifest)):
        command.append(f"--profile={index}")
        for which, flag in enumerate(("--minShapes", "--optShapes", "--maxShapes")):
            command.append(f"{flag}={_shapes(manifest, profile, which)}")
    return command


def _shapes(manifest: Manifest, profile: Profile, which: int) -> str:
    sizes = profile.sizes(which)
    return ",".join(
        f"{spec.name}:{'x'.join(map(str, shape_of(spec, sizes)))}" for spec in manifest.inputs
    )


def commands_text(manifest: Manifest, options: EngineOptions) -> str:
    """Returns the commands for both major releases, and what to do with what they build."""
    lines = ["# In this folder, on the machine that will run the plan."]
    for major in _TYPED:
        lines += [
            "",
            f"# TensorRT {major}.x",
            shlex.join(trtexec_command(manifest, options, major)),
        ]
    adopt = _adopt(manifest, options)
    lines += ["", "# Then, on the same machine, so that the runtime knows the plan:", adopt]
    return "\n".join(lines) + "\n"


def _adopt(manifest: Manifest, options: EngineOptions) -> str:
    command = ["dawn-export", "--target", "tensorrt", "--artifact", ".", "--adopt", PLAN_NAME]
    command += ["--max-length", str(options.length(manifest))]
    command += ["--block-length", str(options.block(manifest)), "--batch", str(options.batch)]
    command += ["--version-compatible"] if options.version_compatible else []
    command += ["--strip-weights"] if options.stripped else []
    return shlex.join(command)


def write_commands(folder: Path, manifest: Manifest, options: EngineOptions) -> Path:
    """Writes the commands into an artifact folder and returns the file.

    Raises:
        OptionError: The options do not fit the artifact.
        ExportError: The file cannot be written.
    """
    path = folder / COMMANDS_FILE
    write_whole(path, commands_text(manifest, options))
    return path
