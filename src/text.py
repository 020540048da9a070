"""Format text for people: hints for a wrong name, tables, durations, and messages that fit the screen."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


def take_first_line(text: str) -> str:
    """Return the first line of a text; an empty text stays as it is."""
    return text.strip().splitlines()[0] if text.strip() else text


def clip_lines(text: str, lines: int = 10) -> str:
    """Cut a text after its first lines, so that a message fits the screen."""
    kept = text.strip().splitlines()
    return "\n".join(kept[:lines] + (["…"] if len(kept) > lines else []))


def quote(path: str | Path) -> str:
    """Quote a path so that Hydra's grammar takes it, whatever is in it."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def describe_unknown(group: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name, with the nearest known names, or all where they are few."""
    known = sorted(known, key=natural_sort_key)
    if alike := [other for other in known if fold_name(other) == fold_name(name)]:
        return f"{group}={name}: no such {group}; did you mean {alike[0]}?"
    near = difflib.get_close_matches(name, known, n=6, cutoff=0.6)
    if len(known) <= 12:
        return f"{group}={name}: no such {group}; there are: {', '.join(known)}"
    hint = f"did you mean {', '.join(near)}?" if near else f"for instance {', '.join(known[:6])}"
    return f"{group}={name}: no such {group} among {len(known)}; {hint}"


def fold_name(name: str) -> str:
    """Return a name without case and signs, so that ResNet-56 is resnet56."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def natural_sort_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts resnet20 before resnet110."""
    import re

    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", name) if part]


def format_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Format rows, the head first, as aligned text; the first `left` columns align left, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def format_duration(seconds: float) -> str:
    """Format seconds as 45 s, 12 min 5 s or 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
