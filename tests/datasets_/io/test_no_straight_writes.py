"""Files of users are written whole: the packages write to no final path themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

from support.paths import ROOT

WRITES = {"write_text", "write_bytes", "imwrite", "write_table", "savez", "tofile", "to_csv"}
# Where the path is a draft that gets its name once it is synced, or a file in DATASET/_tmp.
DRAFTS = {
    "datasets/io/atomic.py",
    "datasets/io/file_batch.py",
    "datasets/shards/leases.py",
    "datasets/shards/parquet.py",
    "depthmodel/evaluation/results.py",
    "depthmodel/network/model_folder.py",
    "depthmodel/training/checkpoint.py",
    "flows/cli/failure.py",
    "pipelines/ingest/worker_source.py",
    "flows/cli/group.py",  # help pages, not files
    # Inside a world, which gets its name as a whole.
    "datasets/sources/robotcar/writer.py",
    "datasets/world/export/folder.py",
    "datasets/world/export/robotcar_drive.py",
    "datasets/world/export/world_folder.py",
}
APPENDS = {"depthmodel/training/metrics_log.py"}  # a line at a time; readers skip a torn one


def writes(path: Path) -> Iterator[str]:
    """Calls that create or change a file, with their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        is_method = isinstance(node.func, ast.Attribute)
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        modes = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
        opens = name == "open" and any(set("wax+") & set(str(mode)) for mode in modes)
        if (is_method and name in WRITES) or opens:
            yield f"{path.relative_to(ROOT)}:{node.lineno} {name}"


def test_no_module_writes_to_a_final_path() -> None:
    found = [
        line
        for package in ("datasets", "depthmodel", "pipelines", "flows")
        for path in sorted((ROOT / package).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in DRAFTS | APPENDS
        for line in writes(path)
    ]
    assert found == [], "use write_whole, replace_file or whole_folder"
