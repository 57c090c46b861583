# Sourced by the commands in this folder: a virtual environment in .venv with what they need.
# Only python3 (3.10 or newer, with pip and venv) is expected to be there. Fast when nothing changed.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"

prepare_environment() { # extras of the package, for example "cpu,export"
    local extras="$1" stamp wanted
    if [ ! -x .venv/bin/python ]; then
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
            { echo "python3 is $(python3 --version), expected 3.10 or newer" >&2; return 1; }
        python3 -m venv .venv
    fi
    stamp=".venv/installed-${extras//,/-}"
    wanted="$(.venv/bin/python --version; cat pyproject.toml constraints.txt)"
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        echo "installing dawn-edge[$extras] into .venv" >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt --editable ".[$extras]"
        printf '%s\n' "$wanted" >"$stamp"
    fi
    PATH="$root/.venv/bin:$PATH"
    export PATH
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
