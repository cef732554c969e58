"""Control Packets as bytes, built fast and without checks, because attackers may send anything. MQTT 5.0 unless said
otherwise."""

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15
NAMES = [
    *["", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP"],
    *["SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"],
]
FOR_EVER = 0xFFFF_FFFF
"""The Session Expiry Interval of a Session that never ends."""
PING = b"\xc0\0"
BYE = b"\xe0\0"


def varint(number):
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | 0x80 if number else low)
        if not number:
            return bytes(out)


def text(value):
    """A string or Binary Data with its length."""
    data = value if isinstance(value, bytes) else value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(kind, body, flags=0):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def properties(*encoded):
    together = b"".join(encoded)
    return varint(len(together)) + together


def user_property(name, value):
    return b"\x26" + text(name) + text(value)


def user_properties(size, each=8000):
    """User Properties of about `size` bytes together; the broker accepts at most 128 in a packet."""
    one = user_property("n", b"v" * (each - 6))
    return one * (size // each)


def connect(client_id, expiry=0, clean=True, will=None, more=b"", version=5, user=None):
    """A CONNECT. `will` are the bytes of `will()`; `more` are encoded Properties. `version` 4 is MQTT 3.1.1, without
    Properties."""
    flags = (0x02 if clean else 0) | (will[0] if will else 0) | (0x80 if user else 0)
    head = b"\0\4MQTT" + bytes([version, flags]) + b"\0\0"
    if version == 5:
        head += properties(b"\x11" + expiry.to_bytes(4, "big") if expiry else b"", more)
    return packet(CONNECT, head + text(client_id) + (will[1] if will else b"") + (text(user) if user else b""))


def will(topic, payload, delay=0, qos=1, retain=False, more=b""):
    """The flags and the bytes of a Will, for `connect`."""
    props = properties(b"\x18" + delay.to_bytes(4, "big") if delay else b"", more)
    return 0x04 | qos << 3 | retain << 5, props + text(topic) + text(payload)


def publish(topic, payload, qos=0, identifier=0, retain=False, props=b"\0", version=5, again=False):
    body = text(topic) + (identifier.to_bytes(2, "big") if qos else b"")
    return packet(PUBLISH, body + (props if version == 5 else b"") + payload, again << 3 | qos << 1 | retain)


def subscribe(filters, qos=1, identifier=1, more=b""):
    """A SUBSCRIBE. `filters` is one filter or a list."""
    filters = [filters] if isinstance(filters, str) else filters
    option = bytes([qos])
    body = identifier.to_bytes(2, "big") + properties(more) + b"".join(text(name) + option for name in filters)
    return packet(SUBSCRIBE, body, 2)


def unsubscribe(filters, identifier=1):
    return packet(UNSUBSCRIBE, identifier.to_bytes(2, "big") + b"\0" + b"".join(map(text, filters)), 2)


def acknowledge(kind, identifier):
    return bytes([kind << 4 | (2 if kind == PUBREL else 0), 2]) + identifier.to_bytes(2, "big")


def cut(data):
    """Removes whole packets from the front of a bytearray. Returns a list of (first byte, body)."""
    found, at, end = [], 0, len(data)
    while end - at >= 2:
        size, shift, place = 0, 0, at + 1
        while place < end:
            byte = data[place]
            size |= (byte & 0x7F) << shift
            place += 1
            shift += 7
            if byte < 0x80:
                break
        else:
            break
        if place + size > end:
            break
        found.append((data[at], bytes(data[place : place + size])))
        at = place + size
    del data[:at]
    return found


def failures(kind, body):
    """The Reason Codes of a packet that mean a failure."""
    if kind == CONNACK:
        codes = body[1:2]
        return [code for code in codes if code]
    if kind == DISCONNECT:
        codes = body[:1]
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        codes = body[2:3]
    elif kind in (SUBACK, UNSUBACK):
        # Properties of 5.0 may stand before the codes, but the broker hardly sends any here. Codes of success and letters are
        # below 0x80.
        codes = body[2:]
    else:
        return []
    return [code for code in codes if code >= 0x80]


def home_of(client_id, shards):
    """The shard of a Session: `Shard::home_of` of the core, which will never change."""
    mask = (1 << 64) - 1
    spread = 0xCBF2_9CE4_8422_2325
    for byte in client_id.encode():
        spread = ((spread ^ byte) * 0x0100_0000_01B3) & mask
    for factor in (0xFF51_AFD7_ED55_8CCD, 0xC4CE_B9FE_1A85_EC53):
        spread = ((spread ^ (spread >> 33)) * factor) & mask
    return ((spread >> 32) * shards) >> 32


def client_on(shard, shards, prefix):
    """A Client Identifier whose Session is at home on `shard`."""
    return next(name for name in (f"{prefix}-{number}" for number in range(10_000)) if home_of(name, shards) == shard)
