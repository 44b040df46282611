"""Notice of an export: what its files are, and the rights that come with them."""

from nightrain.pipelines.export.job import ExportDatasetJob
from nightrain.pipelines.export.selection import ExportSelection, unique

WORDS = {
    "folders": "Pictures are in a folder per condition, named by their sample; depth and labels "
    "are named by the clear frame. `metadata.jsonl` has a row per picture.",
    "webdataset": "Each tar file holds samples: KEY.json has the metadata, KEY.jpg the picture.",
    "kitti": "The tree of KITTI's depth benchmark. A drive is one camera of one scene under one "
    "condition; `metadata.jsonl` says which sample each file is.",
    "md4all": "Translated images under the names of their clear frames, at the size that md4all "
    "trains with: its folder `translated`. `metadata.jsonl` has a row per picture.",
}


def notice(job: ExportDatasetJob, selection: ExportSelection) -> str:
    """Text of the export's README.md."""
    licences, names = unique(selection, "licence"), unique(selection, "attribution")
    attribution = "\n".join(f"- {name}" for name in names) or "- unknown"
    return (
        f"# Export of a nightrain dataset ({job.to})\n\n{WORDS[job.to]}\n\n"
        "Variants have the geometry of their frame. Depth and labels are 16-bit PNG: metres x 256, "
        "0 is none. Confidence is 8-bit PNG: value / 255. Pictures and depth may differ in size; "
        "the metadata have the intrinsics of each, 3 x 3 row by row, in its own pixels, with "
        "pixel centres at integers.\n\n"
        f"Licence: {', '.join(licences) or 'unknown'}. It holds for variants and labels, too, "
        f"which are derived from the frames.\n\n{attribution}\n"
    )
