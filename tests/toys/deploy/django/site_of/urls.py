"""One page: how often it was visited, and where its style sheet is."""

from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import path


def visits(request: HttpRequest) -> HttpResponse:
    """Counted in the database, by a session of its own for each visitor."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    request.session.save()
    return HttpResponse(f"visit {request.session['visits']}, {static('site.css')}", content_type="text/plain")


urlpatterns = [path("", visits)]
