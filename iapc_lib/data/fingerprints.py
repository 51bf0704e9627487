"""Names of the data that a stage reads: other data are another name, and the stage is made again."""

from collections.abc import Sequence
from pathlib import Path

from iapc_lib.config.run_config import RunConfig
from iapc_lib.data.layouts import Record, domain_root, source_records, target_records
from iapc_lib.files import fingerprint


def data_fingerprint(config: RunConfig, domain: str, records: Sequence[Record]) -> str:
    """Names some records of the `source` or `target`.

    The miniature's folder is named by its contents. Of a real data set, names, sizes and times of
    the images and labels are hashed; to read 25,000 images for a hash would take too long.
    """
    root = domain_root(config, domain)
    if config.miniature is not None:
        return root.name
    files = [[r.name, *(path and _state(path) for path in (r.image, r.label))] for r in records]
    return f"{root.name} {fingerprint(files)}"


def target_fingerprint(config: RunConfig, split: str = "train", labels: bool = False) -> str:
    """Names a split of the target: `dev` and `val` with labels, `train` only if it is asked for.

    Raises:
        DataError: a real data set is missing.
    """
    if config.miniature is not None:
        return data_fingerprint(config, "target", [])
    return data_fingerprint(
        config, "target", target_records(config, split, labels=labels or split != "train")
    )


def source_fingerprint(config: RunConfig, split: str = "train") -> str | None:
    """Names the source's `train` or `val`; None where a checkpoint is all that is left of it.

    Raises:
        DataError: a real data set is missing.
    """
    if config.source.layout is None:
        return None
    if config.miniature is not None:
        return data_fingerprint(config, "source", [])
    train, val = source_records(config)
    return data_fingerprint(config, "source", {"train": train, "val": val}[split])


def _state(path: Path) -> tuple[int, int] | None:
    """Bytes of a file and the second of its last change, which copies with their times keep.

    None where it is missing, which is said where it is read.
    """
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_size, int(seen.st_mtime)
