"""What counts as a secret in a text, and what only looks like one."""

import pytest

from dynod.core.secret_text import secrets_in

# Put together here, so that this file holds none itself.
RANDOM = "q7Zr2LmX9" + "cVb4KfT8wHn3"
FOUND = [
    ("KEY = '" + "AKIA" + "Z3QWERTY7UIOPASX'", "an AWS access key"),
    ("token: " + "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8", "a GitHub token"),
    ("stripe.api_key = '" + "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc'", "a Stripe secret key"),
    ("slack(" + "'xoxb-" + "918273645546-kTzQwRvBnMpLsXcDgHjF')", "a Slack token"),
    ("-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
    ("DATABASE = 'postgres://" + "app:h7Gd92kQ@db.mycompany.io:5432/app'", "a URL with a password"),
    (f'SECRET_KEY = "{RANDOM}"', "the literal value of SECRET_KEY"),
    (f"  'api_key': '{RANDOM}',", "the literal value of api_key"),
    (f'const JWT_SECRET = "{RANDOM}"; // signs', "the literal value of JWT_SECRET"),
    (f"secret_key_base: '{RANDOM}'", "the literal value of secret_key_base"),
]
NOT_FOUND = [
    'SECRET_KEY = os.environ["SECRET_KEY"]',
    'SECRET_KEY = os.environ.get("SECRET_KEY", "' + RANDOM + '")',
    f'SECRET_KEY = "django-insecure-{RANDOM}"',
    'PASSWORD = "correct-horse-battery-staple"',
    'API_KEY = "YOUR_API_KEY_GOES_HERE_12345"',
    "aws_access_key_id = " + "AKIA" + "IOSFODNN7EXAMPLE",
    "postgres://app:secret@localhost/app",
    "postgres://user:h7Gd92kQ@localhost:5432/app",
    "postgres://user:h7Gd92kQ@db:5432/app",
    "https://${USER}:${PASS}@registry.mycompany.io/",
    "amqp://guest:password@broker.mycompany.io/",
    f'etag = "{RANDOM}"',
    f'integrity: "sha512-{RANDOM}"',
    'password_field = "the new password, please"',
    "x" * 3000 + "AKIA" + "Z3QWERTY7UIOPASX",
]


@pytest.mark.parametrize(("line", "kind"), FOUND, ids=[kind for _, kind in FOUND])
def test_a_secret_is_found_on_its_line_and_not_shown_whole(line: str, kind: str) -> None:
    (found,) = secrets_in(f"first\n{line}\nlast")
    assert (found.kind, found.line) == (kind, 2)
    assert RANDOM not in found.shown


@pytest.mark.parametrize("line", NOT_FOUND)
def test_what_only_looks_like_a_secret_is_none(line: str) -> None:
    assert list(secrets_in(line)) == []
