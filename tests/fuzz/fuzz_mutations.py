"""Mutations: of any bytes, of texts, and of the parts that each picture format is made of."""

import random
import struct
import zlib
from collections.abc import Callable, Sequence

Rng = random.Random
_EDGES = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_GROWN_MOST = 2**20
_BOMB_BYTES = 24 * 2**20


def flip_bits(rng: Rng, data: bytes) -> bytes:
    """A few bits turned."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def set_bytes(rng: Rng, data: bytes) -> bytes:
    """A few bytes replaced; the head of a file more often than its body."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 32))):
        if out:
            out[rng.randrange(min(len(out), rng.choice((64, 512, len(out)))))] = rng.choice(
                (0, 255, rng.randrange(256))
            )
    return bytes(out)


def set_number(rng: Rng, data: bytes) -> bytes:
    """A length, count or size at the edges of what it can be."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        width = rng.choice((1, 2, 4, 8))
        if len(out) < width:
            return bytes(out)
        at = rng.randrange(min(len(out) - width + 1, rng.choice((80, 600, len(out)))))
        value = rng.choice((*_EDGES, len(out), rng.randrange(2**32))) % 256**width
        out[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))
    return bytes(out)


def truncate(rng: Rng, data: bytes) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(len(data) + 1)]


def extend(rng: Rng, data: bytes) -> bytes:
    """Something behind the end, or before the beginning."""
    more = rng.choice((bytes(1000), rng.randbytes(300), b"\xff" * 5000, b"\xff\xd9", data[:50]))
    return data + more if rng.random() < 0.9 else more + data


def cut_out(rng: Rng, data: bytes) -> bytes:
    """A piece is missing."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 4, 100, 2000)) :]


