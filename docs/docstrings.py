"""Pages out of what griffe has read: signatures, docstrings, attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import griffe

__all__ = ["area", "code_block"]

SPECIAL = {"__anext__": "async for … in", "__next__": "for … in"}
"""Methods that are called by other means than their names."""
WIDTH = 88


def area(code: griffe.Module, title: str, about: str, packages: tuple[str, ...]) -> Iterator[str]:
    yield f"# {title}\n\n{about}\n"
    seen: set[str] = set()
    for package in packages:
        module = code if package == "mux" else code[package.removeprefix("mux.")]
        names = [str(name) for name in module.exports or ()]
        yield f"## `{package}`\n"
        yield from docstring(module)
        again = [name for name in names if resolved(module[name]).path in seen]
        if again:
            yield f"Also here: {', '.join(f'`{name}`' for name in again)}.\n"
        for name in sorted(set(names) - set(again), key=lambda name: (not name[0].isupper(), name)):
            thing = resolved(module[name])
            seen.add(thing.path)
            yield f"### {name}\n"
            yield from described(thing, f"{package}.{name}")


def resolved(thing: Any) -> Any:
    """What a name stands for, wherever it comes from. A function has the name of its module here and there;
    griffe finds the module then."""
    thing = thing.final_target if thing.is_alias else thing
    return thing[thing.name] if thing.is_module else thing


def described(thing: Any, path: str) -> Iterator[str]:
    if thing.is_class:
        yield from class_(thing, path)
    elif thing.is_function:
        yield from function(thing, path)
    else:
        yield code_block(f"{path}: {thing.annotation}" if thing.annotation else path)
        yield from docstring(thing)


def class_(thing: griffe.Class, path: str) -> Iterator[str]:
    bases = [str(base) for base in thing.bases if str(base) != "msgspec.Struct"]
    init = thing.members.get("__init__")
    told = any(section.kind is griffe.DocstringSectionKind.parameters for section in sections(thing))
    if isinstance(init, griffe.Function) and (told or init.docstring):
        yield code_block(f"{path}{arguments(list(init.parameters)[1:])}")
    elif is_struct(thing):
        yield code_block(f"{path}{fields(thing)}")
    if bases:
        yield f"Base: `{', '.join(bases)}`.\n"
    yield from docstring(thing)
    public = [
        member
        for name, member in thing.members.items()
        if not name.startswith("_") or (name in (*SPECIAL, "__call__") and member.docstring)
    ]
    listed = [attribute(member, init) for member in public if member.is_attribute and worth_telling(member)]
    if listed:
        yield "\n".join(listed) + "\n"
    for member in public:
        if isinstance(member, griffe.Function):
            special = SPECIAL.get(member.name)
            yield f"#### {f'{special} {thing.name}' if special else f'{thing.name}.{member.name}'}\n"
            yield from function(member, member.name)


def is_struct(thing: Any) -> bool:
    return any(str(base) == "msgspec.Struct" for base in thing.bases)


def worth_telling(member: Any) -> bool:
    """The fields of a Struct stand in its signature."""
    return bool(member.docstring) or "property" in member.labels or not is_struct(member.parent)


def fields(thing: griffe.Class) -> str:
    """What a Struct is made with."""
    found = [
        f"{name}: {plain(member.annotation)}" + (f" = {member.value}" if member.value is not None else "")
        for name, member in thing.members.items()
        if isinstance(member, griffe.Attribute)
        and "property" not in member.labels
        and "instance-attribute" in member.labels
    ]
    return wrapped(["*", *found] if "kw_only" in thing.keywords else found)


def attribute(member: Any, init: Any) -> str:
    """A line of a list. What `__init__` only keeps is of its parameter's type; an Enum's value is shown."""
    kept = init is not None and member.annotation is None and str(member.value) in init.parameters
    annotation = init.parameters[str(member.value)].annotation if kept else member.annotation
    shown = f"{member.name}: {plain(annotation)}" if annotation else member.name
    if annotation is None and "class-attribute" in member.labels:
        shown += f" = {member.value}"
    text = " ".join(docstring(member)).strip()
    return f"- `{shown}`" + (f"  \n  {indented(text)}" if text else "")


def function(thing: griffe.Function, path: str) -> Iterator[str]:
    made = {str(decorator.value).split("(")[0].split(".")[-1]: decorator for decorator in thing.decorators}
    parameters = list(thing.parameters)
    for name in ("like", "like_method"):
        if name in made:
            parameters = list(original(thing, made[name]).parameters)
    if thing.parent is not None and thing.parent.is_class and "staticmethod" not in made:
        parameters = parameters[1:]
    result = str(thing.returns or "")
    before = "await " if "async" in thing.labels else ""
    if {"asynccontextmanager", "contextmanager"} & made.keys():
        before = "async with " if "asynccontextmanager" in made else "with "
        result = result.partition("[")[2].removesuffix("]")
    if thing.name in SPECIAL:
        shown = f"{SPECIAL[thing.name]} {thing.parent.name.lower() if thing.parent else ''}"
        yield code_block(f"{shown}  # {result}")
    else:
        end = f" -> {result}" if result not in ("", "None") else ""
        yield code_block(f"{before}{path}{arguments(parameters)}{end}")
    yield from docstring(thing)


def original(thing: griffe.Function, decorator: griffe.Decorator) -> griffe.Function:
    """The function whose arguments this one takes (`mux.sync.loop.like`)."""
    call = decorator.value
    assert isinstance(call, griffe.ExprCall)
    argument = call.arguments[0]
    assert isinstance(argument, griffe.Expr)
    found = resolved(thing.package[argument.canonical_path.removeprefix("mux.")])
    assert isinstance(found, griffe.Function)
    return found


def arguments(parameters: Iterable[griffe.Parameter]) -> str:
    shown: list[str] = []
    before: griffe.ParameterKind | None = None
    positional, named = griffe.ParameterKind.positional_only, griffe.ParameterKind.keyword_only
    for parameter in parameters:
        kind = parameter.kind
        if before is positional and kind is not positional:
            shown.append("/")
        if kind is named and before not in (named, griffe.ParameterKind.var_positional):
            shown.append("*")
        stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}
        text = f"{stars.get(kind, '') if kind else ''}{parameter.name}"
        text += f": {plain(parameter.annotation)}" if parameter.annotation is not None else ""
        if parameter.default is not None and kind not in stars:
            text += f" = {constant(parameter)}"
        shown.append(text)
        before = kind
    return wrapped(shown)


def plain(annotation: Any) -> str:
    """A type without what `Annotated` adds to it, which is said elsewhere."""
    if isinstance(annotation, griffe.ExprSubscript) and str(annotation.left) == "Annotated":
        assert isinstance(annotation.slice, griffe.ExprTuple)
        return plain(annotation.slice.elements[0])
    if isinstance(annotation, griffe.ExprBinOp):
        return f"{plain(annotation.left)} {annotation.operator} {plain(annotation.right)}"
    return str(annotation)


def constant(parameter: griffe.Parameter) -> str:
    """A default; of a named one the value."""
    default = parameter.default
    if isinstance(default, griffe.ExprName) and default.canonical_path.startswith("mux."):
        assert parameter.function is not None
        default = resolved(parameter.function.package[default.canonical_path.removeprefix("mux.")]).value
    return str(default)


def wrapped(parts: list[str]) -> str:
    line = f"({', '.join(parts)})"
    return line if len(line) < WIDTH - 30 else "(\n    " + ",\n    ".join(parts) + ",\n)"


def sections(thing: Any) -> list[griffe.DocstringSection]:
    return thing.docstring.parsed if thing.docstring is not None else []


def docstring(thing: Any) -> Iterator[str]:
    """Its text, then lists of arguments, attributes and exceptions."""
    for section in sections(thing):
        match section.kind:
            case griffe.DocstringSectionKind.text:
                yield examples(section.value) + "\n"
            case griffe.DocstringSectionKind.admonition:
                yield f"{section.title}: {section.value.contents}\n"
            case griffe.DocstringSectionKind.raises:
                yield "Raises:\n\n" + items((f"`{one.annotation}`", one.description) for one in section.value)
            case griffe.DocstringSectionKind.parameters | griffe.DocstringSectionKind.attributes:
                yield f"{section.title or section.kind.value.capitalize()}:\n".replace(
                    "Parameters", "Arguments"
                )
                yield items((f"`{one.name}`", one.description) for one in section.value)
            case griffe.DocstringSectionKind.returns | griffe.DocstringSectionKind.yields:
                yield (
                    f"{section.kind.value.capitalize()}:\n\n"
                    + "\n".join(one.description for one in section.value)
                    + "\n"
                )
            case other:
                raise ValueError(f"{thing.path}: nothing is written for a section of {other.value}")


def items(found: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {indented(text)}" for name, text in found) + "\n"


def indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def examples(text: str) -> str:
    """Doctests become fenced code without their prompts."""
    return re.sub(
        r"(?:^(?:>>>|\.\.\.).*\n?)+",
        lambda found: code_block(re.sub(r"(?m)^(?:>>>|\.\.\.) ?", "", found[0]).rstrip()) + "\n",
        text,
        flags=re.MULTILINE,
    ).rstrip()


def code_block(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```\n"
