"""Rules of the layout, read from the source: folders, directions of imports, names, prose."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

from support.paths import ROOT

PACKAGES = ("datasets", "depthmodel", "pipelines", "flows")  # each may import those before it
MAX_FILES_PER_FOLDER = 15
MAX_FUNCTION_LINES = 60
MAX_MEDIAN_FUNCTION_LINES = 8

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def modules(package: str) -> list[Path]:
    """Source files of a package; tests that find none would prove nothing."""
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no module in {ROOT / package}"
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> Iterator[str]:
    """Full names that a file imports, at its top or inside a function."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages_imported(path: Path) -> set[str]:
    """Packages of ours that a file imports: "datasets", "flows"."""
    names = (name.split(".") for name in imported(path))
    return {parts[1] for parts in names if parts[0] == "nightrain" and len(parts) > 1}


def libraries_imported(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def module_file(name: str) -> Path | None:
    """The file of a module, or of the module that defines a name: nightrain.flows.cli.main."""
    parts = name.split(".")[1:]
    for end in (len(parts), len(parts) - 1):
        base = ROOT.joinpath(*parts[:end])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if end and path.is_file():
                return path
    return None


def node_of(path: Path, package: str) -> str:
    """The folder of a module; a module at a package's root is a node of its own."""
    inside = path.relative_to(ROOT / package)
    return str(inside.parent) if len(inside.parts) > 1 else inside.stem


def edges(package: str, *, folders: bool) -> dict[str, set[str]]:
    """Which folders (or modules) of a package import which others of it."""
    graph: dict[str, set[str]] = {}
    for path in modules(package):
        ours = node_of(path, package) if folders else str(path)
        graph.setdefault(ours, set())
        for name in imported(path):
            target = module_file(name) if name.startswith(f"nightrain.{package}.") else None
            if target is None or target == path:
                continue
            theirs = node_of(target, package) if folders else str(target)
            if theirs != ours:
                graph[ours].add(theirs)
    return graph


def require_no_circle(graph: dict[str, set[str]]) -> None:
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


# Imports


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package: str) -> None:
    later = set(PACKAGES[PACKAGES.index(package) + 1 :])
    back = {str(p): found for p in modules(package) if (found := packages_imported(p) & later)}
    assert not back


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_form_no_circle(package: str) -> None:
    require_no_circle(edges(package, folders=False))


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_import_one_way(package: str) -> None:
    """An import inside a function counts: it hides a circle and does not remove it."""
    require_no_circle(edges(package, folders=True))


def test_a_circle_would_be_found() -> None:
    with pytest.raises(pytest.fail.Exception, match="a circle of imports"):
        require_no_circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_only_flows_imports_prefect() -> None:
    assert not [p for n in PACKAGES[:3] for p in modules(n) if "prefect" in libraries_imported(p)]
    assert any("prefect" in libraries_imported(p) for p in modules("flows"))


def test_datasets_stays_light() -> None:
    """Only the training loader knows torch."""
    heavy = {"torch", "diffusers", "transformers", "controlnet_aux"}
    found = {p.parent.name for p in modules("datasets") if libraries_imported(p) & heavy}
    assert found == {"loader"}


def test_no_test_imports_another_test() -> None:
    """Each test file runs alone; what several need is in tests/support."""
    tests = [*(ROOT / "tests").rglob("test_*.py")]
    assert tests
    names = {path.stem for path in tests}
    shared = {str(p): n for p in tests for n in imported(p) if names & set(n.split("."))}
    assert not shared


def test_folders_are_listed_completely() -> None:
    """pathlib's glob and rglob skip what they cannot read; datasets/io/regular.py does not."""
    assert not [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in modules(package)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and node.attr in ("glob", "rglob")
    ]


# Folders and names


def test_folders_hold_at_most_fifteen_files() -> None:
    counts = Counter(path.parent for package in PACKAGES for path in modules(package))
    assert not {str(f): n for f, n in counts.items() if n > MAX_FILES_PER_FOLDER}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_class_name_occurs_twice_in_a_package(package: str) -> None:
    places: dict[str, list[str]] = {}
    for path in modules(package):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert not {name: found for name, found in places.items() if len(found) > 1}


def functions() -> Iterator[tuple[Path, FunctionNode]]:
    for package in PACKAGES:
        for path in modules(package):
            for node in ast.walk(parsed(path)):
                if isinstance(node, FunctionNode):
                    yield path, node


def body_lines(function: FunctionNode) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def test_functions_are_short() -> None:
    lengths = {f"{p.relative_to(ROOT)}:{f.name}": body_lines(f) for p, f in functions()}
    assert not {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES}
    assert median(lengths.values()) <= MAX_MEDIAN_FUNCTION_LINES


def test_every_function_is_annotated() -> None:
    def missing(function: FunctionNode) -> bool:
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
        bare = [a for a in named if a.annotation is None and a.arg not in ("self", "cls")]
        return bool(bare) or (function.returns is None and function.name != "__init__")

    assert not [f"{p.relative_to(ROOT)}:{f.name}" for p, f in functions() if missing(f)]


