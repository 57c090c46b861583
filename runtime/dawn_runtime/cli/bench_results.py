"""`dawn-bench compare` and `dawn-bench show`: results that were measured before."""

import argparse
from collections.abc import Sequence

from dawn_runtime.bench import comparison
from dawn_runtime.bench.record import read_record
from dawn_runtime.bench.report import head, legend, table
from dawn_runtime.cli.bench_flags import Outputs, add_report_flags
from dawn_runtime.cli.common import Parser, place, print_json, run_command


def main_compare(argv: Sequence[str]) -> int:
    """Runs `dawn-bench compare` and returns its exit status."""
    parser = Parser(
        "dawn-bench compare",
        "Compare two results, case by case, and say what else differs between them.",
    )
    parser.add_argument("before", type=place, metavar="A.json", help="result to compare with")
    parser.add_argument("after", type=place, metavar="B.json", help="result that is compared")
    return run_command(parser, _compare, argv)


def main_show(argv: Sequence[str]) -> int:
    """Runs `dawn-bench show` and returns its exit status."""
    parser = Parser("dawn-bench show", "Print a result as tables, or write it in other forms.")
    parser.add_argument("result", type=place, metavar="RESULT.json", help="file of --output")
    add_report_flags(parser.add_argument_group("results"))
    return run_command(parser, _show, argv)


def _compare(args: argparse.Namespace) -> None:
    before, after = read_record(args.before), read_record(args.after)
    found = comparison.compare(before, after)
    differs = comparison.differences(before, after)
    if args.json:
        print_json(comparison.to_dict(found, differs))
        return
    print(comparison.table(found), *differs, sep="\n")
    if not args.quiet:
        print(comparison.LEGEND)


def _show(args: argparse.Namespace) -> None:
    record = read_record(args.result)
    outputs = Outputs.of(args, args.result, [args.result])
    outputs.write(record)
    if args.json:
        print_json(record.to_dict())
        return
    print(head(record.header), table(record), sep="\n")
    if not args.quiet:
        print(legend(record))
