"""Jinja's expressions, parsed by Jinja, checked and compiled by us to closures over JSON values.
 There is no Python object to reach from such an expression: a dot looks up a key of an object, and every
node, filter and test that is not written down here is refused when the runbook is saved.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.parser import Parser

from outlast.limits import EXPRESSION_CHARACTERS_MAX, EXPRESSION_DEPTH_MAX
from outlast.runbooks import operations
from outlast.runbooks.arithmetic import bounded
from outlast.runbooks.documents import Json
from outlast.runbooks.filters import DYNAMIC, FILTERS, REQUIRED, Filter
from outlast.runbooks.predicates import PREDICATES
from outlast.runbooks.severities import SEVERITY_RANK
from outlast.runbooks.trees import suggestion
from outlast.runbooks.values import ExpressionFailed, Frame, Value, defined

Evaluate: TypeAlias = Callable[[Frame], Value]

_SYNTAX = Environment()  # only its parser is used; nothing is rendered by Jinja
_ARITHMETIC: dict[type[nodes.BinExpr], str] = {
    nodes.Add: "+",
    nodes.Sub: "-",
    nodes.Mul: "*",
    nodes.Div: "/",
    nodes.FloorDiv: "//",
    nodes.Mod: "%",
    nodes.Pow: "**",
}


class Refused(Exception):
    """An expression that may not be saved; `args[0]` says why."""


def compile_expression(source: str) -> Evaluate:
    """The expression as a function of a frame. Refused says what is wrong with it."""
    if len(source) > EXPRESSION_CHARACTERS_MAX:
        raise Refused(f"expected an expression of at most {EXPRESSION_CHARACTERS_MAX} characters")
    try:
        parser = Parser(_SYNTAX, source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise Refused(f'expected the end of the expression, got "{parser.stream.current.value}"')
    except TemplateSyntaxError as error:
        raise Refused(f"{error.message} in {{{{{source[:80]}}}}}") from None
    except (RecursionError, ValueError):
        raise Refused("expected a shorter expression: a number or its nesting is too long") from None
    _check_depth(tree)
    return _compile(tree)


def _check_depth(tree: nodes.Node) -> None:
    level: list[nodes.Node] = [tree]
    for _ in range(EXPRESSION_DEPTH_MAX):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise Refused(f"expected at most {EXPRESSION_DEPTH_MAX} levels of nesting in an expression")


def _compile(node: nodes.Node) -> Evaluate:
    match node:
        case nodes.Const():
            value = _constant(node)
            return lambda _: value
        case nodes.Name() | nodes.Getattr() | nodes.Getitem():
            return _compile_look_up(node)
        case nodes.List(items=items) | nodes.Tuple(items=items):
            return operations.a_list([_compile(item) for item in items])
        case nodes.Dict(items=pairs):
            return operations.an_object([(_compile(pair.key), _compile(pair.value)) for pair in pairs])
        case nodes.Filter():
            return _compile_filter(node)
        case nodes.Test():
            return _compile_test(node)
        case nodes.Call():
            return _compile_call(node)
        case nodes.CondExpr(test=test, expr1=then, expr2=otherwise):
            return operations.conditional(
                _compile(test), _compile(then), None if otherwise is None else _compile(otherwise)
            )
        case nodes.Compare():
            return _compile_comparison(node)
        case nodes.And(left=left, right=right):
            return operations.both(_compile(left), _compile(right))
        case nodes.Or(left=left, right=right):
            return operations.either(_compile(left), _compile(right))
        case nodes.Not(node=inner):
            return operations.negated(_compile(inner))
        case nodes.Neg(node=inner):
            return operations.arithmetic("-", lambda _: 0, _compile(inner))
        case nodes.Pos(node=inner):
            return operations.arithmetic("+", lambda _: 0, _compile(inner))
        case nodes.Concat(nodes=parts):
            return operations.concatenated([_compile(part) for part in parts])
        case nodes.BinExpr(left=left, right=right) if type(node) in _ARITHMETIC:
            return operations.arithmetic(_ARITHMETIC[type(node)], _compile(left), _compile(right))
        case _:
            raise Refused(f"expected an expression of values and filters, got {type(node).__name__.lower()}")


def _constant(node: nodes.Const) -> Json:
    value = cast("object", node.value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        try:
            return bounded(value)
        except ExpressionFailed as error:
            raise Refused(error.message) from None
    raise Refused(f"expected a value, got {value!r}")


# ---- names


def _compile_look_up(node: nodes.Name | nodes.Getattr | nodes.Getitem) -> Evaluate:
    path = _shown(node)
    match node:
        case nodes.Name(name="now"):
            return operations.now
        case nodes.Name(name=name):
            _check_name(name)
            if name == "sev":
                raise Refused("sev is a function: write sev(finding.severity)")
            return operations.name(name)
        case nodes.Getattr(attr=key):
            _check_name(key)
        case nodes.Getitem(arg=nodes.Slice() as part):
            bounds = [None if end is None else _compile(end) for end in (part.start, part.stop, part.step)]
            return operations.sliced(_compile(node.node), bounds)
        case nodes.Getitem(arg=nodes.Const(value=str() as key)):
            _check_name(key)
        case nodes.Getitem(arg=index):
            return operations.item(_compile(node.node), _compile(index), path)
    keys = _keys(node)
    if keys is not None and keys[0] != "now":
        return operations.keys(keys, path)
    return operations.key(_compile(node.node), key, path)


def _check_name(name: str) -> None:
    if name.startswith("__"):
        raise Refused(f"expected the name of a value, got {name[:60]}: there is no access to internals")


def _keys(node: nodes.Node) -> tuple[str, ...] | None:
    """("finding", "owner", "name") for finding.owner.name, None for what is not only names."""
    match node:
        case nodes.Name(name=name):
            return (name,)
        case (
            nodes.Getattr(node=inner, attr=key)
            | nodes.Getitem(node=inner, arg=nodes.Const(value=str() as key))
        ):
            before = _keys(inner)
            return None if before is None else (*before, key)
        case _:
            return None


def _shown(node: nodes.Node) -> str:
    """The path as users know it, for messages."""
    match node:
        case nodes.Name(name=name):
            return name
        case (
            nodes.Getattr(node=inner, attr=key)
            | nodes.Getitem(node=inner, arg=nodes.Const(value=str() as key))
        ):
            return f"{_shown(inner)}.{key}"
        case nodes.Getitem(node=inner, arg=nodes.Const(value=index)):
            return f"{_shown(inner)}[{index}]"
        case nodes.Getitem(node=inner, arg=nodes.Neg(node=nodes.Const(value=index))):
            return f"{_shown(inner)}[-{index}]"
        case nodes.Getitem(node=inner):
            return f"{_shown(inner)}[...]"
        case nodes.Filter(node=nodes.Node() as inner, name=name):
            return f"({_shown(inner)} | {name})"
        case _:
            return "(...)"


# ---- filters, tests, functions


def _compile_filter(node: nodes.Filter) -> Evaluate:
    known = FILTERS.get(node.name)
    if known is None:
        raise Refused(f'unknown filter "{node.name}"{suggestion(node.name, FILTERS)}')
    if node.node is None or node.dyn_args is not None or node.dyn_kwargs is not None:
        raise Refused(f"expected plain arguments for {node.name}")
    arguments = _bind(node, known)
    literals = [_literal(argument) for argument in arguments]
    message = known.verify(literals)
    if message is not None:
        raise Refused(f"{node.name}: {message}")
    compiled = [_compile(a) if isinstance(a, nodes.Node) else _given(a) for a in arguments]
    base = _compile(node.node)
    if known.takes_undefined:
        return operations.lenient_filter(known.run, base, compiled)
    if DYNAMIC in literals:
        return operations.strict_filter(known.run, base, compiled)
    return operations.literal_filter(known.run, base, literals)


def _given(value: Value) -> Evaluate:
    return lambda _: value


def _bind(node: nodes.Filter, known: Filter) -> list["nodes.Node | Value"]:
    """An argument for each parameter of the filter: an expression, or the parameter's default."""
    names = [name for name, _ in known.parameters]
    bound: list[nodes.Node | Value] = [default for _, default in known.parameters]
    most = names.index("attribute") if "" in names else len(names)
    if len(node.args) > most:
        raise Refused(f"expected at most {most} arguments for {node.name}, got {len(node.args)}")
    bound[: len(node.args)] = node.args
    for keyword in node.kwargs:
        key = cast("str", getattr(keyword, "key", ""))
        if key not in names or key == "":
            raise Refused(f'unknown argument "{key}" of {node.name}{suggestion(key, filter(None, names))}')
        if names.index(key) < len(node.args):
            raise Refused(f'expected one value for the argument "{key}" of {node.name}')
        bound[names.index(key)] = cast("nodes.Node", getattr(keyword, "value", None))
    for name, argument in zip(names, bound, strict=True):
        if argument is REQUIRED:
            raise Refused(f'expected the argument "{name}" of {node.name}')
    return bound


