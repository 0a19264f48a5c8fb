"""The project's addresses: the page, and the form that it posts to."""

from django.urls import path
from jobs import views

urlpatterns = [
    path("", views.page, name="page"),
    path("jobs", views.enqueue, name="enqueue"),
    path("jobs/table", views.table, name="table"),
]
