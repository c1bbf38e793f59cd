"""Read a command's flags by its signature, show them in its help, and refuse wrong ones in one line."""

import functools
import inspect
import operator
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_type_hints

import docstring_parser
import tyro

# tyro has no public way to word a refusal; pyproject.toml pins the version whose private one this is.
from tyro._arguments import ArgumentDefinition
from tyro._errors import (
    BadValue,
    InstantiationFailure,
    InvalidChoice,
    MissingArgs,
    ParseErrorEvent,
    UnrecognizedArgs,
    on_parse_error,
)
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from tunekit.errors import UserError
from tunekit.parsing import not_a_choice
from tunekit.planning.other_names import nearest_name

Command = Callable[..., int]
CONFIG = (tyro.conf.PositionalMetavarFromFieldName, tyro.conf.FlagCreatePairsOff)
_POSITIONAL = get_args(tyro.conf.Positional[str])[1]
RULES = ConstructorRegistry()
"""The rules by which signatures and types become flags, where the help by tyro's own rules would be hard to read."""


def run_command(command: Command, prog: str, words: Sequence[str]) -> int:
    """Call ``command`` with the flags in ``words`` and return its exit code. Help and messages call it ``prog``.

    Raises UserError, in one line, where a flag or a value is wrong, and SystemExit after help.
    """

    def refuse(event: ParseErrorEvent) -> None:
        known = [*_flags(command), "--help"]
        strange = [word for word in words if word.startswith("--") and _flag_of(word) not in known]
        # The parser takes the words after an unknown flag for its values, so that its first error is a consequence.
        line = _unknown(strange[0], known) if strange else _what_is_wrong(event, known)
        if line:
            raise UserError(f"{line} ({prog} --help lists the flags)")

    about = _wrapped(docstring_parser.parse(inspect.getdoc(command) or "").description or "")
    with on_parse_error(refuse):
        return tyro.cli(command, prog=prog, description=about, args=words, config=CONFIG, registry=RULES)


def show_commands(commands: Mapping[str, Command], prog: str, about: str, words: Sequence[str]) -> int:
    """Show a list of all ``commands``, or print a shell's completion for them, as ``words`` ask for.

    Raises UserError where ``words`` ask for neither.
    """
    kinds = []
    for name, command in commands.items():
        first = " ".join((inspect.getdoc(command) or "").partition("\n\n")[0].split())
        kinds.append(Annotated[Any, tyro.conf.subcommand(name, description=first, constructor=command)])

    def refuse(event: ParseErrorEvent) -> None:
        wrong = _unknown(words[0], ["--help"]) if isinstance(event, UnrecognizedArgs) else "name a command"
        raise UserError(f"{wrong} ({prog} --help says what each does; there are {', '.join(commands)})")

    with on_parse_error(refuse):
        union: Any = functools.reduce(operator.or_, kinds)
        return int(tyro.cli(union, prog=prog, description=_wrapped(about), args=words, config=CONFIG, registry=RULES))


def _wrapped(text: str) -> str:
    """Return paragraphs wrapped at the width of the terminal, which would itself break words."""
    # tyro joins lines that begin with a letter, so that all but a paragraph's first line are indented.
    wrapper = textwrap.TextWrapper(
        width=shutil.get_terminal_size().columns, subsequent_indent="  ", break_on_hyphens=False
    )
    return "\n\n".join(wrapper.fill(" ".join(part.split())) for part in text.strip().split("\n\n"))


def _what_is_wrong(event: ParseErrorEvent, known: Sequence[str]) -> str | None:
    """Return what is wrong with the command line; None where only tyro's own text can tell."""
    if isinstance(event, UnrecognizedArgs):
        return _unknown(event.tokens[0], known)
    if isinstance(event, MissingArgs):
        if event.unrecognized_tokens:
            return _unknown(event.unrecognized_tokens[0], known)
        return f"missing {', '.join(_shown(one.arg) for one in event.missing_arguments)}"
    if isinstance(event, InvalidChoice):
        return not_a_choice(_shown(event.argument), event.value, event.choices)
    if isinstance(event, InstantiationFailure) and event.argument is not None:
        return f"{_shown(event.argument)} {event.message}"
    if isinstance(event, BadValue):
        return f"{_shown(event.argument)} needs a value"
    return None