# Prose

# Words and turns of phrase that only their writers understand, in first lines, help and errors.
UNCLEAR = re.compile(
    r"""\bgoes\ on\b|\bwent\ on\b|\bmakes?\ no\b|(?<!there\ )\bis\ no\ (?!longer|more|less)
    |\bwhat\ is\ (asked|told|made|shown|settled)\b|\bwritten\ are\b
    |\bsomebody\b|\bnobody\b|\beverybody\b|\bthe\ wish\ to\b|\bon\ (its|their)\ way\b
    |\bmend(s|ed)?\b|\bat\ it\b|\bbeside\b|\bbelieved?\b|\bwhole\ way\b|\bthe\ very\b
    |\bcatalog\b|\bclaim(s|ed)?\b|\bsettle[sd]?\b|\bmicrobatch\b|\bspool\b""",
    re.IGNORECASE | re.VERBOSE,
)


def first_lines(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        documented = isinstance(node, ast.Module | ast.ClassDef | FunctionNode)
        if documented and (text := ast.get_docstring(node)):
            yield text.split("\n\n")[0]


def is_message(call: ast.Call) -> bool:
    """Whether a call is an error or the description of an option."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return bool(re.fullmatch(r"Field|Option|Argument|InvalidRequest|[A-Z]\w*Error", str(name)))


def messages(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        raised = node.exc if isinstance(node, ast.Raise) else None
        call = raised if isinstance(raised, ast.Call) else node
        if isinstance(call, ast.Call) and (call is raised or is_message(call)):
            for part in ast.walk(call):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def unclear(texts: Iterable[str]) -> list[str]:
    return sorted({text for text in texts if UNCLEAR.search(" ".join(text.split()))})


@pytest.mark.parametrize("package", PACKAGES)
def test_first_lines_help_and_errors_are_plain(package: str) -> None:
    found = {}
    for path in modules(package):
        if texts := unclear([*first_lines(path), *messages(path)]):
            found[str(path.relative_to(ROOT))] = texts
    assert not found


@pytest.mark.parametrize(
    "text",
    ["recipe.yaml is no recipe.", "Folder; the same one goes on with it", "The wish to stop"],
)
def test_an_unclear_text_would_be_found(text: str) -> None:
    assert unclear([text]) == [text]


@pytest.mark.parametrize("text", ["There is no longer a lease.", "The file is not valid YAML: ..."])
def test_a_plain_text_passes(text: str) -> None:
    assert not unclear([text])


# The repository


def tracked() -> list[Path]:
    names = subprocess.check_output(["git", "-C", str(ROOT), "ls-files", "-z"], text=True)
    return [ROOT / name for name in names.split("\0") if name]


def test_no_registry_host_and_no_unsafe_loading_in_the_repository() -> None:
    hosts = "py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.(org|com)|deb\.deb" + r"ian\.org"
    loaders = r"yaml\.load\(|pickle\.load|torch\.load\("
    pinned = {"efficientnet.py"}  # ImageNet weights of a package, checked against their digest
    for path in tracked():
        if path.is_file() and path.stat().st_size < 5_000_000:
            text = path.read_text(errors="ignore")
            assert not re.search(hosts, text), path
            inside = path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES
            found = re.findall(loaders, text) if inside else []
            if path.name in pinned:
                assert (
                    found == ["torch.load("]
                    and "weights_only=True" in text
                    and "sha256_of(" in text
                )
            else:
                assert not found, path


def test_nothing_is_imported_under_a_folders_bare_name() -> None:
    """`import datasets` is Hugging Face's library; ours is `nightrain.datasets`."""
    for path in tracked():
        if path.suffix == ".py" and path.is_file():
            bare = libraries_imported(path) & set(PACKAGES)
            assert bare <= {"datasets"}, path
            assert not bare or "tests" in path.parts or "examples" in path.parts, path


@pytest.mark.parametrize("name", ["depthmodel", "pipelines", "flows"])
def test_a_folder_is_not_importable_by_its_bare_name(name: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import {name}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "ModuleNotFoundError" in run.stderr


def test_datasets_is_hugging_faces_even_at_the_root_of_a_checkout() -> None:
    code = "import datasets, nightrain.datasets; print(datasets.__file__)"
    found = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip()
    assert Path(found).is_file() and not Path(found).is_relative_to(ROOT / "datasets")


def test_the_root_is_not_on_the_path() -> None:
    assert str(ROOT) not in sys.path and "" not in sys.path


def test_help_is_light() -> None:
    """`nightrain --help` imports nothing slow; its time is measured in benchmarks/."""
    code = "import sys, nightrain.flows.cli; print(*(m.split('.')[0] for m in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    slow = {"prefect", "torch", "diffusers", "pyarrow", "cv2", "numpy", "nuscenes", "matplotlib"}
    assert not slow & set(run.stdout.split())
