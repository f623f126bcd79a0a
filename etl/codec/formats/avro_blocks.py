"""Decompress the blocks of Avro object container files in bounded memory."""

import bz2
import lzma
import zlib
from collections.abc import Callable

LARGEST_BYTES = 64 * 1024 * 1024


def decompressed(block: bytes, codec: str) -> bytes:
    """Return the data of a block.

    Raises:
        ValueError: the codec is unknown, the block is damaged, or its data are larger than `LARGEST_BYTES`.
    """
    if codec == "null":
        return block
    decompress = _CODECS.get(codec)
    if decompress is None:
        raise ValueError(f"the codec {codec[:40]!r} of the Avro object container cannot be read")
    try:
        data = decompress(block)
        if len(data) > LARGEST_BYTES:
            raise OverflowError(len(data))
    except OverflowError as error:
        raise ValueError(f"a block of the Avro object container is larger than {LARGEST_BYTES >> 20} MiB") from error
    # Each library has errors of its own.
    except Exception as error:
        raise ValueError(f"the {codec} block of the Avro object container is damaged") from error
    return data


def _deflate(block: bytes) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(block, LARGEST_BYTES + 1)


def _bzip2(block: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(block, LARGEST_BYTES + 1)


def _xz(block: bytes) -> bytes:
    return lzma.LZMADecompressor(memlimit=2 * LARGEST_BYTES).decompress(block, LARGEST_BYTES + 1)


def _zstandard(block: bytes) -> bytes:
    from zstandard import ZstdDecompressor

    with ZstdDecompressor(max_window_size=LARGEST_BYTES).stream_reader(block, read_across_frames=True) as stream:
        return bytes(stream.read(LARGEST_BYTES + 1))


def _snappy(block: bytes) -> bytes:
    """Decompress a block whose last four bytes are a checksum; its first ones are the length of the data."""
    import snappy

    length = shift = 0
    for byte in block[:5]:
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    if length > LARGEST_BYTES:
        raise OverflowError(length)
    data = bytes(snappy.uncompress(block[:-4]))
    if zlib.crc32(data) != int.from_bytes(block[-4:], "big"):
        raise ValueError("another checksum")
    return data


_CODECS: dict[str, Callable[[bytes], bytes]] = {
    "deflate": _deflate,
    "snappy": _snappy,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstandard": _zstandard,
}
