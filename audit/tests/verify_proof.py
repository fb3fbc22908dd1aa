#!/usr/bin/env python3
"""Verifies a proof that `tidegate audit prove` wrote: python3 verify_proof.py PROOF VERIFIER-KEY-FILE

Independent of Tidegate: written from audit/FORMAT.md, RFC 8032, RFC 9162 and c2sp.org's signed-note,
tlog-checkpoint and tlog-proof alone, with Python's standard library. Prints the entry's place and time and
ends with 0, or says what is wrong and ends with 1.
"""

import base64
import hashlib
import re
import struct
import sys

# Ed25519 (RFC 8032, section 5.1), verification only; points are extended coordinates (X, Y, Z, T).
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        return None
    return P - x if x & 1 != sign else x


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = decompress(BASE_Y.to_bytes(32, "little"))


def ed25519_verify(public, message, signature):
    if len(signature) != 64:
        return False
    a, r = decompress(public), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = multiply(s, BASE), add(r, multiply(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


class Wrong(Exception):
    """What is wrong with the proof."""


def require(condition, sentence):
    if not condition:
        raise Wrong(sentence)


def decode(text):
    return base64.b64decode(text, validate=True)


def read_keys(text):
    keys = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, key_id, key = line.split("+", 2)
        key = decode(key)
        require(key[0] == 1 and len(key) == 33, "not an Ed25519 key")
        expected = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
        require(expected.hex() == key_id, "the key's id does not fit")
        keys[name, expected] = key[1:]
    return keys


def read_checkpoint(note, keys):
    """Returns origin, size and root of a note that a known key signed."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    signer = None
    for line in signatures.splitlines():
        require(line.startswith("— "), "a signature line is none")
        name, _, encoded = line[2:].partition(" ")
        data = decode(encoded)
        key = keys.get((name, data[:4]))
        if key is not None:
            require(ed25519_verify(key, text.encode(), data[4:]), "the signature does not fit")
            signer = name
    require(signer is not None, "no known key signed the checkpoint")
    origin, size, root = text.split("\n")[:3]
    require(re.fullmatch(re.escape(signer) + r"/shard-\d{3,}", origin), "the checkpoint is of another log")
    require(str(int(size)) == size, "odd size")
    return origin, int(size), decode(root)


def root_from_path(index, size, leaf, path):
    """RFC 9162, section 2.1.3.2."""
    require(index < size, "the index is beyond the tree")
    number, last, node = index, size - 1, leaf
    for sibling in path:
        require(len(sibling) == 32 and last != 0, "the path is too long")
        if number & 1 or number == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        number, last = number >> 1, last >> 1
    require(last == 0, "the path is too short")
    return node


def verify(proof, keys):
    head, _, note = proof.partition("\n\n")
    lines = head.split("\n")
    require(lines[0] == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    require(lines[1].startswith("extra ") and lines[2].startswith("index "), "not a proof of a Tidegate entry")
    frame, index = decode(lines[1][6:]), int(lines[2][6:])
    origin, size, root = read_checkpoint(note, keys)
    leaf = hashlib.sha256(b"\x00" + frame).digest()
    require(root_from_path(index, size, leaf, [decode(line) for line in lines[3:]]) == root, "the entry is not in the tree")
    length, _crc, kind, sequence, time = struct.unpack_from("<IIBQq", frame)
    require(length == len(frame) - 8 and kind == 1 and sequence == index, "the frame is not that entry's")
    return f"{origin} entry {sequence} of {size}, {time} µs, {len(frame) - 25} bytes"


if __name__ == "__main__":
    try:
        with open(sys.argv[2], encoding="utf-8") as keys, open(sys.argv[1], encoding="utf-8", newline="") as proof:
            print("good:", verify(proof.read(), read_keys(keys.read())))
    except (Wrong, ValueError, IndexError, struct.error) as error:
        print("bad:", error)
        sys.exit(1)
