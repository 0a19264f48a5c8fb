from django import forms

from jobs.models import Job

LARGEST = 500_000_000  # some seconds of work


class JobForm(forms.ModelForm):
    limit = forms.IntegerField(min_value=1, max_value=LARGEST, initial=50_000_000, label="Count the primes up to")

    class Meta:
        model = Job
        fields = ["limit"]
