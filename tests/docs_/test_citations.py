"""No document is cited that the repository does not hold, and no code that is not there."""

import re
from pathlib import Path

from support.paths import ROOT

LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


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
