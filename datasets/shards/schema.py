"""Schema: the columns of every table, readable by any Parquet reader without this package.

Images and depth maps are `struct<bytes, path>`. Hugging Face displays them as images if the schema
metadata declares them and the column is nullable (it compares whole fields). Repeated names are
dictionaries; matrices are row-major fixed-size lists.
"""

import json

import pyarrow as pa

from nightrain.datasets.column_descriptions import describe
from nightrain.datasets.conditions import QUANTITIES

SCHEMA_VERSION = 7  # raise it with every change of a column; see upkeep/migrations.py
TIMING_COLUMNS = ("created_at", "gen_seconds")  # differ when a row is made again; no other does

IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
NAME = pa.dictionary(pa.int32(), pa.string())
MATRIX_3X3 = pa.list_(pa.float64(), 9)
MATRIX_4X4 = pa.list_(pa.float64(), 16)
# A nullable matrix is a plain list: pyarrow cannot read back a null fixed-size list.
MATRIX_OR_NONE = pa.list_(pa.float64())
OBJECTS = pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("count", pa.int16())]))
OBJECT = pa.struct(  # a thing of the clear frame, such as a vehicle: its box and confidence
    [
        *(pa.field(name, pa.int16()) for name in ("left", "top", "width", "height")),  # pixels
        pa.field("depth_m", pa.float32()),
        pa.field("confidence", pa.float32()),
    ]
)
PHYSICAL = pa.struct([pa.field(quantity.name, pa.float32()) for quantity in QUANTITIES])


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_ORIGIN = [  # origin of a row; in every table these follow its key
    pa.field("source_id", pa.string()),
    pa.field("source_dataset", NAME),
    pa.field("split", NAME),
    pa.field("scene_id", NAME),
    pa.field("camera", NAME),
    pa.field("condition", NAME),
    pa.field("timestamp_us", pa.int64()),
]
ORIGIN_COLUMNS = tuple(field.name for field in _ORIGIN)
_RIGHTS = [
    pa.field("licence", NAME),
    pa.field("attribution", NAME),
    pa.field("schema_version", pa.int16()),
]

