"""Where the project begins, and paths in it."""

import os
from pathlib import Path


def project_root() -> Path:
    """The nearest folder, upwards from here, that holds `papermill_runs` and `notebooks`.

    Outside a checkout it is the folder that holds the library.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "papermill_runs").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return Path(__file__).resolve().parents[1]


def resolve(path: str | Path) -> Path:
    """A path of the configuration: absolute, or relative to the project."""
    return project_root() / Path(path).expanduser()


def usable_path(text: str) -> str:
    """The text itself; ValueError if no file can have such a path."""
    if not isinstance(text, str):
        raise TypeError("is no text")
    if not text.strip():
        raise ValueError("is empty; write null for none")
    if "\0" in text:
        raise ValueError("holds a NUL character")
    if any(len(os.fsencode(part)) > 255 for part in Path(text).parts):
        raise ValueError("has a part of more than 255 bytes")
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise ValueError("names the home folder of a user who is not known here") from None
    return text


def shown_path(path: Path) -> str:
    """A path as people read it: from the project's folder where it is in there."""
    path, root = path.resolve(), project_root()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
