"""MkDocs hook: one reference page per folder of the package, from the docstrings in it."""

import tempfile
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PACKAGES = ("datasets", "depthmodel", "pipelines", "flows")
INTRODUCTION = """# Reference

Generated from the docstrings, one page per folder of a package. Imports go one way: from `flows`
through `pipelines` and `depthmodel` to `datasets`.

"""


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the reference to the navigation, and say where its sources are."""
    python = config.plugins["mkdocstrings"].config["handlers"]["python"]
    python["paths"] = [str(_sources())]
    assert config.nav is not None
    tree: list[Any] = ["reference/index.md"]
    for package in PACKAGES:
        pages = [{_title(name): _page(name)} for name in _folders(package)]
        tree.append({package: pages})
    config.nav.append({"Reference": tree})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    index = INTRODUCTION
    for package in PACKAGES:
        index += f"\n## {package}\n\n"
        for name in _folders(package):
            summary = _summary(ROOT / name.replace(".", "/") / "__init__.py")
            index += f"- [{name}]({Path(_page(name)).name}){': ' + summary if summary else ''}\n"
            files.append(File.generated(config, _page(name), content=_content(name)))
    files.append(File.generated(config, "reference/index.md", content=index))
    return files


def _sources() -> Path:
    """A copy of src/ in links, in which every package has an __init__.py.

    `datasets/` has none at the root of the repository, so that Hugging Face's library of that name
    is found from there; mkdocstrings skips folders without one.
    """
    package = Path(tempfile.mkdtemp()) / "nightrain"
    package.mkdir()
    (package / "__init__.py").symlink_to(ROOT / "src/nightrain/__init__.py")
    for name in PACKAGES:
        (package / name).mkdir()
        for path in (ROOT / name).iterdir():
            (package / name / path.name).symlink_to(path)
        if not (package / name / "__init__.py").exists():
            (package / name / "__init__.py").touch()
    return package.parent


def _folders(package: str) -> list[str]:
    """Dotted names of a package and the folders in it that hold modules, without `nightrain`."""
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    return sorted(str(folder.relative_to(ROOT)).replace("/", ".") for folder in folders)


def _content(name: str) -> str:
    folder = ROOT / name.replace(".", "/")
    modules = sorted(path.stem for path in folder.glob("*.py") if path.stem[:2] != "__")
    head = _summary(folder / "__init__.py")
    lines = [f"# nightrain.{name}", "", head, ""]
    options = "    options: {heading_level: 2}\n"
    lines += [f"::: nightrain.{name}.{module}\n{options}" for module in modules]
    return "\n".join(lines)


def _summary(path: Path) -> str:
    """First line of a module's docstring, or nothing."""
    text = path.read_text() if path.exists() else ""
    return text.split('"""')[1].strip().splitlines()[0] if text.startswith('"""') else ""


def _page(name: str) -> str:
    return f"reference/{name}.md"


def _title(name: str) -> str:
    _, _, rest = name.partition(".")
    return rest or "root"
