"""Modules that Node.js itself brings: `module.builtinModules` of Node 22, those without `node:` before their name."""

from typing import Final

NODE_BUILTINS: Final = frozenset(
    {
        *("assert", "async_hooks", "buffer", "child_process", "cluster", "console", "constants", "crypto"),
        *("dgram", "diagnostics_channel", "dns", "domain", "events", "fs", "http", "http2", "https", "inspector"),
        *("module", "net", "os", "path", "perf_hooks", "process", "punycode", "querystring", "readline", "repl"),
        *("stream", "string_decoder", "sys", "timers", "tls", "trace_events", "tty", "url", "util", "v8", "vm"),
        *("wasi", "worker_threads", "zlib"),
    }
)
