"""Exact arithmetic on an expression, without `eval`."""

import ast
import json
import operator
from collections.abc import Callable
from fractions import Fraction

from langchain_core.tools import BaseTool, tool

_MAX_LENGTH = 200
_MAX_EXPONENT = 64
_MAX_DIGITS = 30

_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class ArithmeticRefusedError(ValueError):
    """The expression can't be worked out; the message is a sentence that can be spoken."""


def evaluate(expression: str) -> Fraction:
    """Work out `expression` exactly.

    Args:
        expression: Numbers, `+ - * / % ^ **`, brackets; the signs ×, ÷ and − as well.

    Raises:
        ArithmeticRefusedError: It is not arithmetic, divides by zero, or is too large.
    """
    if len(expression) > _MAX_LENGTH:
        raise ArithmeticRefusedError("That calculation is too long for me.")
    plain = expression.replace("×", "*").replace("÷", "/").replace("−", "-").replace("^", "**")
    try:
        tree = ast.parse(plain.strip(), mode="eval")
        return _value(tree.body)
    except ZeroDivisionError as e:
        raise ArithmeticRefusedError("I can't divide by zero.") from e
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        if isinstance(e, ArithmeticRefusedError):
            raise
        raise ArithmeticRefusedError("That is not a calculation that I can do.") from e


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=bool()):
            raise ArithmeticRefusedError("That is not a calculation that I can do.")
        case ast.Constant(value=int() | float() as number):
            # Through the text, so that 0.1 is a tenth and not its binary neighbour.
            return _bounded(Fraction(str(number)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=ast.Mod(), right=right):
            return _value(left) % _value(right)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _bounded(_OPERATORS[type(op)](_value(left), _value(right)))
    raise ArithmeticRefusedError("That is not a calculation that I can do.")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or abs(exponent) > _MAX_EXPONENT:
        raise ArithmeticRefusedError("That power is more than I can work out.")
    return _bounded(base ** int(exponent))


def _bounded(value: Fraction) -> Fraction:
    limit = 10**_MAX_DIGITS
    if abs(value.numerator) >= limit or value.denominator >= limit:
        raise ArithmeticRefusedError("That number is too large for me.")
    return value


def decimal_text(value: Fraction, places: int = 4) -> str:
    """`value` as digits: whole where it is whole, else rounded to `places` decimals."""
    if value.denominator == 1:
        return str(value.numerator)
    scaled = round(value * 10**places)
    sign = "-" if scaled < 0 else ""
    whole, rest = divmod(abs(scaled), 10**places)
    digits = f"{rest:0{places}d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def arithmetic_tools() -> list[BaseTool]:
    """The tool `calculate`."""

    @tool
    def calculate(expression: str) -> str:
        """Work out an arithmetic expression such as "2 + 3 * (4 - 1)" exactly.

        Args:
            expression: Digits, + - * / % ^ and brackets; no words.
        """
        try:
            value = evaluate(expression)
        except ArithmeticRefusedError as e:
            return json.dumps({"error": str(e)})
        return json.dumps({"expression": expression, "result": decimal_text(value)})

    return [calculate]