def _literal(argument: "nodes.Node | Value") -> Value:
    if isinstance(argument, nodes.Const):
        return _constant(argument)
    return DYNAMIC if isinstance(argument, nodes.Node) else argument


def _compile_test(node: nodes.Test) -> Evaluate:
    predicate = PREDICATES.get(node.name)
    if predicate is None:
        raise Refused(f'unknown test "{node.name}"{suggestion(node.name, PREDICATES)}')
    if node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
        raise Refused(f"expected plain arguments for is {node.name}")
    if len(node.args) != predicate.arguments:
        raise Refused(f"expected {predicate.arguments} arguments for is {node.name}, got {len(node.args)}")
    return operations.test(predicate, _compile(node.node), [_compile(a) for a in node.args])


def _compile_call(node: nodes.Call) -> Evaluate:
    plain = not node.kwargs and node.dyn_args is None and node.dyn_kwargs is None
    match node.node:
        case nodes.Name(name="now") if plain and not node.args:
            return operations.now
        case nodes.Name(name="sev") if plain and len(node.args) == 1:
            argument = node.args[0]
            if isinstance(argument, nodes.Const) and argument.value not in SEVERITY_RANK:
                raise Refused(f"sev expects one of {', '.join(SEVERITY_RANK)}, got {argument.value!r}")
            return operations.severity(_compile(argument))
        case nodes.Name(name="sev"):
            raise Refused("sev expects one severity")
        case nodes.Name(name=name) if name in FILTERS:
            raise Refused(f"{name} is a filter: write {{{{ value | {name} }}}}")
        case called:
            raise Refused(f"expected filters, sev() and now as the only functions, got {_shown(called)}()")


def _compile_comparison(node: nodes.Compare) -> Evaluate:
    _check_severities(node)
    rest = [(operand.op, _compile(operand.expr)) for operand in node.ops]
    return operations.comparison(_compile(node.expr), rest)


def _check_severities(node: nodes.Compare) -> None:
    """Ordering a severity word as text is never what was meant: "high" < "low" as text."""
    sides: Sequence[nodes.Node] = [node.expr, *(operand.expr for operand in node.ops)]
    ordered = any(operand.op in ("lt", "lteq", "gt", "gteq") for operand in node.ops)
    for side in sides:
        if ordered and isinstance(side, nodes.Const) and side.value in SEVERITY_RANK:
            raise Refused(f'severities are ordered by sev(): write sev(x) >= sev("{side.value}")')


def evaluate(expression: Evaluate, frame: Frame) -> Json:
    """The expression's value. ExpressionFailed if it is undefined or cannot be had."""
    return defined(expression(frame))
