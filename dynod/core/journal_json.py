"""A line as JSON with journald's field names, for collectors on this machine that read files or stdout.

Flow: history → drain → **JSON** → file, stdout. Names as in systemd.journal-fields(7), so that what is made for the
journal's own export understands them; what is dynod's alone begins with DYNOD_, and the trace of a request, where
router lines have it, is what OpenTelemetry calls it. Bytes that are no UTF-8 are shown
as backslash escapes, never dropped. Pure.
"""

import json

from dynod.core.log_line import LogBatch
from dynod.core.syslog_frame import SEVERITIES, full_stamp, pri_of
from dynod.core.trace_fields import may_have_traces, trace_of


def json_lines(app: str, batch: LogBatch) -> bytes:
    """Every line of the batch as one JSON object on a line."""
    common = {
        "__REALTIME_TIMESTAMP": str(round(batch.time * 1_000_000)),
        "PRIORITY": str(pri_of(batch.source, batch.ps) % SEVERITIES),
        "SYSLOG_IDENTIFIER": f"{batch.source}[{batch.ps}]",
        "DYNOD_APP": app,
        "DYNOD_SOURCE": batch.source,
        "DYNOD_PS": batch.ps,
        "DYNOD_TIME": full_stamp(batch.time),
    }
    head = json.dumps(common, ensure_ascii=False)[:-1] + ', "MESSAGE": '
    lines = batch.text.split(b"\n")[:-1]
    texts = [json.dumps(line.decode("utf-8", "backslashreplace"), ensure_ascii=False) for line in lines]
    if may_have_traces(batch):
        texts = [text + _trace_fields(line) for text, line in zip(texts, lines, strict=True)]
    return "".join(f"{head}{text}}}\n" for text in texts).encode("utf-8")


def _trace_fields(line: bytes) -> str:
    trace = trace_of(line)
    return f', "TRACE_ID": "{trace.trace_id}", "SPAN_ID": "{trace.span_id}"' if trace is not None else ""
