"""The drawing in docs/architecture.md: what each room may import."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "workflow/accelbench"
LAYERS = (
    {"cli", "dag", "__main__"},
    {"compare"},
    {"preflight", "load"},
    {"report"},
    {"training", "inference"},
    {"analysis"},
    {"plan"},
    {"telemetry"},
    {"jobs", "config"},
    {"store"},
    {"foreign", "errors"},
)


def rooms_imported(path: Path) -> set[str]:
    """Return the rooms of this package that a module imports, in its functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "accelbench" else [f"accelbench.{a.name}" for a in node.names]
            found |= {name.split(".")[1] for name in names if name.startswith("accelbench.")}
    return found


def test_no_room_imports_from_a_room_above_it() -> None:
    level = {room: depth for depth, layer in enumerate(LAYERS) for room in layer}
    upward = []
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        sideways = {room for room in rooms_imported(path) if room != own and level[room] <= level[own]}
        upward += [f"{path.relative_to(PACKAGE)} imports {room}" for room in sorted(sideways) if own != "__main__"]
    assert not upward
