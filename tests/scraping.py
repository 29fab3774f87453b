"""Scraping, as Prometheus does: for tests that look at a real service's metrics."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared import metrics


class Scrape:
    """Every sample of one answer of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    @classmethod
    def of(cls, port: int) -> "Scrape":
        """Ask a service."""
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False)
        assert answer.status_code == 200
        return cls(answer.text)

    def names(self) -> set[str]:
        """Of every sample."""
        return {sample.name for sample in self._samples}

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name whose labels include these; there must be one."""
        found = [
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, f"no sample of {name} {labels}"
        return sum(found)

    def has(self, name: str, **labels: str) -> bool:
        """Whether there is such a sample."""
        return any(
            sample.name == name and labels.items() <= sample.labels.items() for sample in self._samples
        )


def metric_names() -> dict[str, str]:
    """The name of every metric of ours as it is scraped, without the suffixes of histograms -> its help."""
    found = {}
    for registry in metrics.REGISTRIES.values():
        for family in registry.collect():
            if family.name.startswith("almenara_"):
                found[family.name + _SUFFIXES.get(family.type, "")] = family.documentation
    for told in (*metrics.BROKER_WIDE, metrics.DESK_UNACKNOWLEDGED, metrics.DESK_OLDEST):
        found[told.name] = told.about
    return found


_SUFFIXES = {"counter": "_total", "info": "_info"}
