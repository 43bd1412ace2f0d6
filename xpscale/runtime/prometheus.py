"""A run's numbers for Prometheus, served while it goes on.

    with MetricsServer(9464) as metrics:
        run_inference(plan, callbacks=[metrics])

``GET http://127.0.0.1:9464/metrics`` answers; ``command`` and ``run``, the run's name, label every
number.  Nothing is pushed, and nothing is computed between scrapes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from http.server import ThreadingHTTPServer
from types import TracebackType

from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from xpscale.errors import ConflictError
from xpscale.formatting import first_line
from xpscale.runtime.events import CHANGES, Event, TaskEnded
from xpscale.runtime.history import History, RunRecord
from xpscale.safe_text import without_secrets

__all__ = ["MetricsServer", "metrics_of"]

HOST = "127.0.0.1"

_Values = Mapping[tuple[str, ...], float]

_Row = tuple[
    type[GaugeMetricFamily] | type[CounterMetricFamily],
    str,
    str,
    tuple[str, ...],
    _Values,
]


class MetricsServer:
    """A callback whose numbers can be scraped; serves inside its ``with`` block.

    Parameters
    ----------
    port
        Where to listen; 0 takes a free one, which `port` then names.
    address
        Of the interface: by default only this machine can ask.

    Raises
    ------
    ConflictError
        The port is in use, or the address is none of this machine.
    """

    def __init__(self, port: int, address: str = HOST) -> None:
        self._run = _Run()
        registry = CollectorRegistry()
        registry.register(self._run)
        try:
            self._server = ThreadingHTTPServer((address, port), _Handler.factory(registry))
        except (OSError, OverflowError) as error:
            raise ConflictError(
                f"metrics cannot be served at {address}, port {port}: {first_line(error)}",
                "Choose another port, or an address of this machine",
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __call__(self, event: Event) -> None:
        """Take note of what happened."""
        self._run(event)

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


class _Handler(MetricsHandler):
    def do_GET(self) -> None:
        if self.path.split("?")[0] == "/metrics":
            super().do_GET()
        else:
            self.send_error(404, "the metrics are at /metrics")


class _Run(Collector):
    def __init__(self) -> None:
        self._history = History()
        self._loss: _Values = {}

    def __call__(self, event: Event) -> None:
        self._history(event)
        if isinstance(event, TaskEnded) and "loss" in event.report.details:
            self._loss = {(rows,): loss for rows, loss in event.report.details["loss"].items()}

    def collect(self) -> Iterable[Metric]:
        return metrics_of(self._history.record, self._loss)


def metrics_of(record: RunRecord, loss: _Values | None = None) -> Iterator[Metric]:
    """The metrics of a run, as ``prometheus_client`` exposes them.

    Parameters
    ----------
    record
        The run.
    loss
        Of training: in nats, by the rows that it is of.
    """
    text = "Of the last epoch, in nats per spectrum."
    of_loss: _Row = (GaugeMetricFamily, "training_loss", text, ("rows",), loss or {})
    for kind, name, text, labels, values in (*_rows(record), of_loss):
        metric = kind(f"xpscale_{name}", text, labels=("command", "run", *labels))
        for own, value in values.items():
            texts = (record.stage, record.name, *own)
            metric.add_metric([without_secrets(str(text)) for text in texts], value)
        yield metric


def _rows(record: RunRecord) -> list[_Row]:
    """Kind, name, help, names of the labels, values by label values."""
    workers = record.split.workers
    ended: _Values = {
        ("finished",): len(record.tasks),
        ("finished_elsewhere",): record.n_done_elsewhere,
        ("failed",): record.n_failed,
    }
    busy: _Values = {
        (worker.worker, stage): seconds
        for worker in workers
        for stage, seconds in worker.spent.items()
        if stage != "idle"
    }

    def each(name: str) -> _Values:
        return {(worker.worker,): getattr(worker, name) for worker in workers}

    gauge, counter, by_worker = GaugeMetricFamily, CounterMetricFamily, ("worker",)
    rejected: Counter[tuple[str, ...]] = Counter()
    for task in record.tasks:
        rejected.update({(reason,): n for reason, n in task.n_rejected.items()})
    changes: _Values = {(what,): record.n_changes.get(what, 0) for what in CHANGES}
    left: _Values = {} if record.left_s is None else {(): record.left_s}
    return [
        (gauge, "tasks", "Tasks of the plan.", (), {(): record.n_tasks}),
        (gauge, "sources", "Sources of the plan.", (), {(): record.n_rows}),
        (gauge, "workers", "Workers at the start.", (), {(): record.n_workers}),
        (counter, "worker_changes", "What happened to workers.", ("change",), changes),
        (gauge, "run_is_over", "1 when the run has ended.", (), {(): record.is_over}),
        (counter, "tasks_ended", "Tasks by how they ended.", ("status",), ended),
        (counter, "sources_read", "Sources read in this run.", by_worker, each("n_in")),
        (counter, "sources_rejected", "Sources left out, by reason.", ("reason",), rejected),
        (counter, "read_bytes", "Bytes read.", by_worker, each("bytes_in")),
        (counter, "written_bytes", "Bytes written.", by_worker, each("bytes_out")),
        (counter, "stage_seconds", "Busy seconds; stages overlap.", ("worker", "stage"), busy),
        (gauge, "idle_seconds", "Seconds without a task.", by_worker, each("idle_s")),
        (gauge, "worker_peak_memory_bytes", "Peak so far.", by_worker, each("peak_memory")),
        (gauge, "sources_per_second", "Of all workers, lately.", (), {(): record.sources_per_s}),
        (gauge, "left_seconds", "What the rest will take at that rate.", (), left),
    ]
