"""What the source says of itself: its functions, their lengths, their documented parameters, the
numbers and the examples in it.

``python -m tests.architecture.source`` prints what the rules of `test_layout` find, by room.
"""

import ast
import doctest
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = {"file": 300, "function": 40}
Function = ast.FunctionDef | ast.AsyncFunctionDef
WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Definition:
    """A function or method: the file and the class it stands in, and its syntax tree."""

    path: Path
    owner: str  # "" or the class, "Outer.Inner"
    node: Function

    @property
    def name(self) -> str:
        return ".".join(filter(None, (self.owner, self.node.name)))

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}: {self.name}"


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def docstring(node: ast.AST) -> str:
    return ast.get_docstring(node) or "" if isinstance(node, WITH_DOCSTRING) else ""


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def definitions(path: Path) -> Iterator[Definition]:
    """Functions of a module and methods of its classes; inner functions belong to these."""

    def walk(body: list[ast.stmt], owner: str) -> Iterator[Definition]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Definition(path, owner, node)
            elif isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{owner}.{node.name}".lstrip("."))
            elif isinstance(node, ast.If | ast.Try | ast.With):
                yield from walk(node.body, owner)

    yield from walk(tree_of(path).body, "")


def n_lines(function: Definition) -> int:
    """Lines from `def` to the end without the docstring; nor a signature that documents options.

    The signature of a command holds the help of every option, which is what a docstring's list of
    parameters is to other functions.
    """
    node, body = function.node, function.node.body
    start = body[0].lineno if any(help_in_annotations(function).values()) else node.lineno
    documentation = 0
    if docstring(node):
        documentation = (body[0].end_lineno or 0) - body[0].lineno + 1
    return (node.end_lineno or 0) - start + 1 - documentation


def parameters(function: Definition) -> list[str]:
    """Names of all parameters without the object or class itself."""
    node = function.node
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    if function.owner and "staticmethod" not in decorators:
        names = names[1:]
    stars = [a.arg for a in (node.args.vararg, node.args.kwarg) if a is not None]
    return names + [a.arg for a in node.args.kwonlyargs] + stars


def is_public(function: Definition) -> bool:
    """Whether people call it: no underscore, and no test, whose arguments pytest gives."""
    parts = function.name.split(".")
    return not any(part.startswith("_") for part in parts) and not parts[-1].startswith("test_")


def undocumented(function: Definition) -> list[str]:
    """Parameters that neither a Parameters section names nor the help of an annotation.

    A method's may stand in the docstring of the class it inherits the method from.
    """
    named: set[str] = set()
    for docstring in _docstrings(function):
        named |= named_parameters(docstring)
    helped = help_in_annotations(function)
    return [name for name in parameters(function) if name not in named and not helped.get(name)]


def named_parameters(docstring: str) -> set[str]:
    """Names on the left of a numpydoc Parameters section: `a, b : type` or `a, b`.

    >>> text = "Do.\\n\\nParameters\\n----------\\na, b\\n    Two.\\n*c : int\\n    The rest.\\n"
    >>> text += "\\nRaises\\n------\\nValueError\\n    If wrong.\\n"
    >>> sorted(named_parameters(text))
    ['a', 'b', 'c']
    """
    section = re.search(
        r"^Parameters\n-{3,}\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", docstring, re.M | re.S
    )
    heads = re.findall(r"^([\w*][\w*, ]*?)\s*(?::.*)?$", section[1] if section else "", re.M)
    return {name.strip("* ") for head in heads for name in head.split(",")}


def _docstrings(function: Definition) -> list[str]:
    own = [docstring(function.node)]
    if not function.owner:
        return own
    kind: object = importlib.import_module(module_name(function.path))
    for part in function.owner.split("."):
        kind = getattr(kind, part)
    bases = typing.cast(type, kind).__mro__[1:]
    methods = [vars(base).get(function.node.name) for base in bases if base is not object]
    return own + [inspect.cleandoc(method.__doc__ or "") for method in methods if method]


def help_in_annotations(function: Definition) -> dict[str, str]:
    """The help that typer shows of each parameter: `Annotated[..., typer.Option(help=...)]`."""
    if function.owner or "xpscale/cli" not in str(function.path):
        return {}
    command = getattr(importlib.import_module(module_name(function.path)), function.node.name)
    try:
        hints = typing.get_type_hints(command, include_extras=True)
    except NameError:  # names that only a type checker imports: typer could not read these either
        return {}
    metadata = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: next((m.help for m in found if m.help), "") for name, found in metadata.items()}


