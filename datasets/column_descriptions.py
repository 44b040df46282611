"""Column descriptions: what every column holds, with units and directions of transforms.

The Parquet schema of a shard, the dataset card, its Croissant metadata and the page on the dataset
on disk all have these words; a test compares the page.
"""

from collections.abc import Mapping

SHARED: Mapping[str, str] = {  # columns of several tables
    "source_id": "the source's own name of the image, such as a nuScenes token",
    "source_dataset": "`nuscenes`, `robotcar`, `kitti`, `world`, or the name of a described folder",
    "split": "`train`, `val`, `test` or `none`",
    "scene_id": "scene or traverse",
    "camera": "camera channel, such as `CAM_FRONT`",
    "condition": "weather and light of the image",
    "timestamp_us": "time of the frame, µs since 1970",
    "image_sha256": "SHA-256 of the image bytes",
    "width": "pixels",
    "height": "pixels",
    "depth_scale": "PNG value per metre: 256",
    "licence": "licence of the source; it holds for what is derived from it, too",
    "attribution": "who is to be named",
    "schema_version": "version of these columns",
    "variant_index": "number among the variants of a frame and condition",
    "batch_size": "fixed size of the batches",
    "builds": "versions of the libraries that the bytes depend on",
    "device": "device that computed the row",
    "created_at": "time of writing, UTC",
    "gen_seconds": "seconds of computation per row",
    "frame_id": "name of the frame: 20 hex digits, the same in every run",
}

