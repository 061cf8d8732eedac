"""Bytes of vectors as a short text, for places that hold texts only.

Chroma's metadata have no bytes. Base64 makes four characters of three bytes; base 85 makes five of
four. Before that the bytes are coded by how often each occurs (Huffman's code, by zlib): the values
of a unit vector in int8 lie around 0, so that those of ``small`` take 0.82 of their bytes. Looking
for repeated strings would take longer and find nothing.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

_ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
"""The characters of RFC 1924: none that JSON has to escape."""
_DIGITS = np.frombuffer(_ALPHABET, np.uint8)
_NONE = 255
_VALUES = np.full(256, _NONE, np.uint8)
_VALUES[_DIGITS] = np.arange(85, dtype=np.uint8)
_POWERS = np.array([85**n for n in (4, 3, 2, 1, 0)], np.uint64)
_RAW = -zlib.MAX_WBITS
"""No header and no checksum of zlib's own: records have one."""


def pack_text(data: bytes) -> str:
    """Bytes as a text of ASCII characters.

    Args:
        data: Any bytes.

    Returns:
        At most ``1.25 * len(data) + 16`` characters; see :func:`unpack_text`.
    """
    coder = zlib.compressobj(1, zlib.DEFLATED, _RAW, 9, zlib.Z_HUFFMAN_ONLY)
    return to_base85(coder.compress(data) + coder.flush())


def unpack_text(text: str) -> bytes:
    """The bytes of :func:`pack_text`.

    Raises:
        ValueError: The text is not one that it makes.
    """
    decoder = zlib.decompressobj(_RAW)
    try:
        data = decoder.decompress(from_base85(text))
    except zlib.error as error:
        raise ValueError(f"packed bytes are damaged: {error}") from error
    if not decoder.eof or decoder.unused_data:
        raise ValueError("packed bytes are damaged: they end too early or too late")
    return data


def to_base85(data: bytes) -> str:
    """What ``base64.b85encode`` makes, which is written in Python and takes ten times as long."""
    padding = -len(data) % 4
    words = np.frombuffer(data + bytes(padding), ">u4").astype(np.uint32)
    digits = np.empty((len(words), 5), np.uint8)
    for place in (4, 3, 2, 1, 0):
        words, digits[:, place] = np.divmod(words, np.uint32(85))
    text = _DIGITS[digits].tobytes()
    return text[: len(text) - padding].decode("ascii")


def from_base85(text: str) -> bytes:
    """The bytes of :func:`to_base85`.

    Raises:
        ValueError: The text is not one that it makes.
    """
    try:
        characters = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise ValueError("packed bytes have characters that are not of base 85") from error
    padding = -len(characters) % 5
    digits = _VALUES[np.frombuffer(characters + b"~" * padding, np.uint8)]
    if (digits == _NONE).any() or padding == 4:
        raise ValueError("packed bytes are not in base 85")
    words: NDArray[np.uint64] = digits.reshape(-1, 5) @ _POWERS
    if (words > np.iinfo(np.uint32).max).any():
        raise ValueError("packed bytes are not in base 85")
    data = words.astype(">u4").tobytes()
    return data[: len(data) - padding]