FRAMES = pa.schema(
    [
        _required("frame_id", pa.string()),
        *_ORIGIN,
        pa.field("description", NAME),
        pa.field("objects", OBJECTS),  # that the camera sees; null where none are annotated
        pa.field("image", IMAGE),
        pa.field("image_sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        _required("intrinsics", MATRIX_3X3),
        _required("T_world_camera", MATRIX_4X4),
        pa.field("T_ego_camera", MATRIX_OR_NONE),
        pa.field("lidar_depth", IMAGE),
        pa.field("exact_depth", IMAGE),
        pa.field("depth_scale", pa.float32()),
        *(
            field
            for side in ("previous", "next", "stereo")
            for field in (
                pa.field(f"{side}_id", pa.string()),
                pa.field(f"{side}_timestamp_us", pa.int64()),
                pa.field(f"{side}_image", IMAGE),
                pa.field(f"{side}_intrinsics", MATRIX_OR_NONE),
                pa.field(f"T_{side}_camera", MATRIX_OR_NONE),
            )
        ),
        *_RIGHTS,
    ]
)

VARIANTS = pa.schema(
    [
        _required("sample_id", pa.string()),
        _required("frame_id", pa.string()),
        *_ORIGIN,
        pa.field("image", IMAGE),
        pa.field("image_sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        _required("intrinsics", MATRIX_3X3),
        pa.field("severity", pa.float32()),
        pa.field("physical", PHYSICAL),
        pa.field("seed", pa.int64()),
        pa.field("seed_number", pa.int16()),  # 0 is the first; gates rejected those before
        pa.field("variant_index", pa.int16()),
        pa.field("recipe", NAME),
        pa.field("recipe_hash", NAME),
        pa.field("engine", NAME),
        pa.field("engine_version", NAME),
        pa.field("depth_source", NAME),
        pa.field("caption", pa.string()),  # the clear frame's caption, unedited
        pa.field("prompt", pa.string()),  # input of the text encoder
        pa.field("num_steps", pa.int16()),  # denoising steps that ran
        pa.field("control_steps", pa.list_(pa.int16())),  # of them, with each control
        pa.field("controlled", pa.bool_()),  # whether every control acted, and there is one
        pa.field("gates", NAME),  # "faults 1, structure 1"; null if no gate judged it
        pa.field("gate_scores", pa.string()),  # JSON: scores by gate
        pa.field("rejected_seeds", pa.string()),  # JSON: seed, codes and scores of those before
        # 8-bit grey PNG, value / 255, of any size: how far a pixel still shows the clear frame's;
        # null if no gate says so
        pa.field("confidence", IMAGE),
        pa.field("object_confidence", pa.list_(OBJECT)),  # null as `confidence`, or without depth
        pa.field("provenance", pa.string()),  # JSON: models, precision, style image, retries
        pa.field("batch_size", pa.int16()),
        pa.field("builds", NAME),
        pa.field("device", NAME),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("gen_seconds", pa.float32()),
        *_RIGHTS,
    ]
)

CAPTIONS = pa.schema(
    [
        _required("frame_id", pa.string()),
        *_ORIGIN,
        _required("caption", pa.string()),  # unedited: weather words included
        pa.field("captioner", NAME),
        pa.field("captioner_version", NAME),
        pa.field("weights", NAME),
        pa.field("builds", NAME),
        pa.field("device", NAME),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("gen_seconds", pa.float32()),
        *_RIGHTS,
    ]
)

LABELS = pa.schema(  # row i belongs to row i of the frames shard of the same number
    [
        _required("frame_id", pa.string()),
        *_ORIGIN,
        pa.field("depth", IMAGE),  # null if the frame could not be labelled
        pa.field("confidence", IMAGE),  # 8-bit grey PNG, value / 255; 0 where there is no depth
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        _required("intrinsics", MATRIX_3X3),  # at width x height
        pa.field("depth_scale", pa.float32()),
        pa.field("teacher", NAME),
        pa.field("teacher_sha256", NAME),
        pa.field("confidence_source", NAME),  # "flip", "flip+photometric"; null without depth
        pa.field("depth_share", pa.float32()),  # share of pixels with depth
        pa.field("confident_share", pa.float32()),  # share of pixels with confidence >= 0.5
        pa.field("batch_size", pa.int16()),
        pa.field("builds", NAME),
        pa.field("device", NAME),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("gen_seconds", pa.float32()),
        *_RIGHTS,
    ]
)

CONTROLS = pa.schema(  # row i belongs to row i of the frames shard of the same number
    [
        _required("frame_id", pa.string()),
        *_ORIGIN,
        # 16-bit grey PNG at the frame's size, linear in inverse depth: near is white
        pa.field("inverse_depth", IMAGE),  # null if the frame has no map
        pa.field("farthest", pa.float64()),  # inverse depth of level 0
        pa.field("nearest", pa.float64()),  # inverse depth of level 65535
        pa.field("is_metric", pa.bool_()),  # whether inverse depth is in 1/m, not up to a scale
        pa.field("road_lead", pa.float32()),  # share of columns with the road nearer, -1 to 1
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("depth_source", NAME),
        pa.field("builds", NAME),
        pa.field("device", NAME),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("gen_seconds", pa.float32()),
        *_RIGHTS,
    ]
)

QUARANTINE = pa.schema(
    [
        _required("sample_id", pa.string()),  # the frame_id if a frame was rejected
        _required("frame_id", pa.string()),
        *_ORIGIN,
        _required("reason", NAME),
        pa.field("message", pa.string()),
        pa.field("error_type", NAME),
        pa.field("attempts", pa.int16()),
        pa.field("variant_index", pa.int16()),
        pa.field("codes", pa.list_(pa.string())),  # why gates rejected it: "faults.black"
        # What gates rejected: the picture, and its row without pictures as JSON
        pa.field("image", IMAGE),
        pa.field("confidence", IMAGE),
        pa.field("variant", pa.string()),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("schema_version", pa.int16()),
    ]
)


def with_metadata(schema: pa.Schema, about: dict[str, str]) -> pa.Schema:
    """Return the schema with metadata for Hugging Face readers and under the key `nightrain`.

    Each column gets its description, of the table that `about` names.
    """
    features = {field.name: _feature(field.type) for field in schema}
    return pa.schema([_described(field, about.get("table", "")) for field in schema]).with_metadata(
        {
            "huggingface": json.dumps({"info": {"features": features}}),
            "nightrain": json.dumps(about, sort_keys=True),
        }
    )


def _described(field: pa.Field, table: str) -> pa.Field:
    words = describe(table, field.name)
    return field.with_metadata({"description": words}) if words else field


def _feature(kind: pa.DataType) -> dict[str, object]:
    """Name of an Arrow type in Hugging Face's feature metadata."""
    if kind.equals(IMAGE):
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind.fields}
    if isinstance(kind, pa.FixedSizeListType):
        return {
            "feature": _feature(kind.value_type),
            "length": kind.list_size,
            "_type": "List",
        }
    if isinstance(kind, pa.ListType):
        return {"feature": _feature(kind.value_type), "length": -1, "_type": "List"}
    if isinstance(kind, pa.DictionaryType):
        return _feature(kind.value_type)
    names = {"double": "float64", "float": "float32"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


def is_payload(field: pa.Field) -> bool:
    """Whether a column holds compressed bytes, which are stored without further compression."""
    return field.type.equals(IMAGE)
