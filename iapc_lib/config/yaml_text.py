"""YAML as people mean it: what is written is what is read, or it is refused.

The scalars are those of YAML 1.2's core schema with decimal numbers alone: no dates, no `yes` and
`off`, `1e-4` is a number, and what begins with zeros stays the text that it is. A key that is given
twice, anchors, and explicit types are refused.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from iapc_lib.config.errors import ConfigError
from iapc_lib.files import FileError, read_text


class _Loader(yaml.SafeLoader):
    """Of YAML 1.2's core schema, without anchors, types and a key twice."""

    yaml_implicit_resolvers: dict[str, list] = {}

    def compose_node(self, parent, index):
        event = self.peek_event()
        if event.anchor is not None:
            problem = "no names (&name, *name) here: write it out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        if event.tag is not None:
            problem = f"no types (!{event.tag.lstrip('!')}) here"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        known = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in known:
                problem = f"'{key.value}' is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            known.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first
    )


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        ConfigError: it cannot be read, is no YAML, or not unambiguous.
    """
    try:
        return _parsed(read_text(path))
    except FileError as error:
        raise ConfigError(str(error)) from None
    except ValueError as error:
        raise ConfigError(f"{path}: is not YAML ({error})") from None


def parse_value(text: str) -> Any:
    """A value as it is typed in a shell: a list, a mapping or a quoted text as in YAML, a number,
    `true`, `false`, `null`, and else the text itself, whatever it holds.

    Raises:
        ValueError: it is empty, or begins like a list, a mapping or a quoted text and is none.
    """
    text = text.strip()
    if not text:
        raise ValueError("is empty; write null for no value")
    if text[0] in "[{\"'":
        return _parsed(text)
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    return loader.construct_object(yaml.ScalarNode(tag, text))


def _parsed(text: str) -> Any:
    """ValueError says what is wrong with it."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
