#!/usr/bin/env python3
"""Checks the test vectors beside this file against docs/protocol.md.

A second implementation of the parts of the protocol that can be computed: it shares no code with
Junto and was written from the document alone. It needs Python 3.9 and the package `cryptography`
(for Ed25519, X25519 and AES-GCM); everything else is below or in the standard library.

    python3 docs/vectors/check.py            compares, and says how much
    python3 docs/vectors/check.py --fill     writes the intermediate values (th1, keys, ...)

Exit status: 0 if everything is as it should be, 1 if not.
"""

import base64
import datetime
import hashlib
import hmac
import json
import pathlib
import sys
import uuid

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = pathlib.Path(__file__).resolve().parent

# ---- deterministic CBOR (section 2) ---------------------------------------------------------------

MAX_LEVELS = 16


class Refused(Exception):
    """Bytes that a receiver must not accept."""


def head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for more, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            return bytes([major << 5 | more]) + number.to_bytes(size, "big")
    raise ValueError(number)


def encode(value):
    """The one encoding of integers, byte strings, texts, booleans, lists and dicts of those."""
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        raw = value.encode()
        return head(3, len(raw)) + raw
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(item)) for key, item in value.items())
        return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    raise ValueError(value)


def decode(data):
    """Reads exactly these bytes, and refuses every other encoding of the same value."""
    value, rest = item(data, 1)
    if rest:
        raise Refused("bytes behind the end")
    return value


def take(data, count):
    if len(data) < count:
        raise Refused("cut")
    return data[:count], data[count:]


def item(data, level):
    first, data = take(data, 1)
    major, low = first[0] >> 5, first[0] & 31
    if major in (4, 5) and level > MAX_LEVELS:
        raise Refused("too many levels")
    if major == 7:
        if low in (20, 21):
            return low == 21, data
        raise Refused("a float, null, undefined or another simple value")
    if low < 24:
        number = low
    elif low <= 27:
        raw, data = take(data, 1 << (low - 24))
        number = int.from_bytes(raw, "big")
        if head(major, number) != first + raw:
            raise Refused("longer than needed")
    else:
        raise Refused("an indefinite length")
    if major == 0:
        return number, data
    if major == 1:
        return -1 - number, data
    if major == 2:
        return take(data, number)
    if major == 3:
        raw, data = take(data, number)
        try:
            return raw.decode(), data
        except UnicodeDecodeError:
            raise Refused("text that is not UTF-8") from None
    if major == 4:
        values = []
        for _ in range(number):
            value, data = item(data, level + 1)
            values.append(value)
        return values, data
    if major == 5:
        values, before = {}, b""
        for _ in range(number):
            start = data
            key, data = item(data, level + 1)
            if not isinstance(key, str):
                raise Refused("a key that is not text")
            encoded = start[: len(start) - len(data)]
            if encoded <= before:
                raise Refused("keys repeated or not in order")
            before = encoded
            values[key], data = item(data, level + 1)
        return values, data
    raise Refused("a tag")


# ---- hashes, signatures, keys (section 2) ---------------------------------------------------------

PROTOCOL = b"junto/1/"


def H(purpose, *parts):
    text = PROTOCOL + purpose.encode() + b"\0"
    for part in parts:
        text += len(part).to_bytes(8, "big") + part
    return hashlib.sha256(text).digest()


def signed(purpose, digest):
    return PROTOCOL + purpose.encode() + b"\0" + digest


def raw(public):
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


class Key:
    """An Ed25519 key pair."""

    def __init__(self, seed):
        self.secret = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.public = raw(self.secret.public_key())

    def sign(self, purpose, digest):
        return self.secret.sign(signed(purpose, digest))


P = 2**255 - 19
Y8 = int.from_bytes(
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
)
# The y coordinates of the points whose order divides 8.
SMALL_ORDER_Y = {0, 1, P - 1, Y8, P - Y8}


def small_order(point):
    return (int.from_bytes(point, "little") & (2**255 - 1)) % P in SMALL_ORDER_Y


def holds(public, purpose, digest, signature):
    """The strict check: no points of small order; S in range is the library's to check."""
    if len(signature) != 64 or small_order(public) or small_order(signature[:32]):
        return False
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, signed(purpose, digest))
    except (InvalidSignature, ValueError):
        return False
    return True


