"""What files are recognised as, whatever they are called, and what they are called then."""

import io
import struct
import time
import zipfile

import pytest

from shim.files.kinds import Declared, recognise, safe_name, type_of

OFFICE = "application/vnd.openxmlformats-officedocument."
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffc0000b080002000301011100ffd9")
GIF = b"GIF89a\x03\x00\x02\x00\x00\x00\x00;"
WEBP = b"RIFF\x1e\x00\x00\x00WEBPVP8L\x11\x00\x00\x00\x2f\x02\x40\x00\x00" + bytes(14)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\nendobj\nstartxref\n0\n%%EOF"
OLE = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, "x" * 100)
    return buffer.getvalue()


DOCX = zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml")
XLSX = zipped("[Content_Types].xml", "xl/workbook.xml")
PPTX = zipped("[Content_Types].xml", "ppt/presentation.xml")


@pytest.mark.parametrize(
    ("content", "name", "mime_type", "expected"),
    [
        (JPEG, "x.png", "image/png", "image/jpeg"),
        (GIF, None, "text/html", "image/gif"),
        (WEBP, None, None, "image/webp"),
        (PDF, "x.png", "image/png", "application/pdf"),
        (b"%PDF-1.4\nall of it is text", "x.txt", "text/plain", "application/pdf"),
        (DOCX, "x.docx", None, f"{OFFICE}wordprocessingml.document"),
        (DOCX, None, "application/zip", f"{OFFICE}wordprocessingml.document"),
        (XLSX, "x.zip", None, f"{OFFICE}spreadsheetml.sheet"),
        (PPTX, None, None, f"{OFFICE}presentationml.presentation"),
        (zipped("a.txt"), "x.docx", f"{OFFICE}wordprocessingml.document", "application/zip"),
        (zipped("a.txt"), None, None, "application/zip"),
        (OLE, "x.doc", None, "application/msword"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(20), None, None, "audio/wav"),
        (bytes(range(256)), "x.png", "image/png", "application/octet-stream"),
        (bytes(range(256)), "x.html", "text/html", "application/octet-stream"),
        (bytes(range(256)), "x.bin", "application/x-own", "application/x-own"),
        (b"BM is how this text begins", None, None, "text/plain"),
        (b"hello", "x.png", "image/png", "text/plain"),
        (b"hello", None, "application/pdf", "text/plain"),
        (b"# hello", "readme.MD", None, "text/markdown"),
        (b"# hello", "readme.md", "text/plain", "text/markdown"),
        (b"print()", "x.py", "application/octet-stream", "text/x-script.python"),
        (b"print()", None, "text/x-python", "text/x-script.python"),
        (b"a,b", "x.csv", None, "text/csv"),
        (b"a,b", "x.txt", "text/csv; charset=utf-8", "text/csv"),
        (b"{}", "x.json", None, "application/json"),
        (b"let x", "x.ts", None, "text/x-typescript"),
        (b"<svg/>", "x.svg", None, "image/svg+xml"),
        ("grüße".encode(), "x", None, "text/plain"),
        (b"x", None, "not a type\r\n", "text/plain"),
    ],
)
def test_bytes_decide_and_names_help(content, name, mime_type, expected):
    assert type_of(content, Declared(name, mime_type)) == expected


def test_a_picture_has_a_size(png):
    file = recognise(png(640, 480), Declared("a/b.jpg", "image/jpeg"))
    assert (file.mime_type, file.width, file.height, file.name) == ("image/png", 640, 480, "b.png")
    assert [(f.width, f.height) for f in (recognise(one, Declared()) for one in (JPEG, GIF, WEBP))] == [(3, 2)] * 3


def test_the_digest_is_of_the_content():
    assert recognise(b"hello", Declared()).digest.startswith("2cf24dba5fb0a30e26e83b2ac5b9e29e")


@pytest.mark.parametrize(
    "content", [JPEG[:12], GIF[:8], WEBP[:18], b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(40)]
)
def test_a_picture_without_a_size_is_none(content):
    assert recognise(content, Declared()) is None


def test_a_picture_of_no_size_is_none(png):
    broken = bytearray(png())
    broken[16:24] = struct.pack(">II", 0, 5)
    assert recognise(bytes(broken), Declared()) is None


@pytest.mark.parametrize(
    "content", [b"\xff\xd8" + b"\xff\xe0\x00\x02" * 2_000_000, b"\xff\xd8\xff\xe0" + bytes(8_000_000)]
)
def test_a_picture_made_to_be_slow_is_not(content):
    began = time.thread_time()
    assert recognise(content, Declared()) is None
    assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    ("name", "mime_type", "expected"),
    [
        (None, "image/png", "file.png"),
        ("", "text/plain", "file.txt"),
        ("a.png", "image/png", "a.png"),
        ("a.PNG", "image/png", "a.PNG"),
        ("a.jpeg", "image/jpeg", "a.jpeg"),
        ("a.jpg", "image/png", "a.png"),
        ("a.png", "text/plain", "a.txt"),
        ("a.log", "text/plain", "a.log"),
        ("report.v2", "application/pdf", "report.v2.pdf"),
        ("../../etc/passwd", "text/plain", "passwd.txt"),
        ("C:\\temp\\x.pdf", "application/pdf", "x.pdf"),
        ("..", "application/pdf", "file.pdf"),
        (".pdf", "application/pdf", "pdf.pdf"),
        ("a\r\nb\0.pdf", "application/pdf", "ab.pdf"),
        ("exe\u202efdp.pdf", "application/pdf", "exefdp.pdf"),
        ('a<b>:"|?*.pdf', "application/pdf", "a_b______.pdf"),
        ("grüße.pdf", "application/pdf", "grüße.pdf"),
        ("x" * 300 + ".pdf", "application/pdf", "x" * 116 + ".pdf"),
        ("x." + "y" * 300, "application/octet-stream", None),
        ("data.bin", "application/octet-stream", "data.bin"),
        ("x.md", "text/x-script.python", "x.py"),
    ],
)
def test_names_are_safe_and_fit(name, mime_type, expected):
    safe = safe_name(name, mime_type)
    assert expected is None or safe == expected
    assert 0 < len(safe) <= 120
    assert not set(safe) & set('/\\<>:"|?*\r\n\0')
