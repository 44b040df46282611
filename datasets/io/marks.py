"""Marks of generated pictures: machine-readable provenance in the picture's own file.

A mark is an XMP packet (ISO 16684-1) in an APP1 segment of a JPEG or in an iTXt chunk of a PNG. It
says with IPTC's digital source type that the picture is synthetic or a composite, which recipe made
it, and under which licence it is.
"""

import struct
import zlib
from typing import Literal, NamedTuple, get_args
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from nightrain.datasets.errors import DamagedInput, Reason

# Terms of IPTC's vocabulary, http://cv.iptc.org/newscodes/digitalsourcetype
SourceType = Literal[
    "trainedAlgorithmicMedia",  # drawn by a trained model
    "compositeWithTrainedAlgorithmicMedia",  # a recording, changed by a trained model
    "compositeSynthetic",  # a recording with rendered elements
]
TRAINED: SourceType = "trainedAlgorithmicMedia"
FROM_RECORDING: SourceType = "compositeWithTrainedAlgorithmicMedia"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP = "http://ns.adobe.com/xap/1.0/"
DC = "http://purl.org/dc/elements/1.1/"
JPEG_START, APP1, PNG_START = b"\xff\xd8", b"\xff\xe1", b"\x89PNG\r\n\x1a\n"
JPEG_KEY = b"http://ns.adobe.com/xap/1.0/\0"
PNG_KEY = b"XML:com.adobe.xmp\0\0\0\0\0"  # iTXt: keyword, not compressed, no language
END_OF_HEADER = 8 + 25  # of a PNG: signature and IHDR
MOST_LICENCE = 100  # characters, so that a mark stays below 600 bytes


class Mark(NamedTuple):
    """What a picture's file says of its origin."""

    source_type: SourceType
    tool: str  # "nightrain weather 2c9fa26f"
    licence: str = ""


def marked(data: bytes, mark: Mark) -> bytes:
    """Put a mark into a JPEG or PNG; pixels stay as they are, and so does a mark that is there.

    Raises DamagedInput for other data.
    """
    if read_mark(data) is not None:
        return data
    packet = _packet(mark)
    if data.startswith(JPEG_START):
        body = JPEG_KEY + packet
        at = _end_of_app0(data)
        return data[:at] + APP1 + struct.pack(">H", len(body) + 2) + body + data[at:]
    if data.startswith(PNG_START):
        body = b"iTXt" + PNG_KEY + packet
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:END_OF_HEADER] + chunk + data[END_OF_HEADER:]
    raise DamagedInput(
        Reason.UNDECODABLE_IMAGE, f"{data[:4]!r} starts neither a JPEG nor a PNG; it gets no mark"
    )


def remarked(jpeg: bytes, before: Mark, after: Mark) -> bytes:
    """Replace a mark of a JPEG by another one; a JPEG with any other mark stays as it is."""
    if read_mark(jpeg) != before._replace(licence=before.licence[:MOST_LICENCE]):
        return jpeg
    old, new = (JPEG_KEY + _packet(mark) for mark in (before, after))
    segment = APP1 + struct.pack(">H", len(old) + 2) + old
    return jpeg.replace(segment, APP1 + struct.pack(">H", len(new) + 2) + new, 1)


def read_mark(data: bytes) -> Mark | None:
    """Return the mark of a JPEG or PNG; None if it has none that can be read."""
    packet = _jpeg_packet(data) if data.startswith(JPEG_START) else _png_packet(data)
    if packet is None:
        return None
    try:
        found = ElementTree.fromstring(packet).find(f"{{{RDF}}}Description")
    except ElementTree.ParseError:
        return None
    if found is None:
        return None
    term = found.get(f"{{{IPTC}}}DigitalSourceType", "").removeprefix(VOCABULARY)
    kind = next((one for one in get_args(SourceType) if one == term), None)
    if kind is None:
        return None
    licence = found.findtext(f"{{{DC}}}rights/{{{RDF}}}Alt/{{{RDF}}}li", "")
    return Mark(kind, found.get(f"{{{XMP}}}CreatorTool", ""), licence)


def _packet(mark: Mark) -> bytes:
    kind, tool = quoteattr(VOCABULARY + mark.source_type), quoteattr(mark.tool)
    licence = escape(mark.licence[:MOST_LICENCE])
    rights = (
        f'<dc:rights xmlns:dc="{DC}"><rdf:Alt><rdf:li xml:lang="x-default">{licence}</rdf:li>'
        "</rdf:Alt></dc:rights>"
    )
    return (
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC}" '
        f'xmlns:xmp="{XMP}" Iptc4xmpExt:DigitalSourceType={kind} xmp:CreatorTool={tool}>'
        f"{rights if licence else ''}</rdf:Description></rdf:RDF>"
    ).encode()


def _end_of_app0(data: bytes) -> int:
    """Where a mark belongs: after the JFIF segment, which comes first, if there is one."""
    if data[2:4] != b"\xff\xe0":
        return 2
    return 4 + struct.unpack(">H", data[4:6])[0]


def _jpeg_packet(data: bytes) -> bytes | None:
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, size = data[at : at + 2], struct.unpack(">H", data[at + 2 : at + 4])[0]
        if marker == b"\xff\xda":  # the picture itself
            return None
        body = data[at + 4 : at + 2 + size]
        if marker == APP1 and body.startswith(JPEG_KEY):
            return body[len(JPEG_KEY) :]
        at += 2 + size
    return None


def _png_packet(data: bytes) -> bytes | None:
    at = len(PNG_START)
    while data.startswith(PNG_START) and at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"iTXt" and body.startswith(PNG_KEY):
            return body[len(PNG_KEY) :]
        if kind in (b"IDAT", b"IEND"):
            return None
        at += 12 + size
    return None
