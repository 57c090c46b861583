"""Code read as polynomials in one variable, without running it.

Two expressions compute the same if their polynomials are equal, however they are written:
``v + v + 3`` and ``3 + 2 * v`` are both ``{1: 2, 0: 3}``.
"""

import ast
from collections import Counter

Polynomial = Counter[int]
"""Coefficients by power. Missing powers have coefficient 0, also when two are compared."""


def read_polynomial(node: ast.expr) -> Polynomial | None:
    """Reads an expression; every name in it stands for the variable.

    Returns:
        None unless the expression consists of names, integers, ``+``, ``-`` and ``*``.
    """
    match node:
        case ast.Name():
            return Counter({1: 1})
        # `True` is an integer too, but not in anybody's polynomial.
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return Counter({0: value})
        case ast.BinOp(left=left, op=operator, right=right):
            return _combine(read_polynomial(left), operator, read_polynomial(right))
        case _:
            return None


def _combine(
    left: Polynomial | None, operator: ast.operator, right: Polynomial | None
) -> Polynomial | None:
    if left is None or right is None:
        return None
    match operator:
        case ast.Add():
            return _sum(left, right, 1)
        case ast.Sub():
            return _sum(left, right, -1)
        case ast.Mult():
            return _product(left, right)
        case _:
            return None


def _sum(left: Polynomial, right: Polynomial, sign: int) -> Polynomial:
    result = Counter(left)
    for power, coefficient in right.items():
        result[power] += sign * coefficient
    return result


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    result: Polynomial = Counter()
    for i, a in left.items():
        for j, b in right.items():
            result[i + j] += a * b
    return result
