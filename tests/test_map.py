"""The map in CONTRIBUTING.md against the imports: which room may import which."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "p3m_jax"
DOORS = {"cli", "__init__"}
ROW = re.compile(r"^\| (`[^|]*`) \| [^|]* \| ([^|]*) \|$", re.MULTILINE)


def modules():
    """All modules of the package by their dotted names."""
    found = {}
    for folder, name in ((PACKAGE, "p3m_jax"), *((PROJECT / n, f"p3m_jax.{n}") for n in SHARED)):
        for file in folder.rglob("*.py"):
            parts = (name, *file.relative_to(folder).with_suffix("").parts)
            found[".".join(part for part in parts if part != "__init__")] = file
    return found


SHARED = ("data", "configs")  # of the package, though they lie at the top of the tree
MODULES = modules()


def imports(file):
    """The modules of the package that a file imports, also within functions or for types."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def room_of(module):
    parts = module.split(".")[1:] or ["__init__"]
    return "models/ops" if parts[:2] == ["models", "ops"] else parts[0]


def rooms_of(cell):
    names = re.findall(r"`([^`]*)`", cell)
    return [n.removeprefix("p3m_jax/").removesuffix("/").removesuffix(".py") for n in names]


def the_map():
    """{room: the rooms that it may import, or None for all}, in the map's order."""
    table = (PROJECT / "CONTRIBUTING.md").read_text("utf-8").partition("## The map")[2]
    rows = ROW.findall(table.partition("\n## ")[0])
    return {
        room: None if cell.strip() == "all" else set(rooms_of(cell))
        for names, cell in rows
        for room in rooms_of(names)
    }


def test_every_room_imports_what_the_map_says():
    allowed, used = the_map(), defaultdict(set)
    for module, file in MODULES.items():
        room = room_of(module)
        assert room in allowed, f"{module} is in no room of the map"
        inside = {"models", "models/ops"} if room == "models" else {room}
        for imported in imports(file):
            other = room_of(imported)
            if other not in inside:
                may = allowed[room]
                assert may is None or other in may, f"{module} imports {imported}"
                used[room].add(other)
    for room, may in allowed.items():
        assert may is None or may == used[room], f"the map says more of {room} than it imports"


def test_the_map_goes_one_way():
    above = set()
    for room, may in the_map().items():
        assert may is None or may <= above, f"{room} imports what stands below it"
        above.add(room)


def test_no_modules_import_each_other():
    graph = {module: set(imports(file)) - {module} for module, file in MODULES.items()}
    graph["p3m_jax"] = set()  # `load` is imported when it is asked for
    TopologicalSorter(graph).prepare()
