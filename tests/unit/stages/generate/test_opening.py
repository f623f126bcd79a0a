"""Recorded files as they are stored: codecs, archives, damage, and storages that are away; no secret in any message."""

import bz2
import gzip
import io
import lzma
import socket
import struct
import sys
import threading
import tracemalloc
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.errors import EtlError, SettingsError, Unreachable
from etl.mapping.language import read_mapping
from etl.model.measurements import read_measurements
from etl.stages.generate.files import recorded_readings
from etl.stages.generate.opening import endings

HEADER, ONE, OTHER = b"t,m,U\n", b"2026-01-05T08:00:00Z,p,230\n", b"2026-01-06T08:00:00Z,p,231\n"
ROWS = HEADER + ONE + OTHER
SECRETS = ("hunter22", "t0psecret")


@pytest.fixture
def read(tmp_path):
    """Read a file by bytes, or by URL; gives the values, and file and line of each letter."""

    def do(data, name="file.csv", options=""):
        (tmp_path / "mapping.yaml").write_text(f"timestamp: t\nequipment: m\nmeasurements: {{voltage: U}}\n{options}")
        if isinstance(data, bytes):
            (tmp_path / name).write_bytes(data)
        url = str(tmp_path / name) if isinstance(data, bytes) else data
        measurements = read_measurements()
        blocks = list(recorded_readings(url, read_mapping(tmp_path / "mapping.yaml", measurements), measurements))
        values = [value for block in blocks for value in block.readings["voltage"].to_pylist()]
        letters = [row for block in blocks for row in block.dead_letters.to_pylist()]
        return values, [(row["file"].removeprefix(f"{tmp_path}/"), row["line"]) for row in letters]

    return do


def zstd(data):
    return pa.Codec("zstd").compress(data, asbytes=True)


def zipped(*members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def parquet():
    sink = io.BytesIO()
    pq.write_table(pa.table({"t": ["2026-01-05T08:00:00Z"] * 2, "m": ["p"] * 2, "U": [230.0, 231.0]}), sink)
    return sink.getvalue()


SKIPPED = struct.pack("<II", 0x184D2A50, 3) + b"any"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("file.csv.gz", gzip.compress(HEADER + ONE) + gzip.compress(OTHER)),
        ("file.csv.bz2", bz2.compress(HEADER + ONE) + bz2.compress(OTHER)),
        ("file.csv.xz", lzma.compress(HEADER + ONE) + lzma.compress(OTHER)),
        ("file.csv.zst", zstd(HEADER + ONE) + zstd(OTHER)),
        ("file.CSV.ZST", zstd(HEADER + ONE[:9]) + zstd(ONE[9:] + OTHER)),
        ("file.csv.zst", SKIPPED + zstd(HEADER + ONE) + SKIPPED + zstd(OTHER) + SKIPPED),
        ("file.csv.zip", zipped(("a.csv", ROWS))),
        ("file.parquet", parquet()),
        ("file.parquet.zst", zstd(parquet())),
        ("file.parquet.gz", gzip.compress(parquet())),
        ("file.parquet.zip", zipped(("a.parquet", parquet()))),
    ],
)
def test_a_file_is_read_whole_when_it_is_compressed(read, name, data):
    assert read(data, name) == ([230.0, 231.0], [])


def test_every_member_is_read_when_a_zip_has_several(read):
    data = zipped(
        ("folder/", b""),
        ("folder/a.csv", HEADER + ONE + b"bad\n"),
        ("__MACOSX/folder/._a.csv", b"\0\1"),
        (".DS_Store", b"\0"),
        ("b.csv", HEADER + OTHER + b"bad\n"),
        ("c.csv.gz", gzip.compress(ROWS)),
        ("empty.csv", b""),
    )
    assert read(data, "two.csv.zip") == (
        [230.0, 231.0, 230.0, 231.0],
        [("two.csv.zip/folder/a.csv", 3), ("two.csv.zip/b.csv", 3)],
    )


def test_members_have_formats_of_their_own_when_the_zip_tells_none(read):
    line = b'{"t": "2026-01-05T08:00:00Z", "m": "p", "U": 1}'
    data = zipped(("a.csv", ROWS), ("b.jsonl", line), ("c.parquet", parquet()))
    assert read(data, "mixed.zip") == ([230.0, 231.0, 1.0, 230.0, 231.0], [])


def damaged(data, at=0.5):
    place = int(len(data) * at)
    return data[:place] + bytes(byte ^ 0xFF for byte in data[place : place + 8]) + data[place + 8 :]


