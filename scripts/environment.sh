# shellcheck shell=bash
# Sourced by the commands in this folder: virtual environments with what they need. Only python3
# (3.10 or newer, with pip and venv) is expected to be there. Fast when nothing changed.
#
# pip's own configuration says where packages come from. TORCH_INDEX_URL names one more index, for
# torch alone: one of CPU builds saves 2.5 GB where the common wheel of torch is built for CUDA.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || return

prepare_environment() { # extras, for example "cpu,export", and the folder, by default .venv
    local extras="$1" folder="${2:-.venv}" stamp wanted
    if [ ! -x "$folder/bin/python" ]; then
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
            { echo "python3 is $(python3 --version), expected 3.10 or newer" >&2; return 1; }
        python3 -m venv "$folder"
    fi
    stamp="$folder/installed-${extras//,/-}"
    wanted="$("$folder/bin/python" --version; cat pyproject.toml constraints.txt)"
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        echo "installing dawn-edge[$extras] into $folder, $(download_size "$folder" "$extras")" >&2
        install_pinned "$folder" constraints.txt --editable ".[$extras]"
        printf '%s\n' "$wanted" >"$stamp"
    fi
    PATH="$root/$folder/bin:$PATH"
    export PATH
}

install_pinned() { # folder of an environment, file of constraints, then arguments of pip install
    local folder="$1" pins="$2"
    shift 2
    # As variables and not as a flag: they hold for the build of this package too. Of old pips the
    # first does, of new ones the second. Relative, because pip splits the first at spaces.
    PIP_CONSTRAINT="$pins" PIP_BUILD_CONSTRAINT="$pins" \
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} "$@"
}

download_size() { # folder, extras: roughly what pip is about to fetch, if nothing is there yet
    if "$1/bin/python" -c 'import torch' 2>/dev/null; then
        echo "which has torch already"
        return
    fi
    case ",$2," in
    *,dev,* | *,export,* | *,calibrate,*)
        local rest="0.3 GB"
        case ",$2," in *,dev,*) rest="0.5 GB" ;; esac
        if [ -n "${TORCH_INDEX_URL:-}" ] || [ "$(uname -sm)" != "Linux x86_64" ]; then
            echo "downloads about $rest"
        else
            echo "downloads about $rest, and 2.5 GB more if pip finds torch for CUDA only:" \
                "TORCH_INDEX_URL names an index of CPU builds"
        fi
        ;;
    *) echo "downloads about 50 MB" ;;
    esac
}

python310() { # the path of a Python 3.10, or a line that says where it was looked for
    local candidate
    is_310() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null; }
    if [ -n "${PYTHON310:-}" ]; then
        is_310 "$PYTHON310" && echo "$PYTHON310" && return
        echo "PYTHON310=$PYTHON310 is no Python 3.10; name another one, or unset it" >&2
        return 1
    fi
    for candidate in python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin/python3.10; do
        is_310 "$candidate" && echo "$candidate" && return
    done
    echo "no python3.10 on the path or in pyenv; install it there, or name it by PYTHON310" >&2
    return 1
}