def repeat(rng: Rng, data: bytes) -> bytes:
    """A piece is there many times."""
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 4, 12, 50, 500))
    piece = data[at : at + length]
    times = min(rng.choice((1, 2, 50, 2000, 70000)), max(1, _GROWN_MOST // max(1, len(piece))))
    return data[:at] + piece * times + data[at:]


def splice(rng: Rng, data: bytes, other: bytes) -> bytes:
    """Beginning of one file, end of another: of two formats, a polyglot."""
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def words(rng: Rng, text: bytes) -> bytes:
    """A JSON or TOML text with a value of another kind, or very many of something."""
    values = (
        b"null", b"true", b"-1", b"1e999", b"NaN", b"-Infinity", b"[]", b"{}", b'""', b'"\\u0000"', b"0.0",
        b"[" * 100_000, b'{"a":' * 50_000, b'"\\ud800"', b'"' + b"x" * 100_000 + b'"', b'"\xe2\x80\xae"',
        b"9" * 400,
    )  # fmt: skip
    starts = [at for at, letter in enumerate(text) if letter in b':=,["']
    if not starts:
        return rng.choice(values)
    at = rng.choice(starts) + 1
    end = at + rng.choice((0, 1, 4, 10, 30))
    return text[:at] + rng.choice(values) + text[end:]


_STRANGE = (
    "\u202e\u2066\ufeff\u0000\u001b[31m\n\t\u0301°'\"′″º½٣３−–,;.:()[]NSEWnsew+-/\\~%\U0001f525\ud800\udcff"
)


def letters(rng: Rng, name: str) -> str:
    """A name with letters changed, doubled, missing, or of another world."""
    out = list(name)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            out[at:at] = rng.choice(_STRANGE)
        elif kind == 1 and out:
            del out[min(at, len(out) - 1)]
        elif kind == 2:
            out[at:at] = rng.choice("0123456789")
        elif kind == 3:
            out[at:at] = out[: rng.choice((1, 5, 20))]
        elif kind == 4:
            out[at:at] = rng.choice(
                (" ", ", ", "-", ".", "e5", "nan", "inf", "1e400", "0" * 50, "lat", "W", "(", ")")
            )
        elif out:
            rng.shuffle(out) if rng.random() < 0.1 else out.reverse() if rng.random() < 0.1 else out.append(
                "9"
            )
    return "".join(out)[: rng.choice((255, 255, 5000))].replace("/", "∕")


def jpeg(rng: Rng, data: bytes) -> bytes:
    """Segments dropped, doubled, swapped, given other lengths and sizes, or thousands of scans."""
    parts, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xD9,):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if data[at + 1] == 0xDA:
            following = data.find(b"\xff", end)
            while following != -1 and data[following + 1 : following + 2] in (
                b"\0",
                *(bytes((m,)) for m in range(0xD0, 0xD8)),
            ):
                following = data.find(b"\xff", following + 2)
            end = len(data) if following == -1 else following
        parts.append(data[at:end])
        at = end
    parts.append(data[at:])
    scans = [each for each in parts if each[:2] == b"\xff\xda"]
    kind = rng.randrange(7)
    if kind == 0 and scans:
        parts[-1:-1] = [rng.choice(scans)] * rng.choice((2, 20, 90, 300, 3000))
    elif kind == 1:
        parts[1:1] = [b"\xff\xe1\xff\xfe" + b"Exif\0\0" + rng.randbytes(65528)] * rng.choice((1, 5, 16))
    elif kind == 2:
        parts[1:1] = [b"\xff\xfe\0\x08words!"] * rng.choice((3, 500, 2000))
    elif kind == 3:
        parts = [_sized(rng, each) if each[:2] in (b"\xff\xc0", b"\xff\xc2") else each for each in parts]
    elif kind == 4:
        parts = _shuffled(rng, parts)
    elif kind == 5:
        parts[1:1] = [_exif_segment(rng)]
    else:
        chosen = rng.randrange(len(parts))
        parts[chosen] = set_bytes(rng, parts[chosen])
    return b"".join(parts)


def _sized(rng: Rng, segment: bytes) -> bytes:
    size = struct.pack(
        ">HH", rng.choice((*_EDGES[:12], 9999)) & 0xFFFF, rng.choice((*_EDGES[:12], 9999)) & 0xFFFF
    )
    return segment[:5] + size + segment[9:]


def _shuffled(rng: Rng, parts: Sequence[bytes]) -> list[bytes]:
    out = list(parts)
    for _ in range(rng.choice((1, 2, 5))):
        at, other = rng.randrange(len(out)), rng.randrange(len(out))
        match rng.randrange(3):
            case 0:
                out[at], out[other] = out[other], out[at]
            case 1:
                out.insert(other, out[at])
            case _ if len(out) > 2:
                del out[at]
    return out


def ifd(rng: Rng) -> bytes:
    """A TIFF folder of tags made up: known ones and others, with counts and offsets at the edges."""
    entries = rng.choice((1, 5, 40, 2000, 65535))
    body = b"".join(
        struct.pack(
            "<HHII",
            rng.choice((274, 34853, 34665, 2, 4, 36867, 282, 513, 37500, 330, rng.randrange(65536))),
            rng.randrange(14),
            rng.choice((0, 1, 3, 1000, 10_000, 2**16, 2**28, 2**32 - 1)),
            rng.choice((0, 8, 26, 1000, 2**31, 2**32 - 1)),
        )
        for _ in range(entries)
    )
    loop = rng.choice((b"\0\0\0\0", b"\x08\0\0\0"))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + body + loop + rng.randbytes(200)


def _exif_segment(rng: Rng) -> bytes:
    content = (b"Exif\0\0" + ifd(rng))[:65533]
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rng: Rng, data: bytes) -> bytes:
    """Chunks dropped, doubled, bombs in them, headers of other sizes; checksums right, for the most part."""
    parts, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not parts:
        return set_bytes(rng, data)
    kind = rng.randrange(8)
    if kind == 0:
        bomb = zlib.compress(bytes(rng.choice((10**5, 2 * 10**6, _BOMB_BYTES))))
        parts.insert(
            1,
            rng.choice(
                ((b"zTXt", b"k\0\0" + bomb), (b"iCCP", b"k\0\0" + bomb), (b"iTXt", b"k\0\1\0\0\0" + bomb))
            ),
        )
    elif kind == 1:
        parts[0] = (b"IHDR", _header(rng, parts[0][1]))
    elif kind == 2:
        parts[1:1] = [(b"tEXt", b"k\0words")] * rng.choice((10, 5000, 120_000))
    elif kind == 3:
        bomb = zlib.compress(bytes(rng.choice((10**4, 10**6, _BOMB_BYTES))))
        parts = [(b"IDAT", bomb) if each[0] == b"IDAT" else each for each in parts]
    elif kind == 4:
        parts.insert(1, (b"eXIf", ifd(rng)))
    elif kind == 5:
        parts.insert(rng.randrange(len(parts)), rng.choice(parts))
    elif kind == 6:
        del parts[rng.randrange(len(parts))]
    else:
        chosen = rng.randrange(len(parts))
        parts[chosen] = (parts[chosen][0], set_bytes(rng, parts[chosen][1]))
    return data[:8] + b"".join(png_chunk(*each) for each in parts)


