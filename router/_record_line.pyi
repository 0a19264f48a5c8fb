from collections.abc import Callable, Sequence

from router.core.request_record import RequestRecord

def lines(records: Sequence[RequestRecord], coded: Callable[[RequestRecord], bytes], /) -> bytes: ...
