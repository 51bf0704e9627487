"""What is wrong with a configuration, in the words of the one who wrote it."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from iapc_lib.files import Refusal
from iapc_lib.method.settings import Section

S = TypeVar("S", bound=Section)


class ConfigError(Refusal, ValueError):
    """A configuration that cannot be used; the message has one line per reason."""


def checked(
    section: type[S], fields: Any, where: str, origin: Mapping[str, str] | None = None
) -> S:
    """A section of these fields.

    Args:
        section: whose fields they are.
        fields: as somebody wrote them.
        where: file, or whatever they are from.
        origin: dotted key -> where that field is from, if it is from elsewhere.

    Raises:
        ConfigError: with a line for each key or value that is not allowed.
    """
    try:
        return section.model_validate(fields)
    except ValidationError as error:
        errors = error.errors()
        # A list whose items are wrong counts as empty, too.
        wrong = {e["loc"][:-1] for e in errors}
        lines = [
            _line(_origin(e, origin or {}, where), e, section)
            for e in errors
            if e["type"] != "too_short" or e["loc"] not in wrong
        ]
        raise ConfigError("\n".join(lines)) from None


def _origin(error: dict[str, Any], origin: Mapping[str, str], where: str) -> str:
    """Who wrote what an error is about: the place of its field, or of a field in it."""
    parts = [str(part) for part in error["loc"]]
    for length in range(len(parts), 0, -1):
        if (key := ".".join(parts[:length])) in origin:
            return origin[key]
    return where


def _line(where: str, error: dict[str, Any], root: type[Section]) -> str:
    """One of pydantic's errors in the words of a configuration's user."""
    location = [part for part in error["loc"] if isinstance(part, str)]
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        section = root
        for part in location[:-1]:
            annotation = section.model_fields[part].annotation
            section = next(
                a for a in (annotation, *getattr(annotation, "__args__", ())) if isinstance(a, type)
            )
        return f"{where}: unknown key '{key}'; allowed: {', '.join(section.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: '{key}' is missing"
    message = error["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be")
    if error["type"] in ("int_type", "int_from_float"):
        message = "must be a whole number in digits alone: 9000, not 9.000, 9e3 or '9000'"
    if error["type"] == "float_type":
        message = "must be a number, without quotation marks"
    if error["type"] == "tuple_type":
        message = "write a list, such as [a, b]"
    if error["type"] == "model_type" and not key:
        message = f"needs the keys {', '.join(root.model_fields)}"
    if not key:
        return f"{where}: {message}"
    if isinstance(error["input"], dict):
        return f"{where}: '{key}': {message}"
    return f"{where}: '{key}' = {error['input']!r} is not allowed: {message}"