def _header(rng: Rng, header: bytes) -> bytes:
    sizes = (1, 64, 100, 9999, 10_000, 65_535, 2**31 - 1)
    size = struct.pack(">II", rng.choice(sizes), rng.choice(sizes))
    return (size if rng.random() < 0.6 else header[:8]) + bytes(
        rng.choice((header[at], rng.choice((0, 1, 2, 3, 4, 6, 8, 16)))) for at in range(8, len(header))
    )


def riff(rng: Rng, data: bytes) -> bytes:
    """WebP: chunks dropped, doubled, thousands of frames, other canvases, lengths that lie."""
    parts, at = [], 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    if not parts:
        return set_bytes(rng, data)
    kind = rng.randrange(6)
    frames = [each for each in parts if each[0] == b"ANMF"]
    if kind == 0 and frames:
        parts += [rng.choice(frames)] * rng.choice((10, 500, 2000))
    elif kind == 1:
        parts.append((b"EXIF", ifd(rng)))
        parts[0] = (parts[0][0], set_bytes(rng, parts[0][1]))
    elif kind == 2 and parts[0][0] == b"VP8X":
        size = b"".join(rng.choice((1, 63, 8191, 16383, 2**24 - 1)).to_bytes(3, "little") for _ in range(2))
        parts[0] = (b"VP8X", bytes((rng.randrange(256), 0, 0, 0)) + size)
    elif kind == 3:
        chosen = rng.randrange(len(parts))
        parts[chosen] = (parts[chosen][0], set_bytes(rng, parts[chosen][1]))
    elif kind == 4:
        parts.insert(rng.randrange(len(parts)), rng.choice(parts))
    else:
        del parts[rng.randrange(len(parts))]
    body = b"".join(
        kind_ + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for kind_, content in parts
    )
    total = len(body) + 4 if rng.random() < 0.9 else rng.choice(_EDGES)
    return b"RIFF" + struct.pack("<I", total) + b"WEBP" + body


def tiff(rng: Rng, data: bytes) -> bytes:
    """Tags with other numbers, kinds, counts and places; folders that lead to themselves; other codecs."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    head, entry = (8, 20) if big else (2, 12)
    if at + head > len(data):
        return set_number(rng, data)
    count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        begin = at + head + entry * rng.randrange(max(1, min(count, 60)))
        if begin + entry > len(out):
            break
        match rng.randrange(6):
            case 0:
                tag = rng.choice(
                    (
                        256,
                        257,
                        258,
                        259,
                        262,
                        273,
                        277,
                        278,
                        279,
                        317,
                        322,
                        323,
                        324,
                        325,
                        330,
                        338,
                        347,
                        34665,
                    )
                )
                struct.pack_into(order + "H", out, begin, tag)
            case 1:
                struct.pack_into(order + "H", out, begin + 2, rng.randrange(20))
            case 2:
                struct.pack_into(order + "I", out, begin + 4, rng.choice(_EDGES))
            case 3:
                struct.pack_into(order + "I", out, begin + entry - 4, rng.choice((*_EDGES, at, len(out))))
            case 4:
                codec = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34676, 34887, 34925, 50000, 50001))
                struct.pack_into(order + "H", out, begin + entry - 4, codec)
            case _:
                after = at + head + entry * min(count, 60)
                if after + 4 <= len(out):
                    struct.pack_into(order + "I", out, after, at)
    return bytes(out)


def bmp(rng: Rng, data: bytes) -> bytes:
    """A header's fields at their edges: sizes, depths, compressions, colours, offsets."""
    out = bytearray(data)
    begin = 14 if data[:2] == b"BM" else 0
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.choice((0, 4, 8, 12, 14, 16, 20, 32, 36, 40, 44)) + begin - (4 if rng.random() < 0.1 else 0)
        value = rng.choice((*_EDGES[:9], 4, 16, 24, 32, 40, 9999, 10_000, 2**31 - 1, 2**31, 2**32 - 64))
        if 0 <= at <= len(out) - 4:
            struct.pack_into("<I", out, at, value)
    return bytes(out)


GENERAL: tuple[Callable[[Rng, bytes], bytes], ...] = (
    flip_bits, set_bytes, set_number, truncate, extend, cut_out, repeat,
)  # fmt: skip
OF_FORMAT: dict[str, Callable[[Rng, bytes], bytes]] = {
    "jpeg": jpeg, "png": png, "webp": riff, "tiff": tiff, "bmp": bmp,
}  # fmt: skip
