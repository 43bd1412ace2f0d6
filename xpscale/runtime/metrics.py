"""A run's numbers for Prometheus, served on loopback while it goes on.

    with MetricsServer(9464) as metrics:
        run(plan, callbacks=[metrics])

``GET http://127.0.0.1:9464/metrics`` answers in the text format, version 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/).  Nothing is pushed and nothing is
computed between scrapes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from xpscale.errors import ConflictError
from xpscale.runtime.events import Event
from xpscale.runtime.history import History, RunRecord

__all__ = ["MetricsServer", "exposition"]

HOST = "127.0.0.1"

Labels = Mapping[str, str]


class MetricsServer:
    """A callback whose numbers can be scraped; serves inside its ``with`` block.

    Parameters
    ----------
    port
        Of the loopback interface; 0 takes a free one, which `port` then names.

    Raises
    ------
    ConflictError
        The port is in use.
    """

    def __init__(self, port: int) -> None:
        self._history = History()
        try:
            self._server = ThreadingHTTPServer((HOST, port), _handler(self._history))
        except OSError as error:
            raise ConflictError(
                f"port {port} cannot serve metrics: {error.strerror}", "Choose another port"
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __call__(self, event: Event) -> None:
        """Take note of what happened."""
        self._history(event)

    def __enter__(self) -> MetricsServer:
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(history: History) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.split("?")[0] == "/metrics"
            body = (
                exposition(history.record).encode() if found else b"the metrics are at /metrics\n"
            )
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler


def exposition(record: RunRecord) -> str:
    """A run as Prometheus text: one block a metric, each with its help and type."""
    lines = []
    for name, kind, text, samples in _metrics(record):
        lines += [f"# HELP xpscale_{name} {text}", f"# TYPE xpscale_{name} {kind}"]
        for labels, value in samples:
            inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
            lines.append(f"xpscale_{name}{{{inside}}} {value:.10g}")
    return "\n".join(lines) + "\n"


def _metrics(record: RunRecord) -> Iterator[tuple[str, str, str, list[tuple[Labels, float]]]]:
    split = record.split
    own: Labels = {"run": record.stage}
    rejected: Counter[str] = Counter()
    for task in record.tasks:
        rejected.update(task.n_rejected)
    ended = {
        "finished": len(record.tasks),
        "finished_elsewhere": record.n_done_else,
        "failed": record.n_failed,
    }

    def each(value: str) -> list[tuple[Labels, float]]:
        return [
            ({**own, "worker": worker.worker}, getattr(worker, value)) for worker in split.workers
        ]

    seconds: list[tuple[Labels, float]] = [
        ({**own, "worker": worker.worker, "stage": stage}, spent)
        for worker in split.workers
        for stage, spent in worker.spent.items()
        if stage != "idle"
    ]
    yield "tasks", "gauge", "Tasks of the plan.", [(own, record.n_tasks)]
    yield "sources", "gauge", "Sources of the plan.", [(own, record.n_rows)]
    yield (
        "tasks_ended_total",
        "counter",
        "Tasks by how they ended.",
        [({**own, "status": status}, n) for status, n in ended.items()],
    )
    yield "sources_read_total", "counter", "Sources read in this run.", each("n_in")
    yield (
        "sources_rejected_total",
        "counter",
        "Sources left out, by reason.",
        [({**own, "reason": reason}, n) for reason, n in rejected.items()],
    )
    yield "read_bytes_total", "counter", "Bytes read.", each("bytes_in")
    yield "written_bytes_total", "counter", "Bytes written.", each("bytes_out")
    yield (
        "stage_seconds_total",
        "counter",
        "Busy seconds of each stage (side by side) of the tasks that ended.",
        seconds,
    )
    yield (
        "idle_seconds",
        "gauge",
        "Seconds without a task since the worker's first.",
        each("idle_s"),
    )
    yield "worker_peak_memory_bytes", "gauge", "Largest resident set so far.", each("peak_memory")
    yield (
        "sources_per_second",
        "gauge",
        "Sources a second through all workers, lately.",
        [(own, record.sources_per_s)],
    )
    if (left_s := record.left_s) is not None:
        yield "left_seconds", "gauge", "Seconds the rest will take at that rate.", [(own, left_s)]


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
