import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# DESIGN section 1.
MAY_IMPORT = {
    "shared": set[str](),
    "ingest": {"shared"},
    "worker": {"shared"},
    "training": {"shared"},
    "console": {"shared"},
    "deploy": {"shared", "ingest", "worker", "training", "console"},
}
LATE_IMPORTS = {
    f"deploy/{name}.py"
    for name in ("accounts", "commands", "consoles", "flags", "models", "services", "webhooks")
}
READS_ENVIRONMENT = {"deploy/cli.py", "deploy/launcher.py"}
MIGRATIONS = "console/migrations/versions/"
MODULE_LINES = 400
FUNCTION_LINES = 60

MODULES = sorted(
    path.relative_to(ROOT).as_posix() for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py")
)


@cache
def tree(module: str) -> ast.Module:
    """The parsed source of a module."""
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        assert node.module is not None
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def first_party(within: ast.AST) -> Iterator[str]:
    """Dotted names of ours that are imported anywhere within a node."""
    for node in ast.walk(within):
        yield from (name for name in imported(node) if name.partition(".")[0] in MAY_IMPORT)


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, nested ones too."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def file_of(name: str) -> str | None:
    """The module file that a dotted name leads to, the name of a thing inside it included."""
    parts = name.split(".")
    for length in (len(parts), len(parts) - 1):
        stem = "/".join(parts[:length])
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if path in MODULES:
                return path
    return None


def test_the_tree_is_walked() -> None:
    """These tests see the modules they speak of."""
    assert {module.partition("/")[0] for module in MODULES} == set(MAY_IMPORT)
    assert "shared/broker.py" in set(map(file_of, first_party(tree("ingest/service.py"))))


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    """A folder imports itself and what DESIGN section 1 allows it."""
    folder = module.partition("/")[0]
    found = {name.partition(".")[0] for name in first_party(tree(module))}
    assert found - {folder} <= MAY_IMPORT[folder]


def test_no_import_cycle() -> None:
    """No module needs, through others, itself."""
    needs = {
        module: {file_of(name) or "" for name in first_party(tree(module))} & set(MODULES)
        for module in MODULES
    }
    while free := {module for module, needed in needs.items() if not needed & set(needs) - {module}}:
        needs = {module: needed for module, needed in needs.items() if module not in free}
    assert needs == {}
    assert [module for module in MODULES if module in map(file_of, first_party(tree(module)))] == []


@pytest.mark.parametrize("module", sorted(set(MODULES) - LATE_IMPORTS))
def test_no_import_of_ours_hides_in_a_function(module: str) -> None:
    """What a module needs of ours stands at its top; only the `almenara` command loads its parts late."""
    assert {
        function.name: names for function in functions(module) if (names := list(first_party(function)))
    } == {}


@pytest.mark.parametrize("module", MODULES)
def test_sizes_are_kept(module: str) -> None:
    """Modules end at 400 lines, functions at 60 without their docstring; a migration is a list of columns."""
    assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) <= MODULE_LINES
    if module.startswith(MIGRATIONS):
        return
    assert {
        each.name: length for each in functions(module) if (length := lines_of(each)) > FUNCTION_LINES
    } == {}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


@pytest.mark.parametrize("module", sorted(set(MODULES) - READS_ENVIRONMENT))
def test_the_environment_is_read_in_one_place(module: str) -> None:
    """Settings are passed down: nobody else looks into `os.environ`."""
    looks = [
        node
        for node in ast.walk(tree(module))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "getenvb"})
        or {"os.environ", "os.environb", "os.getenv"} & set(imported(node))
    ]
    assert looks == []


def loaded_with(module: str) -> set[str]:
    """Top-level names of everything that importing a module loads, in a process of its own."""
    show = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "ingest.service",
        "console.terminal",
        "console.desk.service",
        "console.web.app",
        "deploy.cli",
        "deploy.launcher",
    ],
)
def test_torch_stays_out(module: str) -> None:
    """Who takes photographs in, shows dispatches or starts services needs no torch, nor waits for it."""
    assert loaded_with(module) & {"torch", "torchvision"} == set()


def test_ingest_knows_no_worker() -> None:
    """Jobs are enqueued by dotted name: the function they name is not loaded to do so."""
    assert not loaded_with("ingest.service") & {"worker", "training", "console", "deploy"}
