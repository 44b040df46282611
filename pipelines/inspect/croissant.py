"""Croissant metadata of a dataset: its files, columns and rights, in the JSON-LD of MLCommons.

    DATASET/croissant.json     a record set per configuration of the dataset card

Croissant 1.0, https://docs.mlcommons.org/croissant/docs/croissant-spec.html; `mlcroissant` reads
rows by it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from nightrain.datasets.column_descriptions import describe
from nightrain.datasets.conditions import QUANTITIES
from nightrain.datasets.shards import schema
from nightrain.datasets.shards.parquet import Row

SCHEMAS: Mapping[str, pa.Schema] = {
    "frames": schema.FRAMES,
    "variants": schema.VARIANTS,
    "labels": schema.LABELS,
    "captions": schema.CAPTIONS,
    "controls": schema.CONTROLS,
}
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
UNITS = {quantity.name: f"{quantity.meaning}, {quantity.unit}" for quantity in QUANTITIES}


def croissant_json(
    name: str,
    description: str,
    licences: Sequence[str],
    configs: Mapping[str, Sequence[str]],
    *,
    date: str,
    cite_as: str,
) -> str:
    """Text of a dataset's croissant.json.

    `configs` has the tables of each configuration of the card, `date` the day of its last commit,
    and `licences` are addresses. A configuration without a known table has no record set.
    """
    known = {config: tables for config, tables in configs.items() if _schema(tables) is not None}
    return json.dumps(
        {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "name": name,
            "description": description,
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "license": list(licences),
            "version": f"{schema.SCHEMA_VERSION}.0.0",
            "datePublished": date,
            "citeAs": cite_as,
            "distribution": [_files(config, tables) for config, tables in known.items()],
            "recordSet": [_records(config, tables) for config, tables in known.items()],
        },
        indent=1,
        ensure_ascii=False,
    )


def _schema(tables: Sequence[str]) -> pa.Schema | None:
    return SCHEMAS.get(tables[0].partition("/")[0]) if tables else None


def _files(config: str, tables: Sequence[str]) -> Row:
    return {
        "@type": "cr:FileSet",
        "@id": f"files-{config}",
        "name": f"files-{config}",
        "description": f"Parquet shards of {', '.join(tables)}",
        "encodingFormat": "application/x-parquet",
        "includes": [f"{table}/*.parquet" for table in tables],
    }


def _records(config: str, tables: Sequence[str]) -> Row:
    columns = _schema(tables)
    assert columns is not None
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "description": f"Rows of {', '.join(tables)}",
        "key": {"@id": f"{config}/{columns.names[0]}"},
        "field": [field for column in columns for field in _fields(config, tables[0], column)],
    }


def _fields(config: str, table: str, column: pa.Field) -> Iterator[Row]:
    """Yield the fields of a column: one, or one per member of a struct.

    A list of structs is one field with a subfield per member.
    """
    words = describe(table, column.name)
    if column.type.equals(schema.IMAGE):
        yield _field(config, column.name, words, "sc:ImageObject", column.name, "bytes")
    elif pa.types.is_struct(column.type):
        for member in column.type.fields:
            name, unit = f"{column.name}.{member.name}", UNITS.get(member.name, words)
            yield _field(config, name, unit, _type(member.type), column.name, member.name)
    elif pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type):
        name = f"{config}/{column.name}"
        yield {
            "@type": "cr:Field",
            "@id": name,
            "name": name,
            "description": words,
            "repeated": True,
            "subField": [
                _field(
                    config,
                    f"{column.name}/{member.name}",
                    f"{member.name} of {column.name}",
                    _type(member.type),
                    column.name,
                    member.name,
                )
                for member in column.type.value_type.fields
            ],
        }
    elif pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        kind = _type(column.type.value_type)
        yield _field(config, column.name, words, kind, column.name) | {"repeated": True}
    else:
        yield _field(config, column.name, words, _type(column.type), column.name)


def _field(
    config: str, name: str, words: str, kind: str, column: str, member: str | None = None
) -> Row:
    source: Row = {"fileSet": {"@id": f"files-{config}"}, "extract": {"column": column}}
    if member is not None:
        source["transform"] = {"jsonPath": member}
    return {
        "@type": "cr:Field",
        "@id": f"{config}/{name}",
        "name": f"{config}/{name}",
        "description": words,
        "dataType": kind,
        "source": source,
    }


def _type(kind: pa.DataType) -> str:
    if isinstance(kind, pa.DictionaryType):
        return _type(kind.value_type)
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:DateTime" if pa.types.is_timestamp(kind) else "sc:Text"
