"""Compiles the kernels of this folder for a GPU through NVRTC, once for each source and GPU.

No compiler and no GPU is needed, only the library: `nvidia-cuda-nvrtc` of the CUDA version in use,
or the one of an installed CUDA toolkit. Results lie in `$DAWN_CACHE_DIR`, by default
`~/.cache/dawn-edge`.

A driver loads what an NVRTC of its own major version made, or of an older one. Within a major the
minor does not matter, because what is made is for one GPU and no PTX, which the driver would have
to compile ("Minor Version Compatibility" of NVIDIA's CUDA Compatibility).
"""

import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from dawn_runtime.errors import DependencyError, EngineError
from dawn_runtime.files import write_whole

_FOLDER: Final = Path(__file__).parent

# Sums and comparisons of the kernels are to give what NumPy gives; see choose.cu.
_OPTIONS: Final = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true")


def source(name: str) -> bytes:
    """Returns the text of `name.cu`."""
    return (_FOLDER / f"{name}.cu").read_bytes()


def cubin(name: str, capability: tuple[int, int], cache: Path | None = None) -> bytes:
    """Returns `name.cu` compiled for a GPU, from the cache if it is there.

    Args:
        name: Name of the file without its ending.
        capability: Compute capability (SM), such as (8, 7).
        cache: Folder to look in and to leave it in; None is the one in the module's docstring.

    Raises:
        DependencyError: NVRTC is not installed.
        EngineError: NVRTC does not compile for this GPU.
    """
    compiler, (major, minor) = _import(), nvrtc_version()
    options = (f"--gpu-architecture=sm_{capability[0]}{capability[1]}", *_OPTIONS)
    key = hashlib.sha256(source(name))
    key.update(f"{major}.{minor} {' '.join(options)}".encode())
    folder = cache or Path(os.environ.get("DAWN_CACHE_DIR") or Path.home() / ".cache/dawn-edge")
    path = folder / f"{name}-{key.hexdigest()[:32]}.cubin"
    if path.is_file():
        return path.read_bytes()
    image = _compile(compiler, name, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, image)
    return image


def nvrtc_version() -> tuple[int, int]:
    """Returns the CUDA version of NVRTC, such as (12, 6).

    Raises:
        DependencyError: NVRTC is not installed.
    """
    major, minor = _call(_import(), "nvrtcVersion", "find its version")
    return int(major), int(minor)


def check_nvrtc(nvrtc: tuple[int, int], driver: tuple[int, int]) -> None:
    """Refuses an NVRTC whose kernels the driver cannot load.

    Args:
        nvrtc: From `nvrtc_version`.
        driver: Newest CUDA that the driver runs.

    Raises:
        EngineError: NVRTC is of a newer major version.
    """
    if nvrtc[0] > driver[0]:
        raise EngineError(
            f"cuda: NVRTC is of CUDA {_dotted(nvrtc)}, the driver runs CUDA up to "
            f"{_dotted(driver)} and cannot load its kernels; {nvrtc_remedy(driver)}"
        )


def nvrtc_remedy(driver: tuple[int, int]) -> str:
    """Returns the packages to install for a driver: NVRTC of its very version, and bindings."""
    major, version = driver[0], _dotted(driver)
    # NVIDIA's wheels have the major in their names up to CUDA 12.
    name = f"nvidia-cuda-nvrtc-cu{major}" if major <= 12 else "nvidia-cuda-nvrtc"
    oldest = "12.9" if major == 12 else str(major)
    return (
        f"pip uninstall nvidia-cuda-nvrtc; pip install '{name}=={version}.*' "
        f"'cuda-python>={oldest},<{major + 1}'"
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _compile(compiler: Any, name: str, options: tuple[str, ...]) -> bytes:
    text, label = source(name), f"{name}.cu"
    (program,) = _call(
        compiler, "nvrtcCreateProgram", f"read {label}", text, label.encode(), 0, [], []
    )
    try:
        status, *_ = compiler.nvrtcCompileProgram(
            program, len(options), [option.encode() for option in options]
        )
        if status:
            raise EngineError(
                f"NVRTC cannot compile {label} for {options[0].rpartition('=')[2]}: "
                f"{_log(compiler, program):.300}; install the nvidia-cuda-nvrtc of a CUDA that "
                "knows this GPU"
            )
        return _text(compiler, "CUBIN", program)
    finally:
        compiler.nvrtcDestroyProgram(program)


def _log(compiler: Any, program: Any) -> str:
    log = _text(compiler, "ProgramLog", program).rstrip(b"\0").decode("utf-8", errors="replace")
    return " ".join(log.split()) or "no reason was given"


def _text(compiler: Any, what: str, program: Any) -> bytes:
    """Fetches one of the results of a program."""
    (size,) = _call(compiler, f"nvrtcGet{what}Size", f"give {what}", program)
    text: bytes = b" " * size
    _call(compiler, f"nvrtcGet{what}", f"give {what}", program, text)
    return text


def _call(compiler: Any, name: str, action: str, *arguments: Any) -> tuple[Any, ...]:
    status, *results = getattr(compiler, name)(*arguments)
    if status:
        raise EngineError(f"NVRTC cannot {action}: {status.name}; check its installation")
    return tuple(results)


def _import() -> Any:
    """Imports NVRTC and makes sure that its library is there."""
    missing = (
        "kernels need cuda-python and NVRTC; pip install 'dawn-edge[tensorrt]', or "
        "'dawn-edge[tensorrt-cu12]' for a driver of CUDA 12"
    )
    try:
        nvrtc = import_module("cuda.bindings.nvrtc")
        nvrtc.nvrtcVersion()
    except ImportError as error:
        raise DependencyError(f"{missing} ({error})") from error
    except RuntimeError as error:  # what cuda-python raises for a library that does not load
        raise DependencyError(f"{missing}: {' '.join(str(error).split()):.200}") from error
    return nvrtc