def examples(path: Path) -> list[doctest.DocTest]:
    """The examples of every docstring of a module, of compiled functions too."""
    parser = doctest.DocTestParser()
    found = []
    for node in ast.walk(tree_of(path)):
        if ">>>" in (text := docstring(node)):
            name = f"{module_name(path)}.{getattr(node, 'name', '')}".rstrip(".")
            names = dict(vars(importlib.import_module(module_name(path))))
            found.append(parser.get_doctest(text, names, name, str(path), 0))
    return found


def assumed_widths(path: Path) -> Iterator[str]:
    """Where code assumes the width of a band: a bare 55, 110, 51 or 106, or half of a count of
    coefficients.
    """
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            if node.value in (51, 55, 106, 110):
                yield f"{path.relative_to(ROOT)}: {node.value}: line {node.lineno}"
        elif isinstance(node, ast.BinOp) and _halves(node):
            text = ast.unparse(node)
            if re.search(r"coefficient|shape\[|n_band|width", text) and "- 1)" not in text:
                yield f"{path.relative_to(ROOT)}: {text}: line {node.lineno}"


def _halves(node: ast.BinOp) -> bool:
    return (
        isinstance(node.op, ast.FloorDiv)
        and isinstance(node.right, ast.Constant)
        and node.right.value == 2
    )


def shared_names() -> list[str]:
    """Files of one name in several rooms, but where the name means the same thing in each."""
    rooms: dict[str, set[str]] = {}
    for path in python_files("xpscale"):
        room = path.parent.relative_to(ROOT / "xpscale").as_posix()
        if path.stem not in SAME_MEANING and room.split("/")[0] not in NAMED_AFTER_OTHERS:
            rooms.setdefault(path.stem, set()).add(room)
    return [
        f"{name}: {', '.join(sorted(found))}"
        for name, found in rooms.items()
        if found - {"."} and len(found) > 1
    ]


def long_files() -> list[str]:
    """Files over 300 lines."""
    lengths = {path: len(path.read_text().splitlines()) for path in python_files(*SHIPPED)}
    most = MOST_LINES["file"]
    return [f"{path.relative_to(ROOT)}: long: {n} lines" for path, n in lengths.items() if n > most]


def long_functions() -> list[str]:
    """Functions over 40 lines."""
    found = [(f, n_lines(f)) for path in python_files(*SHIPPED) for f in definitions(path)]
    return [f"{f}: {n} lines" for f, n in found if n > MOST_LINES["function"]]


def undocumented_parameters() -> list[str]:
    """Public functions of two or more parameters that leave some undocumented."""
    found = [f for path in python_files("xpscale") for f in definitions(path) if is_public(f)]
    missing = [(f, undocumented(f)) for f in found if len(parameters(f)) >= 2]
    return [f"{f}: {', '.join(names)}" for f, names in missing if names]


def all_assumed_widths() -> list[str]:
    """Where code assumes the width of a band."""
    paths = [
        path for path in python_files(*SHIPPED) if ROOT / "xpscale/testing" not in path.parents
    ]
    return [line for path in paths for line in assumed_widths(path)]


def private_reads() -> list[str]:
    """Where tests on a GPU, which run seldom, read attributes that may change without notice."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*on_gpu.py")):
        reads = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)]
        names = {node.attr for node in reads if re.match("_[a-z]", node.attr)}
        found += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(names)]
    return found


SHIPPED = ("xpscale", "pipelines")
NAMED_AFTER_OTHERS = ("cli", "plots", "testing")
"""Rooms whose files carry the name of what they command, draw or imitate."""

SAME_MEANING = {
    "__init__": "what a room offers",
    "check": "every byte and row of what a room writes, looked at",
    "identity": "what a place says it holds: how it is claimed (storage), what it is (catalog)",
    "info": "what there is, for people",
    "layout": "the keys of what a room writes",
    "plan": "a stage before it runs",
    "run": "a stage while it runs",
    "task": "one unit of a stage's work",
}
RULES = {
    "files over 300 lines": long_files,
    "functions over 40 lines": long_functions,
    "undocumented parameters": undocumented_parameters,
    "assumed widths": all_assumed_widths,
    "one name for different things": shared_names,
    "private attributes in GPU tests": private_reads,
}


def main() -> None:
    """Print what each rule finds, by file."""
    for rule, find in RULES.items():
        found = find()
        print(f"\n{rule}: {len(found)}")
        print("\n".join(f"  {line}" for line in found))


if __name__ == "__main__":
    main()