MANY = HEADER + b"".join(b"2026-01-05T08:%02d:%02dZ,p,%d\n" % (row // 60 % 60, row % 60, row) for row in range(3000))


def encrypted():
    data = bytearray(zipped(("a.csv", ROWS)))
    data[6] |= 1  # the flag of the local header, and that of the directory
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def damaged_parquet(compression):
    sink = io.BytesIO()
    table = pa.table(
        {"t": ["2026-01-05T08:00:00Z"] * 5000, "m": ["p"] * 5000, "U": [float(row) for row in range(5000)]}
    )
    pq.write_table(table, sink, compression=compression, use_dictionary=False, write_page_checksum=True)
    return damaged(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *(
            (f"file.csv.{ending}", change(compress(MANY)))
            for ending, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zst", zstd))
            for change in (lambda data: data[:-9], lambda data: b"no such codec" * 9, damaged)
            if not (ending == "zst" and change is damaged)  # pyarrow writes no checksum, so not all of it is seen
        ),
        ("file.csv.zst", b"\x28\xb5\x2f\xfd" + b"\xff" * 40),
        ("file.csv.zip", zipped(("a.csv", MANY))[:-30]),
        ("file.csv.zip", damaged(zipped(("a.csv", MANY)), 0.4)),
        ("file.csv.zip", b""),
        ("file.csv.zip", b"no zip at all"),
        ("file.csv.zip", encrypted()),
        pytest.param(
            "file.csv.zip",
            zipped(("nameless", MANY)).replace(b"nameless", bytes(8)),
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python reads a member without a name"),
        ),
        ("file.parquet", parquet().replace(b"U", b"\x80")),
        ("file.parquet", parquet()[:-9]),
        ("file.parquet", b""),
        ("file.parquet", damaged_parquet("none")),
        ("file.parquet", damaged_parquet("snappy")),
        ("file.parquet", damaged_parquet("zstd")),
        ("file.parquet", damaged_parquet("gzip")),
    ],
)
def test_damage_is_one_clear_line_that_no_retry_mends(read, tmp_path, name, data):
    with pytest.raises(SettingsError, match=r"is damaged, or not what its ending says|no good Parquet") as caught:
        read(data, name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


ONE_LINE = b"x" * 200_000_000
OPEN_QUOTE = b'2026-01-05T08:00:00Z,"' + (b"x" * 500_000 + b"\n") * 250


@pytest.mark.parametrize(
    ("ending", "compress", "bomb"),
    [
        ("gz", gzip.compress, ONE_LINE),
        ("zst", zstd, ONE_LINE),
        ("zip", lambda data: zipped(("a.csv", data)), ONE_LINE),
        ("gz", gzip.compress, OPEN_QUOTE),
    ],
    ids=["gz", "zst", "zip", "open quote"],
)
def test_a_file_takes_bounded_memory_when_it_is_a_decompression_bomb(tmp_path, ending, compress, bomb):
    data = compress(ROWS + bomb)
    assert len(data) < 600_000
    file = tmp_path / f"file.csv.{ending}"
    file.write_bytes(data)
    (tmp_path / "mapping.yaml").write_text("timestamp: t\nequipment: m\nmeasurements: {voltage: U}\n")
    measurements = read_measurements()
    mapping = read_mapping(tmp_path / "mapping.yaml", measurements)
    readings = letters = 0
    tracemalloc.start()
    try:
        for block in recorded_readings(str(file), mapping, measurements):
            readings, letters = readings + len(block.readings), letters + len(block.dead_letters)
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()
    assert (readings, letters) == (2, 1 if bomb is ONE_LINE else 250)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (zipped(), "holds no file"),
        (zipped(("folder/", b"")), "holds no file"),
        (zipped(("__MACOSX/._a.csv", b"x")), "holds no file"),
        (zipped(("a.csv", ROWS), ("inner.zip", zipped())), "inner.zip is an archive within an archive"),
        (zipped(("a.csv", ROWS), ("readme.txt", b"hello\n")), "readme.txt has no column 't'"),
    ],
)
def test_a_zip_is_one_clear_line_when_it_holds_what_is_no_file_of_readings(read, data, expected):
    with pytest.raises(SettingsError, match=expected):
        read(data, "file.csv.zip")


def test_a_member_without_format_is_one_clear_line_when_the_zip_tells_none(read):
    with pytest.raises(SettingsError, match=r"file.zip/readme.txt: its ending names no format"):
        read(zipped(("readme.txt", b"hello\n")), "file.zip")


