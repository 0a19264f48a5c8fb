"""What keeper and core say to each other arrives whole, in order, with its descriptors, however the bytes are cut."""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.keeper import protocol
from dynod.keeper.protocol import (
    MAX_FDS,
    MAX_FRAME_BYTES,
    Beat,
    Channel,
    Exited,
    Forget,
    Goodbye,
    Held,
    Hold,
    Message,
    Notify,
    ProtocolError,
    Put,
    Received,
    Spawn,
    Stop,
    decode,
    encode,
)

# What os.environ holds for a variable that is no UTF-8: lone surrogates from U+DC80 to U+DCFF.
TEXT = st.text(st.characters() | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]))
KINDS = get_args(Message)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Anything that a field of this type may hold."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return st.one_of(*map(values, parts))
    if origin is list:
        return st.lists(values(parts[0]), max_size=5)
    if origin is dict:
        return st.dictionaries(values(parts[0]), values(parts[1]), max_size=5)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return plain[kind]


def messages_of(kind: Any) -> st.SearchStrategy[Message]:
    return st.builds(kind, **{name: values(field) for name, field in get_type_hints(kind).items()})


MESSAGES = st.sampled_from(KINDS).flatmap(messages_of)


@contextlib.contextmanager
def pair() -> Iterator[tuple[Channel, Channel]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ends = Channel(left), Channel(right)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()


@contextlib.contextmanager
def raw_pair() -> Iterator[tuple[socket.socket, Channel]]:
    """A channel, and its other end as a bare socket that may say anything."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    channel = Channel(theirs)
    try:
        yield ours, channel
    finally:
        ours.close()
        channel.close()


@pytest.fixture
def no_descriptor_leaks() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


def open_descriptors() -> set[str]:
    return {entry for entry in os.listdir("/dev/fd") if os.path.exists(f"/dev/fd/{entry}")}  # noqa: PTH110, PTH208 (the listing's own descriptor is gone)


def files(*contents: str) -> list[int]:
    """Descriptors that can be told apart at the other end."""
    found = []
    for content in contents:
        fd = os.memfd_create("test")
        os.write(fd, content.encode())
        found.append(fd)
    return found


def content(fd: int) -> str:
    return os.pread(fd, 100, 0).decode()


def close_all(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


# --- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_message_can_be_decoded(kind: Any) -> None:
    assert protocol._BY_NAME[kind.__name__] is kind


@given(MESSAGES, st.integers(0, MAX_FDS))
def test_a_message_comes_out_as_it_went_in(message: Message, fds: int) -> None:
    frame = encode(message, fds)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert frame[4:].isascii()
    decoded = decode(frame[4:])
    assert decoded == (message, fds)
    assert type(decoded[0]) is type(message)


@given(st.binary())
def test_any_environment_survives_the_trip(raw: bytes) -> None:
    env = {"X": os.fsdecode(raw)}
    message, _ = decode(encode(Spawn("i", ["a"], env, "/", [], 15, 30.0, ""))[4:])
    assert isinstance(message, Spawn)
    assert os.fsencode(message.env["X"]) == raw


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_no_time_is_not_sent(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode(Stop("i", 15, number))


def test_a_message_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(ValueError, match="bytes"):
        encode(Put("key", "x" * MAX_FRAME_BYTES))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(body)


@given(st.sampled_from(KINDS), JSON | st.lists(JSON, max_size=8), JSON)
def test_a_message_with_wrong_fields_is_a_protocol_error_or_a_sound_message(kind: Any, fields: Any, fds: Any) -> None:
    """Whatever passes must be of the declared types: the keeper uses it unseen."""
    body = json.dumps({"op": kind.__name__, "fields": fields, "fds": fds}).encode()
    try:
        message, count = decode(body)
    except ProtocolError:
        return
    assert type(message) is kind
    assert type(count) is int
    assert decode(encode(message, count)[4:]) == (message, count)


@pytest.mark.parametrize(
    "body",
    [
        b'{"op": "Put", "fds": 0, "fields": [[], "x"]}',  # unhashable key
        b'{"op": "Put", "fds": 0, "fields": [null, "x"]}',
        b'{"op": "Put", "fds": 0, "fields": ["x"]}',
        b'{"op": "Put", "fds": 0, "fields": ["x", "y", "z"]}',
        b'{"op": "Put", "fds": null, "fields": ["x", "y"]}',
        b'{"op": "Put", "fds": Infinity, "fields": ["x", "y"]}',
        b'{"op": "Stop", "fds": 0, "fields": ["i", 15, NaN]}',
        b'{"op": "Stop", "fds": 0, "fields": ["i", 15, "30"]}',
        b'{"op": "Stop", "fds": 0, "fields": ["i", true, 30]}',
        b'{"op": "Spawn", "fds": 0, "fields": ["i", ["a", 1], {}, "/", [], 15, 30, ""]}',
        b'{"op": "Spawn", "fds": 0, "fields": ["i", ["a"], {"A": 1}, "/", [], 15, 30, ""]}',
        b'{"op": "Spawn", "fds": 0, "fields": ["i", "sh", {}, "/", [], 15, 30, ""]}',
        b'{"op": "Fork", "fds": 0, "fields": []}',
        b'{"op": ["Put"], "fds": 0, "fields": []}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
    ],
)
def test_a_field_of_another_type_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message of keeper protocol"):
        decode(body)


# --- the stream ------------------------------------------------------------------------------------------------------


@given(st.lists(MESSAGES, max_size=6), st.data())
def test_any_cut_of_the_stream_gives_the_same_messages(messages: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    received: list[Received] = []
    with raw_pair() as (ours, channel):
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            ours.sendall(stream[start:end])
            received += channel.receive()
    assert received == [Received(message, []) for message in messages]


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_descriptors_come_with_their_message_in_their_order() -> None:
    sent = files("a", "b", "c")
    with pair() as (left, right):
        left.send(Hold("none"))
        left.send(Hold("two"), sent[:2])
        left.send(Beat())
        left.send(Hold("one"), sent[2:])
        received = right.receive()
        assert [each.message for each in received] == [Hold("none"), Hold("two"), Beat(), Hold("one")]
        assert [[content(fd) for fd in each.fds] for each in received] == [[], ["a", "b"], [], ["c"]]
        for each in received:
            assert not any(map(os.get_inheritable, each.fds)), "they must not reach a dyno"
            close_all(*each.fds)
    close_all(*sent)


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_the_sender_may_close_its_descriptors_at_once() -> None:
    with pair() as (left, right):
        fill(left)
        fd, *_ = files("still here")
        left.send(Hold("late"), [fd])
        os.close(fd)
        assert left.pending
        held = [each for each in exchange(left, right) if isinstance(each.message, Hold)]
        assert [content(fd) for fd in held[0].fds] == ["still here"]
        close_all(*held[0].fds)


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_a_slow_reader_gets_everything_in_order() -> None:
    sent = files(*(str(n) for n in range(50)))
    wanted: list[Message] = []
    with pair() as (left, right):
        for n, fd in enumerate(sent):
            left.send(Held(str(n)), [fd])
            left.send(Put(str(n), "x" * 50_000))
            wanted += [Held(str(n)), Put(str(n), "x" * 50_000)]
        assert left.pending, "more than a socket takes"
        received = exchange(left, right)
        assert [each.message for each in received] == wanted
        held = [each for each in received if isinstance(each.message, Held)]
        assert [content(each.fds[0]) for each in held] == [str(n) for n in range(50)]
        close_all(*(each.fds[0] for each in held))
    close_all(*sent)


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_as_many_descriptors_as_the_kernel_takes_go_in_one_message() -> None:
    (fd,) = files("x")
    with pair() as (left, right):
        left.send(Hold("many"), [fd] * MAX_FDS)
        (received,) = right.receive()
        assert len(received.fds) == MAX_FDS
        close_all(*received.fds)
        with pytest.raises(ValueError, match="254 descriptors"):
            left.send(Hold("too many"), [fd] * (MAX_FDS + 1))
        left.send(Beat())
        assert right.receive() == [Received(Beat(), [])], "the refused message has left no trace"
    os.close(fd)


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_what_was_said_before_the_end_is_heard() -> None:
    with pair() as (left, right):
        left.send(Forget("a"))
        left.send(Goodbye(3))
        left.close()
        assert [each.message for each in right.receive()] == [Forget("a"), Goodbye(3)]
        with pytest.raises(EOFError):
            right.receive()
        with pytest.raises(EOFError):
            right.receive()


def test_a_message_cut_off_by_the_end_is_no_message() -> None:
    with raw_pair() as (ours, channel):
        ours.sendall(encode(Beat()) + encode(Notify("half"))[:-1])
        ours.close()
        assert channel.receive() == [Received(Beat(), [])]
        with pytest.raises(EOFError):
            channel.receive()


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_writing_to_an_end_that_is_gone_says_so_and_leaks_nothing() -> None:
    (fd,) = files("x")
    with pair() as (left, right):
        right.close()
        with pytest.raises(ConnectionError):
            left.send(Hold("x"), [fd])
        with pytest.raises(EOFError):
            left.receive()
    os.close(fd)


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_closing_gives_up_what_nobody_has_claimed() -> None:
    sent = files("a", "b")
    with raw_pair() as (ours, channel):
        frame = encode(Hold("half"), 2)
        socket.send_fds(ours, [frame[:7]], sent)  # the descriptors come with the first byte
        assert channel.receive() == []
    close_all(*sent)


@given(st.binary(min_size=1, max_size=200))
def test_a_frame_of_garbage_is_refused(garbage: bytes) -> None:
    with raw_pair() as (ours, channel):
        ours.sendall(len(garbage).to_bytes(4, "big") + garbage)
        with pytest.raises(ProtocolError):
            channel.receive()


@pytest.mark.parametrize(
    "start", [b"\xff\xff\xff\xff", (MAX_FRAME_BYTES + 1).to_bytes(4, "big"), b"GET / HTTP/1.1\r\n"]
)
def test_a_length_that_nobody_would_send_is_refused_at_once(start: bytes) -> None:
    with raw_pair() as (ours, channel):
        ours.sendall(start)
        with pytest.raises(ProtocolError, match="a frame of"):
            channel.receive()


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_descriptors_of_messages_before_garbage_are_not_leaked() -> None:
    (fd,) = files("x")
    with raw_pair() as (ours, channel):
        socket.send_fds(ours, [encode(Hold("x"), 1) + b"\0\0\0\2{}"], [fd])
        with pytest.raises(ProtocolError):
            channel.receive()
    os.close(fd)


def test_a_message_without_its_descriptors_is_refused() -> None:
    with raw_pair() as (ours, channel):
        ours.sendall(encode(Hold("x"), 1))
        with pytest.raises(ProtocolError, match="Hold came without its 1 descriptors"):
            channel.receive()


def test_descriptors_lost_for_want_of_room_are_noticed() -> None:
    """Else the next message's descriptors would be taken for this one's. In a process of its own, for its limit."""
    code = """
import os, resource, socket
from dynod.keeper.protocol import Channel, Hold, ProtocolError
left, right = map(Channel, socket.socketpair())
files = [os.memfd_create("x") for _ in range(4)]
left.send(Hold("first"), files[:3])
left.send(Hold("second"), files[3:])
used = os.dup(0)
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, used + 3))
try:
    right.receive()
except ProtocolError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no room for them" in done.stdout, done


@pytest.mark.usefixtures("no_descriptor_leaks")
def test_a_send_for_which_there_is_no_room_leaks_nothing() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    (fd,) = files("x")
    with pair() as (left, right):
        lowest_free = os.dup(fd)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 3, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                left.send(Hold("x"), [fd] * 200)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        left.send(Exited("i", 0, 0.0))
        assert right.receive() == [Received(Exited("i", 0, 0.0), [])]
    os.close(fd)


def test_a_last_message_is_waited_for() -> None:
    with pair() as (left, right):
        fill(left)
        left.send(Goodbye(0))
        left.drain(0.01)  # nobody reads: it gives up
        assert left.pending
        assert exchange(left, right)[-1].message == Goodbye(0)


def fill(channel: Channel) -> None:
    """Send until the socket takes no more."""
    while not channel.pending:
        channel.send(Notify("x" * 10_000))


def exchange(left: Channel, right: Channel) -> list[Received]:
    """Everything that left still has to say."""
    received = []
    while left.pending:
        received += right.receive()
        left.flush()
    return received + right.receive()
