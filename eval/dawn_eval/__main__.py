"""`python -m dawn_eval`: the command of lm_eval, with the model `dawn` added."""

import sys

from dawn_runtime.cli.standard import say
from dawn_runtime.errors import DawnError
from dawn_runtime.native import importing


def main() -> int:
    """Runs the command and returns its exit status."""
    try:
        with importing("evaluation needs", "lm_eval", "pip install 'dawn-edge[eval]'"):
            from lm_eval.__main__ import cli_evaluate

            import dawn_eval.harness  # noqa: F401  # registers the model
        cli_evaluate()
    except DawnError as error:
        say(f"dawn_eval: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