def test_a_member_without_format_is_left_out_when_the_zip_has_files_of_readings(read):
    data = zipped(("readme.txt", b"hello\n"), ("a.csv", ROWS), ("license.pdf", b"x"))
    assert read(data, "file.zip") == read(zipped(("a.csv", ROWS)), "file.zip")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/a.csv?x=b.parquet", ["csv"]),
        ("zip://a.csv::https://host/b.zip?sig=x", ["csv"]),
        ("simplecache::s3://bucket/a.jsonl.GZ", ["jsonl", "gz"]),
        ("/data/2026.01.csv", ["01", "csv"]),
    ],
)
def test_endings_are_those_of_the_path_when_a_url_has_more(url, expected):
    assert endings(url) == expected


class Handler(BaseHTTPRequestHandler):
    """Answer by the path: `/200/...` with the file, `/503/...` with that status, `/cut/...` with too little."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        _, how, name = self.path.partition("?")[0].split("/", 2)
        if how == "moved":
            self.send_response(302)
            self.send_header("Location", f"/403/{name}?sig=t0psecret-of-another")
            self.end_headers()
            return
        body = {"200": self.server.files.get(name, b""), "cut": ROWS[:20]}.get(how, b"")
        self.send_response(int(how) if how.isdigit() else 200)
        self.send_header("Content-Length", str(len(body) + (50 if how == "cut" else 0)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(files):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files = files
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"user:hunter22@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_files_are_read_over_http_when_the_server_knows_no_ranges(read):
    large = HEADER + ONE * 300_000  # more than a client asks for at once
    files = {"a.csv": large, "a.csv.zip": zipped(("x.csv", ROWS), ("y.csv", ROWS)), "a.parquet": parquet()}
    with serving(files) as host:
        assert len(read(f"http://{host}/200/a.csv?sig=t0psecret")[0]) == 300_000
        assert read(f"http://{host}/200/a.csv.zip?sig=t0psecret")[0] == [230.0, 231.0] * 2
        assert read(f"http://{host}/200/a.parquet?sig=t0psecret")[0] == [230.0, 231.0]


def test_the_origin_of_a_letter_is_scheme_host_and_path_when_the_url_has_more(read):
    with serving({"a.csv": HEADER + b"bad\n"}) as host:
        _, letters = read(f"http://{host}/200/a.csv?sig=t0psecret")
        assert letters == [(f"http://{host.partition('@')[2]}/200/a.csv", 2)]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        *((status, Unreachable) for status in (408, 425, 429, 500, 502, 503, 504)),
        *((status, SettingsError) for status in (400, 401, 403, 404, 410)),
        ("moved", SettingsError),
        ("cut", Unreachable),
    ],
)
def test_trouble_over_http_is_worth_a_retry_when_it_may_pass(read, how, error):
    with serving({}) as host, pytest.raises(error) as caught:
        read(f"http://{host}/{how}/a.csv?sig=t0psecret")
    assert "127.0.0.1" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://user:hunter22@127.0.0.1:{port}/a.csv?sig=t0psecret", Unreachable),
        ("http://user:hunter22@nowhere.invalid/a.csv?sig=t0psecret", Unreachable),
        ("ftp://user:hunter22@127.0.0.1:{port}/a.csv", Unreachable),
        ("s3://bucket/a.csv?versionId=t0psecret", Unreachable),
        ("s3://key:hunter22@bucket/a.csv", SettingsError),
        ("nosuch://user:hunter22@host/a.csv?sig=t0psecret", SettingsError),
        ("http://user:hun/ter22@127.0.0.1:{port}/a.csv", SettingsError),
        ("http://user:hunter22@[::1/a.csv?sig=t0psecret", SettingsError),
        ("abfs://box:hunter22@account.dfs.core.windows.net/a.csv?sig=t0psecret", SettingsError),
        ("zip://a.csv::http://user:hunter22@127.0.0.1:{port}/a.zip?sig=t0psecret", Unreachable),
        ("http://user:hunter22@127.0.0.1:{port}/a.txt?sig=t0psecret", SettingsError),
        ("memory://user:hunter22@nowhere/a.csv?sig=t0psecret", SettingsError),
    ],
)
def test_a_storage_that_is_away_is_worth_a_retry_and_no_message_holds_a_secret(read, monkeypatch, url, error):
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(EtlError) as caught:
        read(url.format(port=port))
    assert type(caught.value) is error
    text = str(caught.value)
    assert "\n" not in text
    assert not any(secret in text for secret in (*SECRETS, "hun/ter22", "'hun'"))
