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
