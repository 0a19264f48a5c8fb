"""The router's numbers in prometheus_client's own types, for who runs it without dynod. Only this file imports that.

Flow: metrics → **prometheus** → a registry, which whoever embeds the router exposes as it likes.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from router.core.metric_family import MetricFamily


class _Collector(Collector):
    def __init__(self, families: Callable[[], Iterable[MetricFamily]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return map(_as_metric, self._families())


def registry_of(families: Callable[[], Iterable[MetricFamily]]) -> CollectorRegistry:
    """A registry with these alone."""
    registry = CollectorRegistry()
    registry.register(_Collector(families))
    return registry


def _as_metric(family: MetricFamily) -> Metric:
    metric = Metric(family.name, family.documentation, family.type)
    name = f"{family.name}_total" if family.type == "counter" else family.name
    for values, number in family.rows:
        metric.add_sample(name, dict(zip(family.labels, values, strict=True)), number)
    for values, counts, total in family.bins:
        labels = dict(zip(family.labels, values, strict=True))
        running = 0
        for bound, count in zip((*family.bounds, "+Inf"), counts, strict=True):
            running += count
            metric.add_sample(f"{name}_bucket", {**labels, "le": str(bound)}, running)
        metric.add_sample(f"{name}_count", labels, running)
        metric.add_sample(f"{name}_sum", labels, total)
    return metric
