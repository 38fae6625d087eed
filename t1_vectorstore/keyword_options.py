"""Options as keyword arguments: the base class of all options, and ``takes_options``, which validates them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, Signature, get_annotations, iscoroutinefunction, signature
from numbers import Integral, Real
from typing import Annotated, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from pydantic import BaseModel, ConfigDict, SecretStr, Strict, ValidationError
from pydantic.functional_validators import AfterValidator, BeforeValidator, SkipValidation
from typing_extensions import Self

from t1_vectorstore.errors import InvalidText


def _builtin(value: object) -> object:
    """Convert numpy's numbers to built-in ones, which pydantic then checks strictly; a bool is not a number."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


Integer = Annotated[int, Strict(), BeforeValidator(_builtin)]
Number = Annotated[float, Strict(), BeforeValidator(_builtin)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]
Texts = Annotated[Sequence[str], SkipValidation()]  # checked by the function that embeds them
Secret = Annotated[str | SecretStr, AfterValidator(lambda value: SecretStr(value) if isinstance(value, str) else value)]
_BUILTIN_NAMES = {"Integer": "int", "Number": "float", "Flag": "bool", "Text": "str", "Texts": "Sequence[str]"}


def as_mapping(value: object) -> object:
    """Convert a model of another package, such as qdrant-client's, into a mapping of what is set."""
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else value


class Options(BaseModel):
    """Base class of all options: frozen, and with errors of one line, a ``TypeError`` or a ``ValueError``."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def __new__(cls, *unnamed: Any, **_: Any) -> Self:  # noqa: ANN401 - validated by __init__
        """Refuse values without names."""
        if unnamed:
            names = list(cls.model_fields)
            first = next((name for name in names if name in ("model", "model_name")), names[0])
            raise TypeError(f"{cls.__name__} takes named arguments only: write {first}={unnamed[0]!r}")
        return super().__new__(cls)

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - validated here
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise _plain_error(error, given, type(self)) from None

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - validated here
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise _plain_error(error, {name: value}, type(self)) from None


def set_options(options: BaseModel, kind: type[BaseModel]) -> dict[str, Any]:
    """Return those options of ``kind`` that were set explicitly, by name."""
    return {name: getattr(options, name) for name in kind.model_fields if name in options.model_fields_set}


def _plain_error(error: ValidationError, given: Mapping[str, Any], model: type[BaseModel]) -> TypeError | ValueError:
    """Convert pydantic's error into one sentence about the first problem: option, accepted values, given value."""
    problem, *others = error.errors(include_url=False)
    kind, message = problem["type"], problem["msg"]
    if kind == "value_error":  # raised by a validator of this package, whose message is complete
        return ValueError(str(problem["ctx"]["error"]))
    option, *rest = map(str, problem["loc"])
    nested = isinstance(given.get(option), Mapping | list | tuple)  # else the rest names a member of a union
    name = ".".join([option, *rest]) if nested else option
    if kind == "extra_forbidden":
        known = sorted(field.alias or name for name, field in model.model_fields.items())
        close = get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        return TypeError(f"unknown option {name!r}{hint} The options are {', '.join(known)}")
    if kind == "missing":
        return TypeError(f"{name} is required")
    value = repr(problem["input"]).replace("\n", " ")[:200]
    if kind == "string_unicode":
        return InvalidText(f"{name} {value} has a lone surrogate, which UTF-8 cannot encode")
    # The members of a union have a problem each.
    members = [problem, *(each for each in others if not nested and each["loc"][0] == problem["loc"][0])]
    _, should, accepted = message.partition("should ")
    for each in members[1:]:
        if also := each["msg"].partition("should ")[2].removeprefix("be "):
            accepted += f" or {also}"
    message = f"{name} must {accepted}, got {value}" if should else f"{name}: {message}, got {value}"
    wrong_type = all(
        each["type"].endswith("_type") or (each["type"] == "literal_error" and not isinstance(each["input"], str))
        for each in members
    )
    return TypeError(message) if wrong_type else ValueError(message)


P = ParamSpec("P")
S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")
M_co = TypeVar("M_co", bound=Options, covariant=True)


class _TakesOptions(Protocol[P, M_co]):
    @overload
    def __call__(self, function: Callable[[S, M_co], R], /) -> Callable[Concatenate[S, P], R]: ...
    @overload
    def __call__(self, function: Callable[[S, A, M_co], R], /) -> Callable[Concatenate[S, A, P], R]: ...
    @overload
    def __call__(self, function: Callable[[S, A, B, M_co], R], /) -> Callable[Concatenate[S, A, B, P], R]: ...


def takes_options(options: Callable[P, M_co]) -> _TakesOptions[P, M_co]:
    """Decorate a function whose last parameter is ``options``, so that callers pass its fields as keyword arguments.

    The fields are validated before the function runs, and type checkers see them as its keyword parameters.
    """
    model: Any = options

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        *own, last = signature(function).parameters.values()
        names = {parameter.name for parameter in own}

        def keywords(args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
            if len(args) > len(own):
                raise TypeError(f"{function.__qualname__} takes its options by keyword, got {args[len(own) :]!r}")
            direct = {name: given.pop(name) for name in names & given.keys()}
            return {**direct, last.name: model(**given)}

        @wraps(function)
        def with_keywords(*args: Any, **given: Any) -> Any:  # noqa: ANN401
            return function(*args, **keywords(args, given))

        @wraps(function)
        async def awaitable(*args: Any, **given: Any) -> Any:  # noqa: ANN401
            return await function(*args, **keywords(args, given))

        fields = [
            Parameter(keyword, Parameter.KEYWORD_ONLY, default=field.get_default(), annotation=_annotation(model, name))
            for name, field in model.model_fields.items()
            for keyword in [field.alias or name]
        ]
        decorated: Callable[..., Any] = awaitable if iscoroutinefunction(function) else with_keywords
        decorated.__signature__ = Signature([*own, *fields])  # type: ignore[attr-defined] # for help() and editors
        return decorated

    return decorate


def _annotation(model: type[Options], name: str) -> str:
    """Return a field's annotation as it is written in the class, with the names of built-in types."""
    written = next(str(found[name]) for kind in model.__mro__ if name in (found := get_annotations(kind)))
    for alias, builtin in _BUILTIN_NAMES.items():
        written = re.sub(rf"\b{alias}\b", builtin, written)
    return written
