"""Writes docs/licences.md: the licence of each direct dependency, as the installed packages state it.

One that is not installed here keeps the line that the page has.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]  # of pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences

The project is under Apache-2.0. What it imports or is checked with, and the licence that each package states; written
by:

```bash
python tests/licences.py
```

| package | needed for | licence |
|---|---|---|
"""
ROW = re.compile(r"^\| ([\w.-]+) \| (?!needed)([\w ]+) \| (.+) \|$", re.MULTILINE)


def list_direct_dependencies() -> dict[str, str]:
    """Return the packages that pyproject.toml names, and what each is needed for."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = {"development": content["dependency-groups"]["dev"]}
    groups |= content["project"]["optional-dependencies"] | {"running": content["project"]["dependencies"]}
    found = {}
    for group, packages in groups.items():
        for package in packages:
            name = re.match(r"[\w.-]+", package)
            assert name
            found[name[0]] = group
    return found


def find_licence(package: str) -> str | None:
    """Return the licence that an installed package states; None where it is not installed, "" where it states none."""
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return None
    metadata = installed.metadata.json
    if expression := metadata.get("license_expression"):
        return str(expression).replace(" AND ", ", ")
    classifiers = [line.split(" :: ")[-1] for line in metadata.get("classifier", []) if line.startswith("License ::")]
    text = str(metadata.get("license", "")).strip()
    return ", ".join(classifiers) or (text if "\n" not in text else "") or read_licence_title(installed)


def read_licence_title(installed: Distribution) -> str:
    """Return the first line of a package's licence file."""
    files = [file for file in installed.files or [] if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))]
    lines = [line.strip() for file in files for line in file.read_text().splitlines() if line.strip()]
    return lines[0] if lines else ""


def read_page() -> dict[str, str]:
    """Return the licences that the page lists."""
    return {name: licence for name, _, licence in ROW.findall(PAGE.read_text())} if PAGE.exists() else {}


if __name__ == "__main__":
    listed = read_page()
    rows = []
    for package, need in sorted(list_direct_dependencies().items()):
        licence = find_licence(package)
        rows.append(f"| {package} | {need} | {listed.get(package, '') if licence is None else licence} |\n")
    PAGE.write_text(HEAD + "".join(rows))
