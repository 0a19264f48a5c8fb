"""The shipped dashboard as Grafana's importer wants it; what its queries find is tried in a real Prometheus elsewhere.

What an import needs is in Grafana's documents, "Dashboard JSON model"; the names of units are those of its library of
value formats, of which only these are used here.
"""

import itertools
import json
import re
from typing import Any, Final

import pytest

from support.source_tree import REPOSITORY

DASHBOARD: Final[dict[str, Any]] = json.loads((REPOSITORY / "config/prometheus/grafana.json").read_text())
PANELS: Final[list[dict[str, Any]]] = DASHBOARD["panels"]
COLUMNS: Final = 24
UNITS: Final = {"short", "s", "bytes", "percentunit", "reqps", "cps"}
UNIT_BY_NAME: Final = {
    "_bytes": "bytes",
    "_cpu_seconds_total": "percentunit",
    "_seconds_bucket": "s",
}  # a rate's, a quantile's
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def test_it_is_a_dashboard_that_can_be_imported_as_new() -> None:
    """An `id` would be another one's; `__inputs` are not needed, as the data source is a variable."""
    assert DASHBOARD["title"] == DASHBOARD["uid"] == "dynod"
    assert DASHBOARD.get("id") is None
    assert DASHBOARD["schemaVersion"] >= 36  # data sources by type and uid
    assert not {"__inputs", "__requires"} & DASHBOARD.keys()


def test_its_variables_are_the_data_source_and_what_it_can_be_asked_for() -> None:
    source, *others = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    for variable in others:
        assert (variable["type"], variable["datasource"]) == ("query", SOURCE)
        assert re.fullmatch(r"label_values\(\w+, \w+\)", variable["query"])
    known = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS)))
    assert used - {"__rate_interval"} <= known
    assert known <= used


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    for place in places:
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= COLUMNS
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_draws_its_queries_in_their_unit(panel: dict[str, Any]) -> None:
    assert panel["type"] == "timeseries"
    assert panel["datasource"] == SOURCE
    unit = panel["fieldConfig"]["defaults"]["unit"]
    assert unit in UNITS
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references) > 0
    for target in panel["targets"]:
        assert target["legendFormat"]
        for name in re.findall(r"\b(?:dynod|process)_[a-z_]+(?=\{|$)", target["expr"]):
            assert {unit} >= {wanted for end, wanted in UNIT_BY_NAME.items() if name.endswith(end)}, name
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        grouped = re.search(r"by \(([\w, ]+)\)", target["expr"])
        if grouped is not None:  # whatever is not grouped by is gone
            assert labels <= set(grouped[1].split(", "))
