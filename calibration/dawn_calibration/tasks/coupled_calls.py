r"""Coupled choices in a call: a function and two arguments of free names, defined and called.

    Write a Python function of any name that adds two values, and call it by name with 3 and 15.
    def area(my_item, new_count): return my_item + new_count\narea(my_item=3, new_count=15)

Each argument is named by two words, each of which is free. Code is parsed, never run: the call must
name the function and both of its arguments.
"""

import ast
import random
from dataclasses import asdict, dataclass
from itertools import product

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.python_code import parse, read_function
from dawn_calibration.tasks.template import NUMBER, one_of, read_any, templates

FUNCTIONS = ("area", "rate", "grow", "step", "price", "score", "width", "depth")
ARGUMENTS = tuple(
    f"{first}_{second}"
    for first, second in product(("my", "old", "new"), ("item", "value", "count", "number"))
)
"""The names that may be used, all equally likely."""

_OPERATORS: dict[str, tuple[str, type[ast.operator]]] = {
    "adds": ("+", ast.Add),
    "subtracts": ("-", ast.Sub),
    "multiplies": ("*", ast.Mult),
}
_NUMBERS = range(2, 41)
_TEMPLATES = templates(
    {"verb": one_of(_OPERATORS), "first": NUMBER, "second": NUMBER},
    "Write a Python function of any name that {verb} two values, "
    "and call it by name with {first} and {second}.",
    "Write a call by name with {first} and {second} of a Python function that {verb} two values, "
    "and first the function.",
)


@dataclass(frozen=True, slots=True)
class Call:
    """What is computed, and of which two numbers."""

    verb: str
    first: int
    second: int

    @property
    def key(self) -> str:
        """Computation and numbers, whatever the names."""
        return f"{self.verb} {self.first} {self.second}"

    def answer(self, function: str, first: str, second: str) -> str:
        """Returns the answer of the given names."""
        sign, _ = _OPERATORS[self.verb]
        return (
            f"def {function}({first}, {second}): return {first} {sign} {second}\n"
            f"{function}({first}={self.first}, {second}={self.second})"
        )


class CoupledCalls(Task[Call]):
    """Defining and calling a function: any names of the lists are right, used alike throughout."""

    name = "coupled-calls"

    def draw(self, rng: random.Random) -> Call:
        """Draws the computation and its numbers."""
        verb = rng.choice(tuple(_OPERATORS))
        return Call(verb, rng.choice(_NUMBERS), rng.choice(_NUMBERS))

    def ask(self, problem: Call, rng: random.Random) -> str:
        """Asks for definition and call."""
        return rng.choice(_TEMPLATES).fill(asdict(problem))

    def solve(self, problem: Call, rng: random.Random) -> str:
        """Invents names."""
        return problem.answer(rng.choice(FUNCTIONS), *rng.sample(ARGUMENTS, 2))

    def read(self, prompt: str) -> Call | None:
        """Reads computation and numbers."""
        values = read_any(_TEMPLATES, prompt)
        if values is None:
            return None
        return Call(values["verb"], int(values["first"]), int(values["second"]))

    def judge(self, problem: Call, text: str) -> Verdict:
        """Parses the code and compares the names, the computation and the numbers."""
        statements = parse(text)
        function = read_function(statements[:1])
        if function is None or len(statements) != 2:
            return wrong("the answer is not a Python function and one more statement")
        if function.name not in FUNCTIONS:
            return wrong(f"{function.name!r} is not a name for a function")
        if len(function.arguments) != 2:
            return wrong(f"expected two arguments, got {len(function.arguments)}")
        for argument in function.arguments:
            if argument not in ARGUMENTS:
                return wrong(f"{argument!r} is not a name for an argument")
        if not _computes(problem, function.arguments, function.body):
            return wrong("the function computes something else")
        return _judge_call(problem, function.name, function.arguments, statements[1])


def _computes(problem: Call, arguments: tuple[str, ...], body: ast.expr) -> bool:
    """Whether an expression joins both arguments as asked for; only sums and products commute."""
    _, operator = _OPERATORS[problem.verb]
    orders = [arguments] if operator is ast.Sub else [arguments, arguments[::-1]]
    match body:
        case ast.BinOp(left=ast.Name(id=left), op=op, right=ast.Name(id=right)):
            return isinstance(op, operator) and (left, right) in orders
        case _:
            return False


def _judge_call(
    problem: Call, function: str, arguments: tuple[str, ...], statement: ast.stmt
) -> Verdict:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id=called), args=[], keywords=keywords)):
            pass
        case _:
            return wrong("the second statement is not a call by name")
    if called != function:
        return wrong(f"the function is {function!r}, the call is of {called!r}")
    named = tuple(keyword.arg for keyword in keywords)
    if len(named) != len(arguments) or set(named) != set(arguments):
        return wrong(f"the arguments are {list(arguments)}, the call names {list(named)}")
    given = {keyword.arg: _number(keyword.value) for keyword in keywords}
    wanted = dict(zip(arguments, (problem.first, problem.second), strict=True))
    return RIGHT if given == wanted else wrong(f"expected a call with {wanted}")


def _number(node: ast.expr) -> int | None:
    """Returns the integer that a literal stands for; None for anything else."""
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case _:
            return None
