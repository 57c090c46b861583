"""Python source that is judged by its syntax tree and never run."""

import ast
import warnings
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Function:
    """A function that returns one expression.

    Attributes:
        name: Its name.
        arguments: Names of its arguments, which have neither defaults nor annotations.
        body: What it returns.
    """

    name: str
    arguments: tuple[str, ...]
    body: ast.expr


def parse(text: str) -> list[ast.stmt]:
    """Returns the statements of a text; none if Python would not take it for a program."""
    # Comments would hide anything, and Python takes some other letters for their ASCII look-alikes.
    if "#" in text or not text.isascii():
        return []
    try:
        with warnings.catch_warnings():
            # Odd code such as "1if x" is judged like any other, not warned about.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
            # The parser alone takes two arguments of one name, and keywords that are repeated.
            compile(tree, "<answer>", "exec")
            return tree.body
    # What they raise on hostile text: null bytes and deep nesting have their own types.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def read_function(statements: Sequence[ast.stmt]) -> Function | None:
    """Returns the function that the statements consist of; None if they are anything else."""
    match statements:
        case [
            ast.FunctionDef(
                name=name, args=arguments, body=[ast.Return(value=ast.expr() as value)]
            ) as function
        ] if _is_plain(function):
            return Function(name, tuple(argument.arg for argument in arguments.args), value)
        case _:
            return None


def _is_plain(function: ast.FunctionDef) -> bool:
    """Whether nothing but plain arguments is declared: no default, annotation or decorator."""
    arguments = function.args
    extras = (
        *(function.decorator_list, function.returns, getattr(function, "type_params", None)),
        *(arguments.posonlyargs, arguments.vararg, arguments.kwonlyargs, arguments.kwarg),
        *(arguments.defaults, *(argument.annotation for argument in arguments.args)),
    )
    return not any(extras)
