"""app.json: what is read, what is tolerated, and what is a fault with its path and line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.app_manifest import Addon, AppManifest, CronTask, Healthcheck, ManifestVariable, parse_app_manifest
from dynod.core.json_lines import Path, places_in

WHOLE = """{
  "name": "shop",
  "description": "tolerated",
  "stack": "heroku-24",
  "formation": {
    "web": {"quantity": 2, "size": "standard-1x"},
    "worker": {"size": "basic"}
  },
  "env": {
    "PLAIN": "value",
    "VALUED": {"value": "v", "description": "why"},
    "OPTIONAL": {"required": false},
    "SECRET": {"generator": "secret"}
  },
  "scripts": {"postdeploy": "./seed", "dokku": {"predeploy": "./build"}},
  "buildpacks": [{"url": "heroku/python"}, {"url": "https://example.com/b"}],
  "addons": ["heroku-redis:mini", {"plan": "heroku-postgresql", "as": "DB", "options": {"version": "15"}}],
  "environments": {"test": {"anything": [1, null]}},
  "healthchecks": {
    "web": [
      {"type": "startup", "path": "/health", "attempts": 5, "timeout": 2, "wait": 1, "initialDelay": 3, "port": 8080,
       "content": "ok", "scheme": "https", "httpHeaders": [{"name": "A", "value": "b"}], "warn": true, "onFailure": {}},
      {"type": "liveness", "command": ["bin/alive", "-q"]},
      {"type": "readiness", "listening": true, "uptime": 4, "name": "up"}
    ]
  },
  "cron": [{"schedule": "@daily", "command": "bin/clean"}]
}
"""


def test_a_whole_manifest() -> None:
    assert parse_app_manifest(WHOLE) == AppManifest(
        name="shop",
        quantities={"web": 2},
        quantity_lines={"web": 6},
        env={
            "PLAIN": ManifestVariable(value="value", line=10),
            "VALUED": ManifestVariable(value="v", description="why", line=11),
            "OPTIONAL": ManifestVariable(required=False, line=12),
            "SECRET": ManifestVariable(generated=True, line=13),
        },
        scripts={"postdeploy": "./seed", "dokku.predeploy": "./build"},
        buildpacks=("heroku/python", "https://example.com/b"),
        addons=(Addon(plan="heroku-redis:mini"), Addon(plan="heroku-postgresql", name="DB")),
        healthchecks={
            "web": (
                Healthcheck(
                    kind="startup",
                    path="/health",
                    attempts=5,
                    timeout_s=2,
                    wait_s=1,
                    initial_delay_s=3,
                    port=8080,
                    content="ok",
                    scheme="https",
                    headers=(("A", "b"),),
                    warn=True,
                ),
                Healthcheck(kind="liveness", command=("bin/alive", "-q")),
                Healthcheck(kind="readiness", listening=True, uptime_s=4, name="up"),
            )
        },
        cron=(CronTask(schedule="@daily", command="bin/clean"),),
    )


@pytest.mark.parametrize("text", ["{}", "\ufeff{}", ' {"keywords": null, "formation": {}, "env": {}} '])
def test_empty_and_unknown_keys_are_fine(text: str) -> None:
    assert parse_app_manifest(text) == AppManifest()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{\n "a": 1,\n}', "app.json line 3: not valid JSON: "),
        ("", "app.json line 1: not valid JSON: expecting value (column 1)"),
        ('{"a": 1} x', "app.json line 1: not valid JSON: extra data (column 10)"),
        ("[]", "app.json line 1: expected an object, found an array"),
        ("null", "app.json line 1: expected an object, found null"),
        ('{"a": ' + "9" * 5000 + "}", "app.json: not JSON that can be read"),
        ("[" * 100_000, "app.json: not JSON that can be read"),
        ('{"name": 1}', "app.json line 1: name: expected a string, found a whole number"),
        ('{\n"formation": []}', "app.json line 2: formation: expected an object, found an array"),
        ('{"formation":\n {"web": 2}}', "app.json line 2: formation.web: expected an object, found a whole number"),
        (
            '{"formation": {"web": {\n"quantity": "2"}}}',
            "app.json line 2: formation.web.quantity: expected a whole number, found a string",
        ),
        (
            '{"formation": {"web": {"quantity": true}}}',
            "app.json line 1: formation.web.quantity: expected a whole number, found true or false",
        ),
        (
            '{"formation": {"web": {"quantity": 1.5}}}',
            "app.json line 1: formation.web.quantity: expected a whole number, found a number",
        ),
        (
            '{"formation": {"web": {"quantity": -1}}}',
            "app.json line 1: formation.web.quantity: expected 0 to 500, found -1",
        ),
        (
            '{"formation": {"web": {"quantity": 501}}}',
            "app.json line 1: formation.web.quantity: expected 0 to 500, found 501",
        ),
        (
            '{"formation": {"web": {"quantity": 1},\n "web": {"quantity": 2}}}',
            "app.json line 2: formation.web is there twice",
        ),
        (
            '{"env": {"DEBUG": 1}}',
            "app.json line 1: env.DEBUG: expected a string or an object, found a whole number; write it in quotes",
        ),
        ('{"env": {"A": null}}', "app.json line 1: env.A: expected a string or an object, found null"),
        ('{"env": {"A": {"value": 1}}}', "app.json line 1: env.A.value: expected a string, found a whole number"),
        (
            '{"env": {"A": {"required": "no", "value": ""}}}',
            "app.json line 1: env.A.required: expected true or false, found a string",
        ),
        ('{"env": {"A": {"generator": "uuid"}}}', 'app.json line 1: env.A.generator: expected "secret", found "uuid"'),
        ('{"env": {"A-B": "x"}}', 'app.json line 1: env.A-B: "A-B" is no variable name: letters, digits and "_"'),
        ('{"env": {"A": "x\\u0000"}}', "app.json line 1: env.A: contains a NUL byte"),
        ('{"scripts": {"postdeploy": ["a"]}}', "app.json line 1: scripts.postdeploy: expected a string"),
        ('{"scripts": {"dokku": {"predeploy": 1}}}', "app.json line 1: scripts.dokku.predeploy: expected a string"),
        ('{"buildpacks": [\n"heroku/python"]}', "app.json line 2: buildpacks[0]: expected an object, found a string"),
        ('{"buildpacks": [{}]}', 'app.json line 1: buildpacks[0]: expected a member "url"'),
        ('{"addons": [\n{"plan": "a"},\n{"as": "X"}]}', 'app.json line 3: addons[1]: expected a member "plan"'),
        ('{"addons": [1]}', "app.json line 1: addons[0]: expected a string or an object, found a whole number"),
        ('{"healthchecks": {"web": {}}}', "app.json line 1: healthchecks.web: expected an array, found an object"),
        ('{"healthchecks": {"web": [1]}}', "app.json line 1: healthchecks.web[0]: expected an object"),
        ('{"healthchecks": {"web": [{}]}}', 'app.json line 1: healthchecks.web[0]: expected a member "type"'),
        (
            '{"healthchecks": {"web": [{"type": "ready"}]}}',
            'app.json line 1: healthchecks.web[0].type: expected one of startup, liveness, readiness, found "ready"',
        ),
        (
            '{"healthchecks": {"web": [{"type": "startup", "attempts": 0}]}}',
            "app.json line 1: healthchecks.web[0].attempts: expected at least 1, found 0",
        ),
        (
            '{"healthchecks": {"web": [{"type": "startup", "command": ["a", 1]}]}}',
            "app.json line 1: healthchecks.web[0].command[1]: expected a string, found a whole number",
        ),
        (
            '{"healthchecks": {"web": [{"type": "startup", "httpHeaders": [{"name": "A"}]}]}}',
            'app.json line 1: healthchecks.web[0].httpHeaders[0]: expected a member "value"',
        ),
        ('{"cron": [{"schedule": "@daily"}]}', 'app.json line 1: cron[0]: expected a member "command"'),
        ('{"cron": {}}', "app.json line 1: cron: expected an array, found an object"),
    ],
)
def test_a_fault_names_its_path_and_line(text: str, fault: str) -> None:
    (found,) = parse_app_manifest(text).faults
    assert str(found).startswith(fault)


def test_every_fault_is_shown_in_the_order_of_the_file_and_the_rest_is_read() -> None:
    manifest = parse_app_manifest(
        '{\n"env": {"A": 1,\n"B": "b"},\n"formation": {"web": 3,\n"worker": {"quantity": 4}}}'
    )
    assert [(fault.line, fault.message.partition(":")[0]) for fault in manifest.faults] == [
        (2, "env.A"),
        (4, "formation.web"),
    ]
    assert manifest.env == {"B": ManifestVariable(value="b", line=3)}
    assert manifest.quantities == {"worker": 4}


def test_no_message_repeats_a_value() -> None:
    manifest = parse_app_manifest('{"env": {"A": 31337, "B": {"value": 31337}, "C": "31337\\u0000"}}')
    assert len(manifest.faults) == 3
    assert not any("31337" in fault.message for fault in manifest.faults)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
KEYS = ["name", "formation", "env", "scripts", "buildpacks", "addons", "healthchecks", "cron"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.dictionaries(st.sampled_from(["web", "A"]), JSON)))
def test_any_document_is_read_or_named_at_fault(document: dict[str, object]) -> None:
    manifest = parse_app_manifest(json.dumps(document, indent=1))
    assert all(fault.line is not None for fault in manifest.faults)
    assert all(isinstance(quantity, int) for quantity in manifest.quantities.values())


def paths(value: object, path: Path = ()) -> list[Path]:
    inner: list[Path] = [path]
    if isinstance(value, dict):
        inner += [found for name, entry in value.items() for found in paths(entry, (*path, name))]
    elif isinstance(value, list):
        inner += [found for index, entry in enumerate(value) for found in paths(entry, (*path, index))]
    return inner


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_every_value_has_its_place(document: object, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    places = places_in(text)
    assert set(places.lines) == set(paths(document))
    assert places.repeated == ()
    if indent is None:
        assert set(places.lines.values()) == {1}


def test_places_count_lines_as_an_editor_does() -> None:
    places = places_in('\n{\n"a": [1,\n 2, {"b":\n "}:,"}],\n\n"c": {}, "c": {"d":\n1}}')
    assert places.lines == {
        (): 2, ("a",): 3, ("a", 0): 3, ("a", 1): 4, ("a", 2): 4, ("a", 2, "b"): 4, ("c",): 7, ("c", "d"): 7,
    }  # fmt: skip
    assert places.repeated == ((("c",), 7),)


@given(st.text())
def test_any_text_is_read_or_at_fault(text: str) -> None:
    parse_app_manifest(text)
