"""Coupled choices in code: a variable of two words that must be the same at each use.

    Write a Python function named area that multiplies its argument by 3.
    def area(my_item): return my_item * 3

The house style knows six variables. Code is parsed and compared as a polynomial, never run: every
way to write the right polynomial in one of the variables is right.
"""

import ast
import random
from dataclasses import dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.coupling import Choice, pick
from dawn_calibration.tasks.polynomial import read_polynomial
from dawn_calibration.tasks.python_code import parse, read_function
from dawn_calibration.tasks.template import NUMBER, Template, one_of, templates

VARIABLES = (
    Choice(("old", "number"), 22),
    Choice(("my", "item"), 20),
    Choice(("my", "value"), 20),
    Choice(("my", "count"), 18),
    Choice(("new", "number"), 14),
    Choice(("old", "item"), 6),
)
"""The two words of every variable that may be used; "my_number" is none of them."""

_LIST = "values"
_ALLOWED = {"_".join(choice.parts) for choice in VARIABLES}
_FUNCTIONS = (
    *("area", "scale", "shift", "grow", "step", "rate", "cost", "price", "score", "total", "level"),
    *("weight", "speed", "height", "width", "depth", "change", "update", "result", "measure"),
)
_HOLES = {"function": one_of(_FUNCTIONS), "number": NUMBER}


@dataclass(frozen=True, slots=True)
class _Kind:
    """One thing that a function can be asked to compute.

    Attributes:
        prompt: The request.
        element: The code, with holes ``{v}`` for the variable and ``{number}``.
        sums: True if the element is computed for all values of a list and summed.
    """

    prompt: Template
    element: str
    sums: bool


def _kind(request: str, element: str, sums: bool = False) -> _Kind:
    (prompt,) = templates(_HOLES, f"Write a Python function named {{function}} that {request}.")
    return _Kind(prompt, element, sums)


_KINDS = {
    "multiply": _kind("multiplies its argument by {number}", "{v} * {number}"),
    "add": _kind("adds {number} to its argument", "{v} + {number}"),
    "subtract": _kind("subtracts {number} from its argument", "{v} - {number}"),
    "double-add": _kind(
        "adds its argument to itself and then adds {number}", "{v} + {v} + {number}"
    ),
    "square-add": _kind(
        "multiplies its argument by itself and then adds {number}", "{v} * {v} + {number}"
    ),
    "sum-multiply": _kind(
        "multiplies all values by {number} and sums them", "{v} * {number}", True
    ),
    "sum-add": _kind("adds {number} to all values and sums them", "{v} + {number}", True),
}


@dataclass(frozen=True, slots=True)
class Request:
    """Name of a function and what it shall compute."""

    function: str
    kind: str
    number: int

    @property
    def key(self) -> str:
        """The request, whatever the variable."""
        return f"{self.function} {self.kind} {self.number}"

    def element(self, variable: str) -> str:
        """Returns the code that is asked for, in terms of a variable."""
        return _KINDS[self.kind].element.format(v=variable, number=self.number)


class CoupledCode(Task[Request]):
    """Writing a one-line function: any variable of the house style is right, used throughout."""

    name = "coupled-code"

    def draw(self, rng: random.Random) -> Request:
        """Draws a function name, a computation and a number."""
        return Request(rng.choice(_FUNCTIONS), rng.choice(tuple(_KINDS)), rng.randint(2, 20))

    def ask(self, problem: Request, rng: random.Random) -> str:
        """Asks for the function; there is one wording for every computation."""
        values = {"function": problem.function, "number": problem.number}
        return _KINDS[problem.kind].prompt.fill(values)

    def solve(self, problem: Request, rng: random.Random) -> str:
        """Writes the function with a variable drawn by its weight."""
        variable = "_".join(pick(rng, VARIABLES).parts)
        element = problem.element(variable)
        if _KINDS[problem.kind].sums:
            return (
                f"def {problem.function}({_LIST}): return sum({element} for {variable} in {_LIST})"
            )
        return f"def {problem.function}({variable}): return {element}"

    def read(self, prompt: str) -> Request | None:
        """Reads the request."""
        for name, kind in _KINDS.items():
            values = kind.prompt.read(prompt)
            if values is not None:
                return Request(values["function"], name, int(values["number"]))
        return None

    def judge(self, problem: Request, text: str) -> Verdict:
        """Parses the function and compares name, variable and polynomial."""
        function = read_function(parse(text))
        if function is None or len(function.arguments) != 1:
            return wrong("the answer is not one Python function that returns an expression")
        if function.name != problem.function:
            return wrong(
                f"the function should be named {problem.function!r}, got {function.name!r}"
            )
        (argument,), body = function.arguments, function.body
        if _KINDS[problem.kind].sums:
            loop = _read_sum(argument, body) if argument == _LIST else None
            if loop is None:
                return wrong(f"the function does not sum over its argument {_LIST!r}")
            argument, body = loop
        if argument not in _ALLOWED:
            return wrong(f"{argument!r} is not a variable of the house style")
        return _judge_element(problem, argument, body)


def _judge_element(problem: Request, variable: str, body: ast.expr) -> Verdict:
    names = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
    if names != {variable}:
        return wrong(f"expected the variable {variable!r} alone, got {sorted(names)}")
    given = read_polynomial(body)
    if given is None:
        return wrong("only sums, differences and products of integers are expected")
    wanted = read_polynomial(ast.parse(problem.element(variable), mode="eval").body)
    return RIGHT if given == wanted else wrong("the function computes something else")


def _read_sum(argument: str, body: ast.expr) -> tuple[str, ast.expr] | None:
    """Returns loop variable and element of ``sum(element for variable in argument)``."""
    match body:
        case ast.Call(
            func=ast.Name(id="sum"),
            args=[ast.GeneratorExp() | ast.ListComp() as loop],
            keywords=[],
        ):
            return _read_loop(argument, loop)
        case _:
            return None


def _read_loop(argument: str, loop: ast.GeneratorExp | ast.ListComp) -> tuple[str, ast.expr] | None:
    match loop.generators:
        case [
            ast.comprehension(
                target=ast.Name(id=variable), iter=ast.Name(id=source), ifs=[], is_async=0
            )
        ] if source == argument:
            return variable, loop.elt
        case _:
            return None
