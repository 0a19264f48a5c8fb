"""Lines of settings, in every way that people write them."""

import pytest

from dynod.core.toml_lines import line_of, with_line

TEXT = """# dynod
[serve]
listen = "80"

[ dynos ]  # all of them
restart = "ladder"
worker.grace_s = 3
"web" . surge = 2
[dynos.clock]
grace_s = 4
[router]
  'balance'="p2c"
"""


@pytest.mark.parametrize(
    ("section", "key", "line"),
    [
        ("serve", "", 2),
        ("serve", "listen", 3),
        ("dynos", "restart", 6),
        ("dynos", "worker.grace_s", 7),
        ("dynos", "web.surge", 8),
        ("dynos", "clock.grace_s", 10),
        ("router", "balance", 12),
        ("serve", "balance", None),
        ("logs", "", None),
    ],
)
def test_a_setting_is_found_on_its_line(section: str, key: str, line: int | None) -> None:
    assert line_of(TEXT, section, key) == line


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("/etc/dynod.toml: serve.listen: no", "/etc/dynod.toml: serve.listen: no (at line 3)"),
        ("router: balance: no", "router: balance: no (at line 12)"),
        ("serve.state: no", "serve.state: no"),
        ("something else", "something else"),
    ],
)
def test_a_message_ends_with_the_line(fault: str, said: str) -> None:
    assert with_line(fault, TEXT) == said


def test_dotted_keys_at_the_top_are_found() -> None:
    assert line_of('serve.listen = "80"\n', "serve", "listen") == 1
