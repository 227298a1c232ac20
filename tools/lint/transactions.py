"""Rule ``open-transaction``: no other context, key or object is asked for while a transaction is open.

It would hold a connection while it waits, and two pools could wait for each other.

Decidable: inside ``async with <...>.transaction() ...``, an awaited method of an attribute or parameter whose declared
type comes from another context's ``api`` or is an ObjectStore; also through methods of the same class. Not decidable:
what a function of another module (a store, a vault) calls in turn, and values without a declared type.

Allowed: the outbox, which is meant for it, and the Sealer. What is sealed is bound to the version that the transaction
locked, so it cannot be sealed before; data keys are cached; and the key process, which it asks for a new one, uses no
database, so that no two pools can wait for each other.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.lint.source import Finding, Source, finding

FOREIGN: Final = re.compile(r"civium\.(platform\.objects\.[A-Z]\w+|(?P<context>\w+)\.api\.[A-Z]\w*)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def open_transaction(source: Source) -> Iterator[Finding]:
    """Find foreign calls inside an open transaction."""
    for node in source.tree.body:
        match node:
            case ast.ClassDef(body=body):
                attributes = set(_attributes(source, body))
                methods = {each.name: each for each in body if isinstance(each, Function)}
                reaching = _reaching(source, methods, attributes)
                for method in methods.values():
                    yield from _in_function(source, method, attributes, reaching)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _in_function(source, node, set(), set())


def _attributes(source: Source, body: list[ast.stmt]) -> Iterator[str]:
    """Yield the attributes of ``self`` that are foreign."""
    for statement in body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation) if _foreign(source, annotation):
                yield name
            case ast.FunctionDef(name="__init__"):
                parameters = _parameters(source, statement)
                for node in ast.walk(statement):
                    match node:
                        case ast.Assign(
                            targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)], value=ast.Name(id=value)
                        ) if value in parameters:
                            yield name


def _parameters(source: Source, function: Function) -> set[str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {each.arg for each in arguments if each.annotation is not None and _foreign(source, each.annotation)}


def _foreign(source: Source, annotation: ast.expr) -> bool:
    found = FOREIGN.fullmatch(source.meaning(annotation))
    return found is not None and (found["context"] is None or found["context"] != source.context)


def _reaching(source: Source, methods: dict[str, Function], attributes: set[str]) -> set[str]:
    """Return the methods that reach a foreign call, directly or through one another."""
    reaching: set[str] = set()
    while True:
        more = {
            name
            for name, method in methods.items()
            if any(True for _ in _foreign_calls(method.body, attributes | _parameters(source, method), reaching))
        }
        if more == reaching:
            return reaching
        reaching = more


def _in_function(source: Source, function: Function, attributes: set[str], reaching: set[str]) -> Iterator[Finding]:
    foreign = attributes | _parameters(source, function)
    for node in ast.walk(function):
        if isinstance(node, ast.AsyncWith) and any(_opens(item.context_expr) for item in node.items):
            for call, what in _foreign_calls(node.body, foreign, reaching):
                yield finding(source, call, "open-transaction", f"awaits {what} while a transaction is open")


def _opens(expression: ast.expr) -> bool:
    match expression:
        case ast.Call(func=ast.Attribute(attr="transaction")):
            return True
    return False


def _foreign_calls(body: list[ast.stmt], foreign: set[str], reaching: set[str]) -> Iterator[tuple[ast.Call, str]]:
    for statement in body:
        for node in ast.walk(statement):
            match node:
                case ast.Await(value=ast.Call(func=ast.Attribute(value=receiver, attr=method)) as call):
                    match receiver:
                        case ast.Name(id="self") if method in reaching:
                            yield call, f"self.{method}"
                        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self"), attr=name) if name in foreign:
                            yield call, f"{name}.{method}"
