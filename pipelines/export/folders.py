"""Layout `folders`: one folder per condition, depth and labels once per frame.

    clear/<frame id>.jpg           night/<sample id>.jpg          recorded/night/<frame id>.jpg
    depth/<frame id>.png           label/<frame id>.png           label_confidence/<frame id>.png
    confidence/<sample id>.png     metadata.jsonl

With every split, each has such a tree in a folder of its own.
"""

from nightrain.datasets.conditions import Condition
from nightrain.datasets.splits import ALL_SPLITS
from nightrain.pipelines.export.layout import Names, TreeLayout
from nightrain.pipelines.export.selection import ExportRow, ExportSelection


class FoldersLayout(TreeLayout):
    """Pictures by condition, and depth by frame."""

    def __init__(self, selection: ExportSelection) -> None:
        self._by_split = selection.split == ALL_SPLITS

    def names(self, row: ExportRow) -> Names:
        """Name of the file of each payload."""
        top = f"{row.facts['split']}/" if self._by_split else ""
        condition, frame = Condition(row.facts["condition"]), row.facts["frame_id"]
        is_adverse = not row.is_generated and condition is not Condition.CLEAR
        folder = f"recorded/{condition}" if is_adverse else str(condition)
        return {
            "image": f"{top}{folder}/{row.key}.jpg",
            "depth": f"{top}depth/{frame}.png",
            "label": f"{top}label/{frame}.png",
            "label_confidence": f"{top}label_confidence/{frame}.png",
            "confidence": f"{top}confidence/{row.key}.png",
        }