def _shown(argument: ArgumentDefinition) -> str:
    """Return the name of an argument in help: ``--seeds``, or ``SWEEP`` for a positional one."""
    return str(argument.lowered.metavar) if argument.is_positional() else argument.display_name()


def _flag_of(word: str) -> str:
    """Return the flag in ``--flag`` or ``--flag=value``, with hyphens."""
    return word.partition("=")[0].replace("_", "-")


def _unknown(token: str, known: Sequence[str]) -> str:
    """Return the refusal of a word that is neither a flag nor the value of one."""
    if not token.startswith("-"):
        return f"unexpected word {token!r}"
    flag = token.partition("=")[0]
    return f"unknown flag {flag!r}{nearest_name(flag, known)}"


def _flags(command: Command) -> list[str]:
    """Return the flags of ``command``, including those of a dataclass that it takes."""
    names: list[str] = []
    hints = get_type_hints(command, include_extras=True)
    for name, kind in get_type_hints(command).items():
        if is_dataclass(kind):
            names += [item.name for item in fields(kind)]
        elif name != "return" and _POSITIONAL not in getattr(hints[name], "__metadata__", ()):
            names.append(name)
    return [f"--{name.replace('_', '-')}" for name in names]


@RULES.struct_rule
def _arguments(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Return the flags of a function or a dataclass, each with its help as one paragraph and its default said once."""
    source: Any = info.type
    if not (is_dataclass(source) or inspect.isfunction(source)) or source.__module__.startswith("tyro."):
        return None
    if is_dataclass(source):
        defaults = {item.name: item.default for item in fields(source)}
    else:
        defaults = {one.name: one.default for one in inspect.signature(source).parameters.values()}
    make: Callable[..., Any] = info.type
    hints, texts = get_type_hints(source, include_extras=True), _help_texts(make)
    found = []
    for name, default in defaults.items():
        missing = default in (MISSING, inspect.Parameter.empty)
        text = texts.get(name, "")
        hint = tyro.conf.arg(help_behavior_hint=_hint(None if missing else default, text))
        kind: Any = Annotated[hints[name], hint]
        found.append(StructFieldSpec(name, kind, tyro.MISSING if missing else default, text))
    return StructConstructorSpec(make, tuple(found))


@functools.cache
def _help_texts(source: Any) -> dict[str, str]:
    """Return the help of each flag, from a function's Args or from the docstrings of a dataclass's fields."""
    if not is_dataclass(source):
        parsed = [docstring_parser.parse(inspect.getdoc(source) or "")]
    else:
        parsed = [docstring_parser.parse_from_object(kind) for kind in source.__mro__[:-1]]  # type: ignore[union-attr]
    return {one.arg_name: " ".join((one.description or "").split()) for doc in parsed for one in doc.params}


def _hint(default: object, text: str) -> Callable[[str], str] | str:
    """Return the end of a flag's help: its default, unless that is empty or ``text`` names it."""
    if default is None or default is False or default == () or "(default: " in text:
        return ""
    return lambda label: f"(default: {label})"


@RULES.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Read ``X | None`` as ``X``: a flag that is not given is None, and no value on the command line means None."""
    if info.type_origin not in (Union, UnionType):
        return None
    kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
    if len(kinds) != 1:
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kinds[0], info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    inner = spec
    return replace(
        inner,
        is_instance=lambda value: value is None or inner.is_instance(value),
        str_from_instance=lambda value: [] if value is None else inner.str_from_instance(value),
    )


@RULES.primitive_rule
def _several(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Show ``tuple[X, ...]`` as ``X ...``."""
    if info.type_origin is not tuple or get_args(info.type)[-1] is not Ellipsis:
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(get_args(info.type)[0], info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    one = spec
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{one.metavar} ...",
        instance_from_str=lambda words: tuple(one.instance_from_str([word]) for word in words),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [text for value in values for text in one.str_from_instance(value)],
        choices=one.choices,
    )


@RULES.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Read a number. A value that is not a number is refused in plain words."""
    if info.type not in (int, float):
        return None
    kind: type[int] | type[float] = info.type
    what = "a whole number" if kind is int else "a number"

    def read(words: list[str]) -> int | float:
        try:
            return kind(words[0])
        except ValueError as error:
            raise ValueError(f"takes {what}, got {words[0]!r}") from error

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind) and not isinstance(value, bool),
        str_from_instance=lambda value: [f"{value:g}" if kind is float else str(value)],
    )