def HMAC(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def extract(salt, secret):
    return HMAC(salt, secret)


def expand(prk, label, context=b"", length=32):
    info = PROTOCOL + label.encode() + b"\0" + context
    out, block = b"", b""
    while len(out) < length:
        block = HMAC(prk, block + info + bytes([len(out) // 32 + 1]))
        out += block
    return out[:length]


# ---- identity and entry (sections 4 and 6) --------------------------------------------------------


def base58(data):
    letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, low = divmod(number, 58)
        text = letters[low] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


class Identity:
    def __init__(self, entity, next_key, transport):
        self.key, self.next, self.transport = Key(entity), Key(next_key), Key(transport)
        document = b"junto-e1" + self.key.public + H("next key", self.next.public)
        self.inception = document + self.key.sign("inception", H("inception", document))
        self.entity_id = H("entity", document)
        self.peer_id = bytes.fromhex("002408011220") + self.transport.public
        binding = H("peer binding", self.entity_id, self.peer_id)
        self.binding = self.transport.sign("peer binding", binding)

    def entity_text(self):
        return "ent1" + base64.b32encode(self.entity_id).decode().rstrip("=").lower()

    def fingerprint(self):
        digest = H("fingerprint", self.entity_id)[:24]
        groups = [int.from_bytes(digest[at : at + 3], "big") % 10_000 for at in range(0, 24, 3)]
        return " ".join(f"{group:04}" for group in groups)

    def entry(
        self, issued, expires, seq, name, capabilities, addresses, key=None, rotations=None
    ):
        key = key or self.key
        body = encode(
            {
                **({"rotations": rotations} if rotations else {}),
                "entity_id": self.entity_id,
                "inception": self.inception,
                "key": key.public,
                "seq": seq,
                "issued": issued,
                "expires": expires,
                "name": name,
                "capabilities": capabilities,
                "addresses": addresses,
                "peers": [{"peer_id": self.peer_id, "signature": self.binding}],
                "versions": ["1.1"],
            }
        )
        signature = key.sign("registry entry", H("registry entry", body))
        return encode({"body": body, "signature": signature})


def rotations(person, keys):
    """Each rotation as it is carried, and its link; `keys` are those that follow `person.next`."""
    link = H("key chain", person.inception[:72])
    old, new, carried = person.key, person.next, []
    for index, after in enumerate(keys, 1):
        document = b"junto-r1" + person.entity_id + index.to_bytes(4, "big") + link
        document += new.public + H("next key", after.public)
        assert len(document) == 140
        by_old, by_new = (
            key.sign(f"rotation by the {name} key", H(f"rotation by the {name} key", document))
            for key, name in ((old, "old"), (new, "new"))
        )
        link = H("key chain", document)
        carried.append((document[76:] + by_old + by_new, link))
        old, new = new, after
    return carried


def entry_holds(entry, peer_id):
    """The three kinds of signatures of an entry, and that it names this PeerId."""
    entry = decode(entry)
    body = decode(entry["body"])
    document, founder = body["inception"][:72], body["inception"][72:]
    bindings = {peer["peer_id"]: peer["signature"] for peer in body["peers"]}
    return (
        document[:8] == b"junto-e1"
        and H("entity", document) == body["entity_id"]
        and document[8:40] == body["key"]
        and holds(body["key"], "inception", H("inception", document), founder)
        and holds(body["key"], "registry entry", H("registry entry", entry["body"]), entry["signature"])
        and peer_id in bindings
        and all(
            holds(peer[6:], "peer binding", H("peer binding", body["entity_id"], peer), signature)
            for peer, signature in bindings.items()
        )
    )


# ---- envelope and session (sections 3 and 5) ------------------------------------------------------


def header(msg_type, sender, timestamp, nonce, **more):
    fields = {
        "version": "1.1",
        "msg_type": msg_type,
        "sender_id": sender,
        "timestamp": timestamp,
        "nonce": nonce,
        "seal": "session" if "session_id" in more else "none",
    }
    return encode({**fields, **{name: value for name, value in more.items() if value is not None}})


def envelope(header, data, signature=None, tag=None):
    fields = {"header": header, "data": data, "signature": signature, "tag": tag}
    return encode({name: value for name, value in fields.items() if value is not None})


class Direction:
    """One side's traffic keys on the exchange lane."""

    def __init__(self, master, th4, side):
        secret = expand(master, "traffic exchange " + side, th4)
        self.key, self.iv = expand(secret, "key"), expand(secret, "iv", length=12)
        self.th4 = th4

    def nonce(self, sequence_num):
        number = bytes(4) + sequence_num.to_bytes(8, "big")
        return bytes(a ^ b for a, b in zip(self.iv, number))

    def seal(self, signer, head, body):
        sequence_num = decode(head)["sequence_num"]
        signature = signer.sign("sealed message", H("sealed message", head, body, self.th4))
        plain = encode({"body": body, "signature": signature})
        data = AESGCM(self.key).encrypt(self.nonce(sequence_num), plain, head + self.th4)
        return envelope(head, data)

    def open(self, public, message):
        message = decode(message)
        head = message["header"]
        sequence_num = decode(head)["sequence_num"]
        try:
            plain = AESGCM(self.key).decrypt(
                self.nonce(sequence_num), message["data"], head + self.th4
            )
        except InvalidTag:
            raise Refused("it does not open") from None
        plain = decode(plain)
        digest = H("sealed message", head, plain["body"], self.th4)
        if not holds(public, "sealed message", digest, plain["signature"]):
            raise Refused("its signature does not hold")
        return plain["body"]


class Handshake:
    """Both sides of a handshake at once: every message and every secret."""

    def __init__(self, alice, bob, entries, inputs):
        at, session_id = inputs["timestamp"], inputs["session_id"]
        x_i, x_r = (
            x25519.X25519PrivateKey.from_private_bytes(inputs[name])
            for name in ("alice_x25519_secret", "bob_x25519_secret")
        )
        to_alice, to_bob = {"recipient_id": alice.entity_id}, {"recipient_id": bob.entity_id}

        head1 = header("handshake", alice.entity_id, at, inputs["m1_nonce"])
        data1 = encode(
            {
                "versions": ["1.1"],
                "suites": [1],
                "session_id": session_id,
                "to_peer": bob.peer_id,
                "entry": entries["alice"],
                "share": raw(x_i.public_key()),
            }
        )
        signature1 = alice.key.sign("m1", H("message", head1, data1))
        self.m1 = envelope(head1, data1, signature1)
        self.th1 = H("th1", head1, data1, signature1)

        head2 = header("handshake_ack", bob.entity_id, at, inputs["m2_nonce"], **to_alice)
        data2 = encode(
            {
                "version": "1.1",
                "suite": 1,
                "session_id": session_id,
                "entry": entries["bob"],
                "share": raw(x_r.public_key()),
            }
        )
        self.th2 = H("th2", self.th1, head2, data2)
        signature2 = bob.key.sign("m2", self.th2)
        shared = x_r.exchange(x_i.public_key())
        assert shared == x_i.exchange(x_r.public_key()) and any(shared)
        self.prk = extract(self.th2, shared)
        self.conf_r, self.conf_i = expand(self.prk, "conf r"), expand(self.prk, "conf i")
        self.master = expand(self.prk, "master")
        tag2 = HMAC(self.conf_r, self.th2 + signature2)
        self.m2 = envelope(head2, data2, signature2, tag2)

        head3 = header("handshake_confirm", alice.entity_id, at, inputs["m3_nonce"], **to_bob)
        data3 = encode({"session_id": session_id, "answers": inputs["m2_nonce"]})
        self.th3 = H("th3", self.th2, signature2, tag2, head3, data3)
        signature3 = alice.key.sign("m3", self.th3)
        tag3 = HMAC(self.conf_i, self.th3 + signature3)
        self.m3 = envelope(head3, data3, signature3, tag3)
        self.th4 = H("th4", self.th3, signature3, tag3)

        self.i, self.r = (Direction(self.master, self.th4, side) for side in "ir")
        head4 = header(
            "ready",
            bob.entity_id,
            at,
            inputs["ready_nonce"],
            **to_alice,
            session_id=session_id,
            epoch=0,
            sequence_num=0,
            re=0,
        )
        self.ready = self.r.seal(bob.key, head4, encode({}))


# ---- streams and channels (section 8) -------------------------------------------------------------


def u32(number):
    return number.to_bytes(4, "big")


def u64(number):
    return number.to_bytes(8, "big")


class Stream:
    """One stream of a session, opened by one side of its handshake."""

    def __init__(self, session, session_id, kind, opener, number):
        self.session_id, self.number, self.master = session_id, number, session.master
        self.opener, self.acceptor = opener, "r" if opener == "i" else "i"
        self.binding = f"{kind} {opener} ".encode() + u64(number) + session.th4
        self.transcript = H("stream", self.binding)

    def tag(self, side, have):
        return HMAC(expand(self.master, "open " + side, self.binding), u64(have))

    def opening(self, have):
        return encode(
            {
                "session_id": self.session_id,
                "number": self.number,
                "have": have,
                "tag": self.tag(self.opener, have),
            }
        )

    def answer(self, have):
        return encode({"opened": {"have": have, "tag": self.tag(self.acceptor, have)}})

    def keys(self, side, epoch):
        secret = expand(self.master, "stream " + side, self.binding)
        for _ in range(epoch):
            secret = expand(secret, "upd")
        return expand(secret, "key"), expand(secret, "iv", length=12)

    def frame(self, side, epoch, seq, content):
        key, iv = self.keys(side, epoch)
        nonce = bytes(a ^ b for a, b in zip(iv, bytes(4) + u64(seq)))
        head = u32(4 + 8 + len(content) + 16) + u32(epoch) + u64(seq)
        return head + AESGCM(key).encrypt(nonce, content, head + self.transcript)


def root_of(leaves):
    """RFC 6962, section 2.1: split at the largest power of two below the count."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return H("merkle node", root_of(leaves[:half]), root_of(leaves[half:]))


def path_of(leaves, index):
    """The siblings from a leaf up."""
    if len(leaves) == 1:
        return []
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < half:
        return path_of(leaves[:half], index) + [root_of(leaves[half:])]
    return path_of(leaves[half:], index - half) + [root_of(leaves[:half])]


AGAIN = 2


def front(message, flags):
    """Type to re, 35 bytes."""
    fields = bytes([message["type"], message["priority"], flags])
    return fields + message["id"] + message["re"]


class Batch:
    """Messages under one signature."""

    def __init__(self, signer, sender, recipient, session_id, transcript, fields):
        self.fields, self.signer = fields, signer
        self.context = H(
            "channel context", b"1.1", sender, recipient, session_id, transcript
        )
        messages, first = fields["messages"], fields["first"]
        self.fronts = [front(message, message["flags"] & ~AGAIN) for message in messages]
        self.nonces = [H("channel nonce", fields["seed"], u32(n)) for n in range(len(messages))]
        self.leaves = [
            H(
                "channel leaf",
                self.context,
                self.fronts[n],
                u64(first + n) + u64(fields["sent"]),
                self.nonces[n],
                message["body"],
            )
            for n, message in enumerate(messages)
        ]
        self.root = root_of(self.leaves)
        self.digest = H("channel root", self.context, self.root, u32(len(messages)))
        self.signature = signer.sign("channel root", self.digest)

    def content(self):
        fields = self.fields
        content = u64(fields["have"]) + bytes([len(fields["messages"])])
        content += u64(fields["sent"]) + u64(fields["first"]) + fields["seed"] + self.signature
        for message in fields["messages"]:
            content += front(message, message["flags"]) + u32(len(message["body"])) + message["body"]
        return content

    def proof(self, index, sender, recipient, session_id, transcript):
        return encode(
            {
                "version": "1.1",
                "sender_id": sender,
                "recipient_id": recipient,
                "session_id": session_id,
                "transcript": transcript,
                "sequence_num": self.fields["first"] + index,
                "timestamp": self.fields["sent"],
                "nonce": self.nonces[index],
                "front": self.fronts[index],
                "body": self.fields["messages"][index]["body"],
                "index": index,
                "count": len(self.leaves),
                "path": path_of(self.leaves, index),
                "key": self.signer.public,
                "root_signature": self.signature,
            }
        )


# ---- files: the BLAKE3 tree (section 8) -----------------------------------------------------------

BLAKE3_IV = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]
BLAKE3_ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
BLAKE3_MIX = [
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
]
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
WORD = 0xFFFFFFFF


def compress(chain, block, counter, flags):
    words = [int.from_bytes(block[at : at + 4].ljust(4, b"\0"), "little") for at in range(0, 64, 4)]
    v = chain + BLAKE3_IV[:4] + [counter & WORD, counter >> 32, len(block), flags]
    for _ in range(7):
        for n, (a, b, c, d) in enumerate(BLAKE3_MIX):
            v[a] = (v[a] + v[b] + words[2 * n]) & WORD
            x = v[d] ^ v[a]
            v[d] = (x >> 16 | x << 16) & WORD
            v[c] = (v[c] + v[d]) & WORD
            x = v[b] ^ v[c]
            v[b] = (x >> 12 | x << 20) & WORD
            v[a] = (v[a] + v[b] + words[2 * n + 1]) & WORD
            x = v[d] ^ v[a]
            v[d] = (x >> 8 | x << 24) & WORD
            v[c] = (v[c] + v[d]) & WORD
            x = v[b] ^ v[c]
            v[b] = (x >> 7 | x << 25) & WORD
        words = [words[at] for at in BLAKE3_ORDER]
    return [v[n] ^ v[n + 8] for n in range(8)]


def chaining_value(chain):
    return b"".join(word.to_bytes(4, "little") for word in chain)


def leaf(data, counter, root):
    """At most 1,024 bytes."""
    chain, blocks = BLAKE3_IV[:], [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    for n, block in enumerate(blocks):
        flags = CHUNK_START if n == 0 else 0
        if n == len(blocks) - 1:
            flags |= CHUNK_END | root
        chain = compress(chain, block, counter, flags)
    return chaining_value(chain)


def parent(left, right, root):
    return chaining_value(compress(BLAKE3_IV[:], left + right, 0, PARENT | root))


def left_part(size, unit):
    """The largest power of two of units that leaves something to the right."""
    units = -(-size // unit)
    return unit << ((units - 1).bit_length() - 1)


def subtree(data, counter=0, root=0):
    """The chaining value of a subtree that begins at the 1,024-byte leaf `counter`."""
    if len(data) <= 1024:
        return leaf(data, counter, root)
    left = left_part(len(data), 1024)
    return parent(
        subtree(data[:left], counter), subtree(data[left:], counter + left // 1024), root
    )


def file_chunks(data, chunk_bytes):
    return [
        subtree(data[at : at + chunk_bytes], at // 1024) for at in range(0, len(data), chunk_bytes)
    ]


def merged(chunks, size, chunk_bytes, root=ROOT):
    """What the chunks of a file come to, merged as BLAKE3 merges subtrees."""
    if len(chunks) == 1:
        return chunks[0]
    left = left_part(size, chunk_bytes)
    here = left // chunk_bytes
    return parent(
        merged(chunks[:here], left, chunk_bytes, 0),
        merged(chunks[here:], size - left, chunk_bytes, 0),
        root,
    )


# ---- the files ------------------------------------------------------------------------------------


class Check:
    """Compares what is computed with what stands in the files, and counts."""

    def __init__(self, fill):
        self.fill, self.count, self.wrong = fill, 0, []
        self.files = {}

    def file(self, name):
        if name not in self.files:
            self.files[name] = json.loads((HERE / name).read_text())
        return self.files[name]

    def same(self, file, section, name, computed):
        expected = section.get(name)
        computed = computed.hex() if isinstance(computed, bytes) else computed
        if self.fill and expected is None:
            section[name] = computed
        elif computed != expected:
            self.wrong.append(f"{file}: {name} is\n  {expected}\nand should be\n  {computed}")
        self.count += 1

    def true(self, what, holds):
        if not holds:
            self.wrong.append(what)
        self.count += 1

    def refuses(self, what, action):
        try:
            action()
        except Refused:
            self.count += 1
        else:
            self.wrong.append(f"{what} was not refused")

    def save(self):
        for name, content in self.files.items():
            (HERE / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def unhex(section):
    """Every text that is hex as bytes, numbers as they are."""
    return {name: bytes.fromhex(v) if isinstance(v, str) else v for name, v in section.items()}


def plain(value):
    """A value of a vector: JSON, where {"hex": "00ff"} stands for a byte string."""
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def flipped(data, at):
    data = bytearray(data)
    data[at % len(data)] ^= 1 << (at % 8)
    return bytes(data)


def identities(check):
    people = {}
    for name, vector in check.file("identity.json")["identities"].items():
        person = Identity(*(bytes.fromhex(vector["seeds"][s]) for s in ("entity", "next", "transport")))
        people[name] = person
        for field, computed in (
            ("inception", person.inception),
            ("entity_id", person.entity_id),
            ("entity_id_text", person.entity_text()),
            ("peer_id", base58(person.peer_id)),
            ("peer_id_bytes", person.peer_id),
            ("binding", person.binding),
            ("fingerprint", person.fingerprint()),
        ):
            check.same("identity.json", vector, field, computed)
    return people


def rotation(check, people):
    vector = check.file("rotation.json")
    alice = people["alice"]
    keys = [Key(bytes.fromhex(seed)) for seed in vector["seeds"]]
    carried = rotations(alice, keys)
    for made, expected in zip(carried, vector["rotations"]):
        check.same("rotation.json", expected, "rotation", made[0])
        check.same("rotation.json", expected, "link", made[1])
    fields = plain(vector["fields"])
    # The key in use is the last but one: the last is committed to.
    in_use = keys[-2]
    entry = alice.entry(**fields, key=in_use, rotations=[one[0] for one in carried])
    check.same("rotation.json", vector, "entry", entry)


def entries(check, people):
    made = {}
    for name, vector in check.file("entry.json")["entries"].items():
        fields = plain(vector["fields"])
        made[name] = people[name].entry(**fields)
        check.same("entry.json", vector, "entry", made[name])
        check.true(f"{name}'s entry holds", entry_holds(made[name], people[name].peer_id))
        for at in range(0, len(made[name]), 7):
            try:
                good = entry_holds(flipped(made[name], at), people[name].peer_id)
            except (Refused, KeyError, TypeError, ValueError, AttributeError):
                good = False
            check.true(f"{name}'s entry with byte {at} bent does not hold", not good)
    return made


def handshake(check, people, entries):
    vector = check.file("handshake.json")
    done = Handshake(people["alice"], people["bob"], entries, unhex(vector["inputs"]))
    for name in ("m1", "m2", "m3", "ready"):
        check.same("handshake.json", vector["messages"], name, getattr(done, name))
    computed = vector.setdefault("computed", {})
    for name in ("th1", "th2", "th3", "th4", "prk", "conf_r", "conf_i", "master"):
        check.same("handshake.json", computed, name, getattr(done, name))
    for side in "ir":
        direction = getattr(done, side)
        check.same("handshake.json", computed, f"key_{side}", direction.key)
        check.same("handshake.json", computed, f"iv_{side}", direction.iv)
    ready = done.r.open(people["bob"].key.public, bytes.fromhex(vector["messages"]["ready"]))
    check.true("the ready is empty", decode(ready) == {})
    return done


def sealed(check, people, session):
    vector = check.file("sealed.json")
    at = bytes.fromhex(check.file("handshake.json")["inputs"]["session_id"])
    sides = {"alice": (session.i, "bob"), "bob": (session.r, "alice")}
    for message in vector["messages"]:
        direction, to = sides[message["from"]]
        sender = people[message["from"]]
        head = header(
            message["msg_type"],
            sender.entity_id,
            message["timestamp"],
            bytes.fromhex(message["nonce"]),
            recipient_id=people[to].entity_id,
            session_id=at,
            epoch=0,
            sequence_num=message["sequence_num"],
            re=message.get("re"),
        )
        body = bytes.fromhex(message["body"])
        check.same("sealed.json", message, "message", direction.seal(sender.key, head, body))
        came = bytes.fromhex(message["message"])
        check.true("it opens", direction.open(sender.key.public, came) == body)
        check.refuses(
            "a message under another's key", lambda: direction.open(people[to].key.public, came)
        )
        cut = decode(came)
        for bent in range(0, len(cut["data"]), 5):
            broken = envelope(cut["header"], flipped(cut["data"], bent))
            check.refuses("a bent message", lambda: direction.open(sender.key.public, broken))


def errors(check, people):
    vector = check.file("error.json")
    head = header("error", people["bob"].entity_id, vector["timestamp"], bytes.fromhex(vector["nonce"]))
    data = encode({"code": vector["code"]})
    signature = people["bob"].key.sign("error", H("message", head, data))
    check.same("error.json", vector, "message", envelope(head, data, signature))


def streams(check, people, session):
    vector = check.file("stream.json")
    session_id = bytes.fromhex(check.file("handshake.json")["inputs"]["session_id"])
    alice, bob = people["alice"], people["bob"]
    opening = vector["opening"]
    stream = Stream(session, session_id, opening["kind"], "i", opening["number"])
    check.same("stream.json", opening, "opening", stream.opening(opening["have"]))
    check.same("stream.json", opening, "answer", stream.answer(opening["answer_have"]))

    parties = (alice.entity_id, bob.entity_id, session_id, stream.transcript)
    batch = Batch(alice.key, *parties, plain(vector["batch"]["fields"]))
    check.same("stream.json", vector["batch"], "content", batch.content())
    good = holds(alice.key.public, "channel root", batch.digest, batch.signature)
    check.true("the batch is signed", good)
    for record in vector["records"]:
        frame = stream.frame("i", record["epoch"], record["seq"], batch.content())
        check.same("stream.json", record, "frame", frame)
    for proof in vector["proofs"]:
        check.same("stream.json", proof, "proof", batch.proof(proof["index"], *parties))

    computed = vector.setdefault("computed", {})
    check.same("stream.json", computed, "transcript", stream.transcript)
    check.same("stream.json", computed, "root", batch.root)
    for epoch in (0, 1):
        key, iv = stream.keys("i", epoch)
        check.same("stream.json", computed, f"key_i_{epoch}", key)
        check.same("stream.json", computed, f"iv_i_{epoch}", iv)


def transfers(check):
    for vector in check.file("transfer.json")["files"]:
        size, chunk_bytes = vector["size"], vector["chunk_bytes"]
        data = bytes(at % 251 for at in range(size))
        if size <= chunk_bytes:
            chunks, root = [], subtree(data, 0, ROOT)
        else:
            chunks = file_chunks(data, chunk_bytes)
            root = merged(chunks, size, chunk_bytes)
        check.same("transfer.json", vector, "root", root)
        check.same("transfer.json", vector, "chunks", b"".join(chunks))
    blake3 = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    check.true("BLAKE3 of nothing", subtree(b"", 0, ROOT).hex() == blake3)


def cookies(check, people):
    """M1 once more, with the cookie that was asked for."""
    vector = check.file("cookie.json")
    error = decode(bytes.fromhex(vector["error"]))
    body = decode(error["data"])
    digest = H("message", error["header"], error["data"])
    check.true("the error is bob's", holds(people["bob"].key.public, "error", digest, error["signature"]))
    check.true("it says BUSY", body["code"] == "BUSY")
    m1 = decode(bytes.fromhex(check.file("handshake.json")["messages"]["m1"]))
    data = encode({**decode(m1["data"]), "cookie": body["cookie"]})
    signature = people["alice"].key.sign("m1", H("message", m1["header"], data))
    check.same("cookie.json", vector, "m1", envelope(m1["header"], data, signature))


def json_forms(check):
    """Section 11: the envelope of a JSON message, from its fields."""
    for vector in check.file("json.json")["messages"]:
        message = vector["json"]
        fields = {
            name: message[name]
            for name in ("version", "msg_type", "seal", "epoch", "sequence_num", "re")
            if name in message
        }
        for name in ("sender_id", "recipient_id"):
            if name in message:
                text = message[name][4:].upper()
                fields[name] = base64.b32decode(text + "=" * (-len(text) % 8))
        if "session_id" in message:
            fields["session_id"] = uuid.UUID(message["session_id"]).bytes
        date = datetime.datetime.fromisoformat(message["timestamp"].replace("Z", "+00:00"))
        fields["timestamp"] = round(date.timestamp() * 1000)
        fields["nonce"] = bytes.fromhex(message["nonce"])
        sealed = fields["seal"] == "session"
        check.true("encrypted says what seal says", message["payload"]["encrypted"] == sealed)
        parts = {
            name: bytes.fromhex(message[name]) if name in message else None
            for name in ("signature", "tag")
        }
        data = base64.b64decode(message["payload"]["data"], validate=True)
        check.same("json.json", vector, "envelope", envelope(encode(fields), data, **parts))


def bodies(check):
    for vector in check.file("bodies.json")["bodies"]:
        check.same("bodies.json", vector, "cbor", encode(plain(vector["value"])))
        check.true(vector["rule"], decode(bytes.fromhex(vector["cbor"])) == plain(vector["value"]))


def commitments(check):
    """What workers commit to before they tell their results."""
    for vector in check.file("commitment.json")["commitments"]:
        part = lambda name: bytes.fromhex(vector[name])
        computed = H(
            "task commitment",
            part("requester"),
            part("worker"),
            part("parent"),
            vector["round"].to_bytes(4, "big"),
            part("task"),
            vector["token"].to_bytes(8, "big"),
            part("salt"),
            hashlib.sha256(part("result")).digest(),
        )
        check.same("commitment.json", vector, "commitment", computed)


def parts(check):
    """Under which ids inputs and results travel as files."""
    for vector in check.file("part.json")["parts"]:
        sender, receiver = (bytes.fromhex(vector[name]) for name in ("sender", "receiver"))
        digest = bytearray(H("part of a task", sender, receiver, encode(plain(vector["purpose"])))[:16])
        # Version 8, variant 1 (RFC 9562).
        digest[6] = 0x80 | digest[6] & 0x0F
        digest[8] = 0x80 | digest[8] & 0x3F
        check.same("part.json", vector, "transfer_id", bytes(digest))


def stated(outcome):
    """What of an outcome is signed, as a proof has it, and its hash."""
    if outcome == "released":
        return outcome, H("task outcome", b"released")
    ((kind, of),) = outcome.items()
    if kind in ("completed", "revealed"):
        result = of["result"]
        said = {"size": len(result), "hash": hashlib.sha256(result).digest()}
        if kind == "revealed":
            said["salt"] = of["salt"]
        parts = [said[name] for name in ("salt", "size", "hash") if name in said]
    elif kind == "completed_file":
        said, parts = of, [of["file"]["size"], of["file"]["root"]]
    elif kind == "handed_over":
        said = {"suggest": hashlib.sha256(b"".join(of["suggest"])).digest()}
        parts = [said["suggest"]]
    elif kind == "failed":
        said = {
            "reason": hashlib.sha256(of["reason"].encode()).digest(),
            "poison": of.get("poison", False),
        }
        parts = [said["reason"], bytes([said["poison"]])]
    else:
        said, agree = of, of["agree"]
        parts = [of["commitment"], agree["parent"], agree["round"].to_bytes(4, "big")]
    parts = [part.to_bytes(8, "big") if isinstance(part, int) else part for part in parts]
    return {kind: said}, H("task outcome", kind.encode(), *parts)


def results(check):
    """A list of results under one signature, and the proof of each."""
    vector = check.file("results.json")
    part = lambda name: bytes.fromhex(vector[name])
    requester, worker, seed = part("requester"), part("worker"), part("seed")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(part("key_seed"))
    body = decode(part("body"))
    said, leaves = [], []
    for place, item in enumerate(body["items"]):
        salt = H("task outcome salt", seed, place.to_bytes(4, "big"))
        outcome, digest = stated(item["outcome"])
        said.append((item, outcome, salt))
        numbers = [n.to_bytes(8, "big") for n in (item["token"], item.get("spent", 0))]
        leaves.append(
            H("task outcome leaf", requester, worker, item["task_id"], *numbers, digest, salt)
        )
    root, count = root_of(leaves), len(leaves)
    digest = H("task results", root, count.to_bytes(4, "big"))
    signature = key.sign(signed("task results", digest))
    public = raw(key.public_key())
    check.same("results.json", vector, "signature", signature)
    proof = {"key": public, "seed": seed, "signature": signature}
    check.true("a list of results", body["proof"] == proof)
    check.same("results.json", vector, "leaves", [leaf.hex() for leaf in leaves])
    for vector in vector["proofs"]:
        index = vector["index"]
        item, outcome, salt = said[index]
        proof = {
            "requester": requester,
            "worker": worker,
            "task": item["task_id"],
            "token": item["token"],
            "outcome": outcome,
            "salt": salt,
            "index": index,
            "count": count,
            "path": path_of(leaves, index),
            "key": public,
            "signature": signature,
        }
        if "spent" in item:
            proof["spent"] = item["spent"]
        check.same("results.json", vector, "proof", encode(proof))


def cbor(check):
    vector = check.file("cbor.json")
    for case in vector["accepted"]:
        data = bytes.fromhex(case["cbor"])
        check.true(f"{case['cbor']} is accepted", encode(decode(data)) == data)
        check.true(f"{case['cbor']} is the value", decode(data) == plain(case["value"]))
    for case in vector["refused"]:
        check.refuses(f"{case['cbor']} ({case['why']})", lambda: decode(bytes.fromhex(case["cbor"])))


def signatures(check):
    for case in check.file("signature.json")["cases"]:
        verdict = holds(
            bytes.fromhex(case["key"]),
            case["purpose"],
            bytes.fromhex(case["digest"]),
            bytes.fromhex(case["signature"]),
        )
        check.true(f"{case['what']}: {verdict}", verdict == case["holds"])


def main():
    check = Check(fill="--fill" in sys.argv[1:])
    cbor(check)
    signatures(check)
    people = identities(check)
    rotation(check, people)
    session = handshake(check, people, entries(check, people))
    cookies(check, people)
    sealed(check, people, session)
    streams(check, people, session)
    errors(check, people)
    json_forms(check)
    transfers(check)
    commitments(check)
    parts(check)
    results(check)
    bodies(check)
    if check.fill:
        check.save()
    for wrong in check.wrong:
        print(wrong, file=sys.stderr)
    print(f"{check.count} values checked, {len(check.wrong)} wrong")
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
