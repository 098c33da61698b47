"""Messages of the client library as ours."""

from outlast.messaging.member import UNREADABLE, to_received


class MessageWithBrokenHeaders:
    """As confluent-kafka 2.16 behaves when a header's name is not UTF-8 (seen on a real broker)."""

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return (2, 1_000)

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return b"v"

    def headers(self) -> object:
        raise SystemError("returned a result with an exception set")


def test_a_header_whose_name_is_not_utf8_does_not_stop_the_partition() -> None:
    received = to_received(MessageWithBrokenHeaders())  # pyright: ignore[reportArgumentType]
    assert (received.offset, received.value, list(received.headers)) == (7, b"v", UNREADABLE)
