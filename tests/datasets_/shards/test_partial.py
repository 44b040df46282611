"""Partial shards: a damaged head start is made again, whatever is damaged in it."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial as partial_
from pathlib import Path

import pytest

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.shards.frame_plan import read_plans
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.partial import PartialShard
from nightrain.datasets.shards.pinned import pin, pinned
from nightrain.datasets.shards.schema import FRAMES, VARIANTS
from nightrain.datasets.shards.transaction import ShardInterrupted, make_shard
from support.synthetic import variant_row

SHARD = Shard(table="variants/r-1/night", number=3)
ABOUT = {"recipe": "r"}


def partial(root: Path, **changes: object) -> PartialShard:
    given = {"shard": SHARD, "schema": VARIANTS, "about": ABOUT} | changes
    return PartialShard(root, **given)  # type: ignore[arg-type]


def keep(root: Path, num_rows: int, head_start: PartialShard | None = None) -> None:
    with Manifest(root).writer(SHARD.table, VARIANTS, ABOUT) as writer:
        for index in range(num_rows):
            writer.add(variant_row(index, num_bytes=60))
        (head_start or partial(root)).keep(writer)


def kept_file(root: Path) -> Path:
    (path,) = (root / "_partial").iterdir()
    return path


def test_kept_rows_come_back(tmp_path: Path) -> None:
    keep(tmp_path, 3)
    rows = partial(tmp_path).rows()
    assert list(rows) == [variant_row(i)["sample_id"] for i in range(3)]
    assert (
        rows[variant_row(1)["sample_id"]]["image"]["bytes"] == variant_row(1, 60)["image"]["bytes"]
    )
    partial(tmp_path).forget()
    assert not list((tmp_path / "_partial").iterdir()) and partial(tmp_path).rows() == {}


def test_no_flipped_bit_reaches_a_row_or_the_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flip one bit of every byte: header, pages, page headers, indexes, footer, magic."""
    keep(tmp_path, 3)
    path = kept_file(tmp_path)
    data = path.read_bytes()

    def parse(*_: object, **__: object) -> None:
        raise AssertionError("bytes with another digest were parsed")

    monkeypatch.setattr("nightrain.datasets.shards.partial.pq.ParquetFile", parse)
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        assert partial(tmp_path).rows() == {}, position
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        assert partial(tmp_path).rows() == {}, length


@pytest.mark.parametrize(
    "changes",
    [
        {"about": {"recipe": "another"}},
        {"schema": VARIANTS.remove(VARIANTS.get_field_index("seed"))},
        {"schema": FRAMES},
    ],
)
def test_rows_of_another_origin_or_schema_are_made_again(tmp_path: Path, changes: dict) -> None:
    keep(tmp_path, 3)
    assert partial(tmp_path, **changes).rows() == {}


def test_an_intact_digest_of_no_parquet_is_made_again(tmp_path: Path) -> None:
    keep(tmp_path, 3)
    path = kept_file(tmp_path)
    junk = b"PAR1" + b"\x00" * 40
    path.rename(path.with_name(f"{SHARD.name.replace('/', '~')}.{sha256(junk)}.parquet"))
    kept_file(tmp_path).write_bytes(junk)
    assert partial(tmp_path).rows() == {}


