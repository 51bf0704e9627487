"""What is wrong with a configuration, in the words of the one who wrote it."""

from __future__ import annotations

from typing import Any


class ConfigError(ValueError):
    """A configuration that cannot be used; the message has one line per reason."""


def error_line(where: str, error: dict[str, Any], root: Any) -> str:
    """One of pydantic's errors in the words of a configuration's user.

    Args:
        where: file, or whatever the fields are from.
        error: of `ValidationError.errors()`.
        root: the section that was validated.
    """
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
    if error["type"] == "tuple_type":
        message = "write a list, such as [1, 2]"
    if not key:
        return f"{where}: {message}"
    if isinstance(error["input"], dict):
        return f"{where}: '{key}': {message}"
    return f"{where}: '{key}' = {error['input']!r} is not allowed: {message}"
