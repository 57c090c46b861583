"""`optimum-cli export dawn`: dawn-export under optimum's command line.

optimum is a namespace of many distributions, none of which has an `__init__.py`; it loads every
file of this folder.
"""

from __future__ import annotations

from argparse import ArgumentParser

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand

from dawn_export.cli import DESCRIPTION, add_arguments, run_parsed


class DawnExportCommand(BaseOptimumCLICommand):
    """dawn-export, its flags and its exit status."""

    COMMAND = CommandInfo(name="dawn", help=DESCRIPTION)

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        """Add the flags of dawn-export."""
        add_arguments(parser)

    def run(self) -> None:
        """Export, and end with the exit status of dawn-export."""
        raise SystemExit(run_parsed(self.args, "optimum-cli export dawn"))


REGISTER_COMMANDS = [(DawnExportCommand, ExportCommand)]
