"""The map of docs/architecture.md, as a test: who may import whom, and what the core may not do."""

import ast
import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = """
    errors exchange settings space past record answer forms clean checks verdict events job prices retry
    progress budget meter breaker width status tales examples
|
    appendlog shards ledger verify reopen
    document yaml12 shape fitting schema origin jobfile sources harvest axes prompting judging keys pricelist
    wire limiter models
    providers providers.chat providers.guard providers.leash providers.launch providers.llama
    providers.openai providers.simulator providers.embedded providers.fake
    accounts config
|
    worker supervisor
|
    weather tally door mimic simulator display
    commands commands.init commands.models commands.prompts commands.plan commands.restart_shard
    commands.retry commands.run commands.schema commands.simulate commands.tail commands.verify
    cli __main__
"""
CORE, EDGES, WORK, SERVICE = (layer.split() for layer in LAYERS.split("|"))
ORDER = CORE + EDGES + WORK + SERVICE

# A provider is opened by name (`providers.connect`), so only what stands here knows a kind.
KNOWS_A_KIND = {("simulator", "providers.fake")}
# What a provider kind may know of storyd: one exchange, and how to reach an account.
PROVIDER_MAY = {"errors", "exchange", "settings", "status", "tales", "wire", "limiter", "models"}

CORE_LIBRARIES = {"orjson", "re2", "simplemma"}
PURE = """
    __future__ abc bisect collections contextlib dataclasses difflib email enum functools hashlib html
    itertools json math operator re statistics string types typing unicodedata
"""
TOUCHES_THE_WORLD = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}


def path_of(module: str) -> Path:
    path = ROOT / "storyd" / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def tree_of(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def modules() -> set[str]:
    """Every module under storyd/ by its dotted name, without the package's own."""
    found = set()
    for path in (ROOT / "storyd").rglob("*.py"):
        parts = path.relative_to(ROOT / "storyd").with_suffix("").parts
        found.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found - {""}


def imports(module: str) -> list[str]:
    """The absolute dotted names that a module imports, wherever in it they stand (typing-only ones too)."""
    names = []
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = f"{base(module, node.level)}.{node.module or ''}".strip(".")
            names += [f"{source}.{alias.name}" for alias in node.names]
    return names


def base(module: str, level: int) -> str:
    """The package that `level` dots in front of an import mean."""
    if not level:
        return ""
    package = f"storyd.{module}".split(".")
    if path_of(module).name == "__init__.py":
        package.append("__init__")
    return ".".join(package[:-level])


def inner(module: str) -> set[str]:
    """The modules of storyd that a module imports."""
    known, found = set(ORDER), set()
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == "storyd":
            found |= {".".join(parts[1:end]) for end in (2, 3)} & known
    return found - {module}


def outer(module: str) -> set[str]:
    """The libraries that a module imports."""
    return {name.split(".")[0] for name in imports(module)} - {"storyd"}


def test_every_module_has_its_place():
    assert modules() == set(ORDER), "list new modules in ORDER, and in docs/architecture.md"
    assert len(set(ORDER)) == len(ORDER)


def test_the_map_shows_this_order():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^  (\w+)(?:\.py|/) ", text, re.MULTILINE)
    assert drawn == [module for module in ORDER if "." not in module and module != "__main__"]


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_up(module):
    above = set(ORDER[: ORDER.index(module)])
    assert inner(module) <= above, f"{module} imports what stands below it: {inner(module) - above}"


@pytest.mark.parametrize("module", CORE)
def test_the_core_needs_no_more_than_its_libraries(module):
    assert outer(module) <= {*PURE.split()} | CORE_LIBRARIES


@pytest.mark.parametrize("module", CORE)
def test_the_core_touches_nothing(module):
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in TOUCHES_THE_WORLD, f"{module}:{node.lineno}"
        assert not isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith), f"{module} waits"


@pytest.mark.parametrize("module", [name for name in ORDER if name.startswith("providers.")])
def test_a_provider_kind_knows_only_its_exchange(module):
    known = {name for name in inner(module) if not name.startswith("providers")}
    assert known <= PROVIDER_MAY


def test_a_provider_kind_is_known_by_name_only():
    known = {
        (module, name)
        for module in ORDER
        if not module.startswith("providers.")
        for name in inner(module)
        if name.startswith("providers.")
    }
    assert known <= KNOWS_A_KIND


def test_nothing_imports_a_runner():
    for module in ORDER:
        assert "runners" not in outer(module), f"{module} imports a runner"


def test_every_library_is_declared():
    """An undeclared library works until somebody installs only what is declared."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    declared = {one.split(">")[0].split(";")[0].lower().replace("-", "_") for one in wanted}
    named = {"yaml": "pyyaml", "re2": "google_re2"}
    for module in ORDER:
        libraries = {named.get(name, name).lower() for name in outer(module) - set(sys.stdlib_module_names)}
        assert libraries <= declared, f"{module} imports {libraries - declared}"