def test_a_fifo_or_folder_in_its_place_does_not_hang(tmp_path: Path) -> None:
    keep(tmp_path, 3)
    path = kept_file(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert partial(tmp_path).rows() == {}
    path.unlink()
    path.mkdir()
    assert partial(tmp_path).rows() == {}


def test_a_shorter_second_attempt_keeps_the_longer_first_one(tmp_path: Path) -> None:
    keep(tmp_path, 5)
    second = partial(tmp_path)
    assert len(second.rows()) == 5
    keep(tmp_path, 2, second)
    assert len(partial(tmp_path).rows()) == 5
    keep(tmp_path, 7, second)
    assert len(partial(tmp_path).rows()) == 7 and kept_file(tmp_path)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def earlier_record(kind: str, body: object, indent: int | None = 1) -> bytes:
    """A record as it was written when the digest followed the body."""
    digest = sha256(json.dumps(body, sort_keys=True).encode())
    return json.dumps({kind: body, "sha256": digest}, indent=indent).encode()


BODY = {"name": "x", "numbers": [1, 2.5, None], "text": "ü"}


@pytest.mark.parametrize("layout", [record_bytes, earlier_record])
def test_no_flipped_bit_reaches_a_record(
    tmp_path: Path, layout: Callable[[str, object], bytes]
) -> None:
    """Manifest entries, pinned settings and plans are read by this one function."""
    path, data = tmp_path / "record", layout("thing", BODY)
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                assert read_record(path, "thing", "thing") == BODY
                assert layout is earlier_record
                assert flipped.lower() == data.lower()  # \u00FC is \u00fc
            except CorruptShard as error:
                assert "not a valid thing" in str(error)
    path.write_bytes(data)
    assert read_record(path, "thing", "thing") == BODY


@pytest.mark.parametrize("indent", [None, 1])
def test_earlier_records_are_read(tmp_path: Path, indent: int | None) -> None:
    path, body = tmp_path / "record", {"b": {"z": 1, "a": [2.0]}, "a": "ü"}
    path.write_bytes(earlier_record("thing", body, indent))
    assert read_record(path, "thing", "thing") == body
    other = earlier_record("thing", body, indent).replace(b"2.0", b"2.5")
    path.write_bytes(other)
    with pytest.raises(CorruptShard, match="changed after it was written"):
        read_record(path, "thing", "thing")


def test_an_intact_digest_of_deep_nesting_is_one_sentence(tmp_path: Path) -> None:
    path, text = tmp_path / "record", b"[" * 200_000
    head = f'{{"sha256": "{sha256(text)}", "thing": '.encode()
    path.write_bytes(head + text + b"}")
    with pytest.raises(CorruptShard, match="not a valid thing"):
        read_record(path, "thing", "thing")


@pytest.mark.parametrize(
    "data",
    [b"", b"[" * 200_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff\xfe", b"null", b"[]", b'"x"'],
    ids=["empty", "arrays", "objects", "digits", "binary", "null", "list", "text"],
)
def test_a_record_that_is_none_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "record"
    path.write_bytes(data)
    with pytest.raises(CorruptShard, match="not a valid thing"):
        read_record(path, "thing", "thing")


def test_damaged_plans_and_settings_are_one_sentence(dataset: Path) -> None:
    plan = dataset / "_plan" / "00000.json"
    plan.write_bytes(plan.read_bytes().replace(b"train", b"trail", 1))
    with pytest.raises(CorruptShard, match=r"plan of frames.*restore it"):
        read_plans(dataset)
    plan.write_bytes(record_bytes("plan", {"source": "x"}))
    with pytest.raises(CorruptShard, match="plan of frames"):
        read_plans(dataset)
    pin(dataset, "variants/r-1", {"batch_size": "2"})
    record = dataset / "_manifest" / "variants" / "r-1.pinned"
    record.write_text(json.dumps({"pinned": 3, "sha256": "x"}))
    with pytest.raises(CorruptShard, match="pinned settings"):
        pinned(dataset, "variants/r-1")


def test_a_shard_with_a_damaged_head_start_is_as_if_it_had_none(tmp_path: Path) -> None:
    """The whole way: stopped, damaged, run again; the committed rows are those of a whole run."""

    def produce(kept: dict[str, Row], until: int) -> Iterator[Row]:
        received.append(len(kept))
        for index in range(6):
            if index == until:
                raise ShardInterrupted
            row = variant_row(index, 60)
            yield kept.get(row["sample_id"]) or row

    def make(root: Path, until: int = 99) -> str:
        work = partial_(produce, until=until)
        return make_shard(Manifest(root), SHARD, VARIANTS, ABOUT, work).status

    received: list[int] = []
    assert make(tmp_path / "whole") == "committed"
    expected = committed_sha256(tmp_path / "whole")
    assert make(tmp_path / "stopped", until=4) == "stopped"
    assert make(tmp_path / "stopped") == "committed" and received == [0, 0, 4]
    assert committed_sha256(tmp_path / "stopped") == expected
    for place in (0.1, 0.5, 0.9, 0.99):
        root = tmp_path / str(place)
        assert make(root, until=4) == "stopped"
        path = kept_file(root)
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 8
        path.write_bytes(data)
        assert make(root) == "committed" and received[-1] == 0
        assert committed_sha256(root) == expected and not list((root / "_partial").iterdir())


def committed_sha256(root: Path) -> str:
    entry = Manifest(root).entry(SHARD)
    assert entry is not None
    return entry.rows.sha256
