"""The one place where the version is written; `pyproject.toml` must agree (a test checks it)."""

__version__ = "0.1.0"
