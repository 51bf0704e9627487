"""Lists and formulas in sentences."""

from collections.abc import Sequence


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`; `none` of nothing."""
    *others, last = parts or ["none"]
    return f"{', '.join(others)} and {last}" if others else last


def formula(symbol: str) -> str:
    """`L_IA` as it stands in formulas."""
    return f"$L_{{{symbol.removeprefix('L_')}}}$"
