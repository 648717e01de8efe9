"""Conditions on metadata columns, as a study file writes them: `similarity >= 0.3 and language in ['en', 'de']`.

Python's syntax, none of its reach: names are columns, and nothing is called but the functions below. Checked here with
the standard library alone, evaluated over whole tables in `data/metadata.py`.
"""

from __future__ import annotations

import ast

MAX_DEPTH = 100
"""Levels of an expression, at most."""
FUNCTIONS = {"length": 1, "lower": 1, "larger": 2, "smaller": 2}
"""Name and number of arguments: characters of a text, a text in lower case, the larger and the smaller of two."""
_OPERATORS = (
    *(ast.And, ast.Or, ast.Not, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.Div),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Load),
)


def parse_expression(text: str) -> ast.expr:
    """The syntax tree of a condition. ValueError names what it may not contain."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no expression: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError):
        raise ValueError(f"{text[:60]!r}... is no expression: nested too deeply, or with bytes of zero") from None
    if _depth(tree) > MAX_DEPTH:
        raise ValueError(f"{text[:60]!r}... is nested more than {MAX_DEPTH} deep")
    _check(tree, text)
    if not isinstance(tree, ast.BoolOp | ast.Compare) and not (
        isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)
    ):
        raise ValueError(f"{text!r} is no condition: compare a column with something")
    return tree


def columns_of(text: str) -> set[str]:
    """The columns that a condition looks at."""
    tree = parse_expression(text)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}


def _depth(tree: ast.AST) -> int:
    """Levels of a tree, without recursion."""
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
    return depth


def _check(tree: ast.expr, text: str) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
            if name not in FUNCTIONS or node.keywords or len(node.args) != FUNCTIONS[name]:
                known = ", ".join(f"{known}({', '.join('xy'[:count])})" for known, count in FUNCTIONS.items())
                raise ValueError(f"{text!r}: {ast.unparse(node)!r} is none of {known}")
        elif isinstance(node, ast.Compare):
            for operator, right in zip(node.ops, node.comparators, strict=True):
                if isinstance(operator, ast.In | ast.NotIn) and not _is_list_of_constants(right):
                    raise ValueError(f"{text!r}: after `in` comes a list of values, such as ['en', 'de']")
        elif isinstance(node, ast.Constant):
            if not isinstance(node.value, int | float | str):
                raise ValueError(f"{text!r}: {node.value!r} is neither a number nor a text")
        elif not isinstance(node, (ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Name, ast.List, ast.Tuple, *_OPERATORS)):
            raise ValueError(
                f"{text!r}: {ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__!r} is not known "
                "here; columns, numbers, texts, comparisons, and/or/not, + - * / and in [...] are"
            )


def _is_list_of_constants(node: ast.expr) -> bool:
    return isinstance(node, ast.List | ast.Tuple) and all(isinstance(item, ast.Constant) for item in node.elts)