OF_TABLE: Mapping[str, Mapping[str, str]] = {  # the others, and those with another meaning
    "frames": {
        "description": "the source's words about the scene",
        "objects": "objects that this camera sees, counted by plain name; null where they "
        "are not annotated",
        "image": "JPEG, byte for byte as the source has it (a grey picture or another "
        "colour profile is converted)",
        "intrinsics": "K, 3 × 3 row by row, pixels of `image`",
        "T_world_camera": "camera → world, 4 × 4 row by row, metres",
        "T_ego_camera": "camera → ego (x ahead, y left, z up, origin on the road), 4 × 4 "
        "row by row, metres; null where unknown",
        "lidar_depth": "16-bit PNG of LiDAR depth at the size of the image; null where "
        "there is none, also of an empty sweep, which `description` then mentions",
        "exact_depth": "16-bit PNG of rendered depth; null for recorded frames",
        "previous_id": "the source's name of the frame before",
        "previous_timestamp_us": "time of the frame before, µs since 1970",
        "previous_image": "JPEG of the frame before",
        "previous_intrinsics": "intrinsics of the frame before, 3 × 3 row by row, pixels",
        "T_previous_camera": "points of the frame's camera → camera of the frame before, 4 "
        "× 4 row by row, metres; null where there is none",
        "next_id": "the source's name of the frame after",
        "next_timestamp_us": "time of the frame after, µs since 1970",
        "next_image": "JPEG of the frame after",
        "next_intrinsics": "intrinsics of the frame after, 3 × 3 row by row, pixels",
        "T_next_camera": "points of the frame's camera → camera of the frame after, 4 × 4 "
        "row by row, metres; null where there is none",
        "stereo_id": "the source's name of the stereo partner",
        "stereo_timestamp_us": "time of the stereo partner, µs since 1970",
        "stereo_image": "JPEG of the stereo partner",
        "stereo_intrinsics": "intrinsics of the stereo partner, 3 × 3 row by row, pixels",
        "T_stereo_camera": "points of the frame's camera → camera of the stereo partner, 4 "
        "× 4 row by row, metres; null where there is none",
    },
    "variants": {
        "sample_id": "name of the variant: 20 hex digits, the same in every run",
        "frame_id": "the clear frame that it was generated from",
        "condition": "condition of the variant",
        "image": "JPEG of the variant, sRGB, with a mark that says that it is synthetic",
        "intrinsics": "K scaled to `width` × `height`, 3 × 3 row by row",
        "severity": "0 to 1; null where the engine has no use for it, as in text to image, "
        "whose phrases are not graded",
        "physical": "what the severity stands for, in the units of the field names; a "
        "value is null where it does not apply",
        "seed": "decides every random choice of this variant",
        "seed_number": "which of the variant's seeds it is: 0 is the first, later ones "
        "were tried because gates rejected those before",
        "recipe": "folder of the variant below `variants/`: engine and hash",
        "recipe_hash": "digest of all settings that decide the variant's bytes",
        "engine": "name of the engine",
        "engine_version": "version of the engine: the same version gives the same bytes",
        "depth_source": "where the dense depth came from",
        "caption": "caption of the clear frame",
        "prompt": "prompt as the text encoder received it",
        "num_steps": "denoising steps that ran; null for an engine without",
        "control_steps": "on how many of these steps each control image acted, in the "
        "recipe's order; null for an engine without controls",
        "controlled": "true: there are control images, and each of them acted; false: the "
        "image may not have the frame's geometry (`allow_no_control`), so do not use "
        "its depth as a label; null for an engine without controls",
        "gates": "gates that accepted it, with their versions: `faults 1, structure 1`; "
        "null where no gate judged it",
        "gate_scores": 'JSON of the scores by gate: `{"alignment": {"agreement": 0.7, ...}}`',
        "rejected_seeds": "JSON of the seeds before: seed, codes and scores of each "
        "variant that gates rejected",
        "confidence": "8-bit grey PNG, value / 255, a quarter of the width and height: how "
        "far a pixel shows what that of the clear frame shows; null where no gate says "
        "so",
        "object_confidence": "things of the clear frame, nearest first: box `left`, `top`, "
        "`width`, `height` in pixels of the variant, median `depth_m`, mean `confidence`; null "
        "where `confidence` is null or the frame has no depth",
        "provenance": "JSON of the engine: models, precision, style image, retries",
    },
    "labels": {
        "depth": "16-bit PNG of predicted depth; null where the frame could not be labelled",
        "confidence": "8-bit grey PNG, confidence = value / 255; 0 where there is no depth",
        "intrinsics": "K scaled to `width` × `height`, 3 × 3 row by row",
        "teacher": "name of the teacher",
        "teacher_sha256": "digest of its weights",
        "confidence_source": "`flip` or `flip+photometric`",
        "depth_share": "share of pixels that have depth",
        "confident_share": "share of pixels with a confidence of at least 0.5",
    },
    "captions": {
        "caption": "one sentence, weather words included",
        "captioner": "name of the captioner",
        "captioner_version": "version of the captioner",
        "weights": "checkpoint and revision; empty without a network",
    },
    "controls": {
        "inverse_depth": "16-bit grey PNG, near is white; null where the frame has no map",
        "farthest": "inverse depth of level 0",
        "nearest": "inverse depth of level 65535",
        "is_metric": "whether inverse depth is in 1/m; else it is known up to a scale and a shift",
        "road_lead": "share of columns with the road nearer than the horizon, minus the opposite",
        "depth_source": "network with its weights, precision and tiles",
    },
    "quarantine": {
        "sample_id": "name of the rejected variant; the frame's own name where a frame was "
        "rejected",
        "reason": "reason code, such as `gate_rejected`",
        "message": "error message",
        "error_type": "class of the error",
        "attempts": "number of attempts; of a variant that gates rejected, of seeds",
        "codes": "why gates rejected it: `faults.black`, `structure.lost`",
        "image": "the rejected picture; null where there is none",
        "confidence": "8-bit grey PNG of a rejected variant, as in variants",
        "variant": "JSON of the rejected variant's row, without its pictures",
    },
}


def describe(table: str, column: str) -> str:
    """Description of a column of a table such as "variants/weather-1a2b3c4d/night"; "" if unknown.

    A plugin's or a later column has none.
    """
    return OF_TABLE.get(table.partition("/")[0], {}).get(column) or SHARED.get(column, "")
