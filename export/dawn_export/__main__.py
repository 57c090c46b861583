"""`python -m dawn_export` is `dawn-export`."""

from __future__ import annotations

from dawn_export.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
