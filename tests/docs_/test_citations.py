"""No document is cited that the repository does not hold, and no code that is not there."""

import re
from collections.abc import Iterator
from pathlib import Path

from support.paths import ROOT

FOLDERS = ("datasets", "depthmodel", "pipelines", "flows", "benchmarks", "examples", "tests")
# Files that commands write, which is what these names mean where they are mentioned.
WRITTEN = {
    "LICENSE.md",
    "README.md",
    "figures.md",
    "table.md",
    "tables.md",
    "usefulness.md",
    "restoration.md",
    "index.md",
}
MENTION = re.compile(r"(?<![\w/.-])((?:[\w.-]+/)*[\w-]+\.(?:md|ipynb))(?![\w])")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")
CODE = re.compile(r"`((?:[\w-]+/)+[\w.-]*\.(?:py|yaml))`")
EQUATION = re.compile(r"(eqs?\.|section) ([\d., andto]+?)(?: \(|, )(docs/papers/\w+\.md)")


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def sources() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return [path for path in found if path != Path(__file__)]


def test_code_cites_documents_that_are_there() -> None:
    missing = {
        (str(path.relative_to(ROOT)), name)
        for path in sources()
        for name in MENTION.findall(path.read_text())
        if Path(name).name not in WRITTEN and not (ROOT / name).is_file()
    }
    assert not missing


def test_equations_that_code_cites_are_there() -> None:
    """As in "eq. 5 (docs/papers/ssd.md)", "eqs. 6 and 7, docs/...", "section 4.6 (docs/...)"."""
    missing = {
        (str(path.relative_to(ROOT)), page, anchor)
        for path in sources()
        for page, anchor in cited_equations(path)
        if f"{{#{anchor}}}" not in (ROOT / page).read_text()
    }
    assert not missing


def cited_equations(path: Path) -> Iterator[tuple[str, str]]:
    for kind, numbers, page in EQUATION.findall(" ".join(path.read_text().split())):
        for number in re.findall(r"\d+(?:\.\d+)*", numbers):
            prefix = "eq" if kind.startswith("eq") else "section"
            yield page, f"{prefix}-{number.replace('.', '-')}"


def test_documents_link_to_files_and_headings_that_are_there() -> None:
    missing = {
        (str(path.relative_to(ROOT)), target, anchor)
        for path in documents()
        for target, anchor in LINK.findall(path.read_text())
        if not target.startswith("http") and not link_leads_somewhere(path.parent / target, anchor)
    }
    assert not missing


def link_leads_somewhere(file: Path, anchor: str) -> bool:
    if not file.exists():
        return False
    if not anchor or file.suffix != ".md":
        return True
    text = file.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", h.lower()).strip().replace(" ", "-") for h in headings}
    return f"{{#{anchor}}}" in text or anchor in slugs


def test_documents_name_code_that_is_there() -> None:
    missing = {
        (str(path.relative_to(ROOT)), name)
        for path in documents()
        for name in CODE.findall(path.read_text())
        if not any(
            (folder / name).is_file() for folder in (ROOT, ROOT / "pipelines/engines/weather")
        )
    }
    assert not missing
