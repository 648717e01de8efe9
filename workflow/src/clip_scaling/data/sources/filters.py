"""Conditions of a study file (`expressions.py`) over whole metadata tables, by pyarrow's compute functions."""

from __future__ import annotations

import ast
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import DataError
from ...study.config.expressions import parse_expression

_COMPARE = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_ARITHMETIC = {ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply, ast.Div: pc.divide}


def evaluate(condition: str, table: pa.Table) -> pa.ChunkedArray:
    """Whether each row meets a condition: true, false, or null where a value that decides it is missing.

    DataError where the columns' types do not go with the condition.
    """
    try:
        found = _value(parse_expression(condition), table)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, KeyError) as error:
        raise DataError(f"filter {condition!r} cannot be applied to the lists' columns: {error}") from None
    if isinstance(found, pa.Scalar):
        found = pa.chunked_array([pa.repeat(found, len(table))])
    return found


def _value(node: ast.expr, table: pa.Table) -> Any:
    match node:
        case ast.Name(id=name):
            column = table[name]
            # LAION's tables write NaN for a missing score; a comparison with it would pass silently for `!=`.
            return pc.if_else(pc.is_nan(column), None, column) if pa.types.is_floating(column.type) else column
        case ast.Constant(value=value):
            return pa.scalar(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
        case ast.BoolOp(op=operator, values=values):
            combine = pc.and_kleene if isinstance(operator, ast.And) else pc.or_kleene
            result = _value(values[0], table)
            for other in values[1:]:
                result = combine(result, _value(other, table))
            return result
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return pc.invert(_value(operand, table))
        case ast.UnaryOp(operand=operand):
            return pc.negate(_value(operand, table))
        case ast.BinOp(left=left, op=operator, right=right):
            return _ARITHMETIC[type(operator)](_number(left, table), _number(right, table))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _call(name, [_value(argument, table) for argument in arguments])
        case ast.Compare():
            return _comparison(node, table)
    raise KeyError(ast.unparse(node))


def _number(node: ast.expr, table: pa.Table) -> Any:
    value = _value(node, table)
    return value if isinstance(value, pa.Scalar) else pc.cast(value, pa.float64())


def _comparison(node: ast.Compare, table: pa.Table) -> Any:
    result, left = None, node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(operator, ast.In | ast.NotIn):
            value = _value(left, table)
            options = pa.array(ast.literal_eval(right), type=value.type)
            met = pc.if_else(pc.is_null(value), None, pc.is_in(value, value_set=options))
            met = pc.invert(met) if isinstance(operator, ast.NotIn) else met
        else:
            met = _COMPARE[type(operator)](_value(left, table), _value(right, table))
        result, left = met if result is None else pc.and_kleene(result, met), right
    return result


def _call(name: str, values: list[Any]) -> Any:
    if name == "length":
        return pc.cast(pc.utf8_length(values[0]), pa.float64())
    if name == "lower":
        return pc.utf8_lower(values[0])
    pick = pc.max_element_wise if name == "larger" else pc.min_element_wise
    return pick(*values, skip_nulls=False)


def rows_as_json(table: pa.Table) -> list[str]:
    """A JSON text a row; columns without a value are left out."""
    names = sorted(table.column_names)
    return [
        json.dumps(
            {name: row[name] for name in names if row[name] is not None and row[name] == row[name]},
            sort_keys=True,
            ensure_ascii=False,
            default=str,
        )
        for row in table.to_pylist()
    ]
