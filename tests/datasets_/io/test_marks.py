"""Marks of generated pictures: they are read back, and the pixels stay as they are."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.io.image_formats import jpeg_header
from nightrain.datasets.io.images import decode_jpeg, encode_jpeg, jpeg_size
from nightrain.datasets.io.marks import Mark, marked, read_mark, remarked
from support.marks import unmarked

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
MARK = Mark("compositeSynthetic", "nightrain weather 2c9fa26f01234567", "CC BY-NC-SA 4.0")


def png() -> bytes:
    return cv2.imencode(".png", PICTURE)[1].tobytes()


@pytest.mark.parametrize("plain", [encode_jpeg(PICTURE), png()], ids=["jpeg", "png"])
@pytest.mark.parametrize(
    "mark",
    [
        MARK,
        Mark("trainedAlgorithmicMedia", "nightrain x"),
        MARK._replace(tool='a "quoted" <tool> & more', licence="<a> & 'b' © ü"),
    ],
)
def test_a_mark_is_read_back_and_changes_no_pixel(plain: bytes, mark: Mark) -> None:
    data = marked(plain, mark)
    assert read_mark(data) == mark and read_mark(plain) is None
    assert 200 < len(data) - len(plain) <= 600
    before, after = (np.asarray(Image.open(io.BytesIO(one))) for one in (plain, data))
    assert np.array_equal(before, after)
    assert np.array_equal(*(cv2.imdecode(np.frombuffer(d, np.uint8), 1) for d in (plain, data)))


def test_other_readers_find_the_mark() -> None:
    for data in (marked(encode_jpeg(PICTURE), MARK), marked(png(), MARK)):
        found = str(Image.open(io.BytesIO(data)).getxmp())
        assert "digitalsourcetype/compositeSynthetic" in found and MARK.licence in found


def test_the_loader_reads_marked_jpegs() -> None:
    plain = encode_jpeg(PICTURE)
    data = marked(plain, MARK)
    assert jpeg_size(data) == (40, 24) and np.array_equal(decode_jpeg(data), decode_jpeg(plain))


def test_a_jpeg_without_a_jfif_segment_gets_its_mark_first() -> None:
    plain = encode_jpeg(PICTURE)
    size = struct.unpack(">H", plain[4:6])[0]
    data = marked(plain[:2] + plain[4 + size :], MARK)
    assert read_mark(data) == MARK and data[2:4] == b"\xff\xe1"


def test_a_long_licence_is_cut() -> None:
    data = marked(encode_jpeg(PICTURE), MARK._replace(licence="x" * 5000))
    found = read_mark(data)
    assert found is not None and found.licence == "x" * 100


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8", b"\xff\xd8\xff\xe1\x00", b"\x89PNG"])
def test_other_data_has_no_mark(data: bytes) -> None:
    assert read_mark(data) is None


def test_a_mark_that_is_there_stays() -> None:
    data = marked(encode_jpeg(PICTURE), MARK)
    assert marked(data, MARK._replace(tool="another")) == data
    assert unmarked(data) == encode_jpeg(PICTURE)


def test_a_mark_is_replaced_by_another_and_a_foreign_one_stays() -> None:
    plain, after = encode_jpeg(PICTURE), Mark("trainedAlgorithmicMedia", "another", "x" * 300)
    data = marked(plain, MARK)
    assert remarked(data, MARK, after) == marked(plain, after)
    assert remarked(marked(plain, after), after, MARK) == data
    assert remarked(data, after, MARK) == data and remarked(plain, MARK, after) == plain


def test_a_damaged_mark_is_none() -> None:
    data = marked(encode_jpeg(PICTURE), MARK)
    assert read_mark(data.replace(b"</rdf:RDF>", b"</rdf:XXX>")) is None
    assert read_mark(data.replace(b"compositeSynthetic", b"compositeSomething")) is None


def test_what_is_no_picture_gets_no_mark() -> None:
    with pytest.raises(DamagedInput, match="neither a JPEG nor a PNG"):
        marked(b"GIF89a", MARK)


def test_marked_pictures_are_read_from_shared_memory_and_not_taken_for_turned_ones() -> None:
    """Shards hand out views of their memory; an orientation in XMP still counts."""
    plain = encode_jpeg(PICTURE)
    view = memoryview(marked(plain, MARK))
    assert np.array_equal(decode_jpeg(view), decode_jpeg(plain))  # type: ignore[arg-type]
    header = jpeg_header(bytes(view))
    assert header is not None and not header.has_exif_or_xmp
    turned = marked(plain, MARK._replace(licence="tiff:Orientation 6"))
    header = jpeg_header(memoryview(turned))  # type: ignore[arg-type]
    assert header is not None and header.has_exif_or_xmp
