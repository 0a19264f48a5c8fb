"""A whole Django app in a file, strict as in production; run by an interpreter that has Django.

ALLOWED_HOSTS, DEBUG=1 and SSL_REDIRECT=1 come from the environment; SSL_TRUSTS=1 believes X-Forwarded-Proto.
Prints "listening on PORT".
"""

import os
from importlib import import_module  # as the interpreter that checks types has no Django
from wsgiref.simple_server import WSGIRequestHandler, make_server

settings = import_module("django.conf").settings
path = import_module("django.urls").path


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Nothing."""


def page(_request: object) -> object:
    return import_module("django.http").HttpResponse("all is well")


urlpatterns = [path("health", page)]

settings.configure(
    SECRET_KEY="toy",
    ROOT_URLCONF=__name__,
    DEBUG=os.environ.get("DEBUG") == "1",
    ALLOWED_HOSTS=os.environ.get("ALLOWED_HOSTS", "").split(),
    SECURE_SSL_REDIRECT=os.environ.get("SSL_REDIRECT") == "1",
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https") if os.environ.get("SSL_TRUSTS") == "1" else None,
    LOGGING_CONFIG=None,
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
)
application = import_module("django.core.wsgi").get_wsgi_application()
server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
print(f"listening on {server.server_port}", flush=True)
server.serve_forever()
