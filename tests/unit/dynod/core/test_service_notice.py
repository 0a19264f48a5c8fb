"""What systemd is told: one field a line, whatever a message holds."""

from dynod.core.service_notice import LONGEST_STATUS, reloaded, reloading, serving, stopping


def test_a_reload_begins_with_the_clock_and_ends_with_ready() -> None:
    assert reloading(1_234_567_890) == "RELOADING=1\nMONOTONIC_USEC=1234567"
    assert reloaded(None) == "READY=1\nSTATUS=settings read again"


def test_a_refusal_stays_on_one_line_and_is_not_endless() -> None:
    said = reloaded("a: wrong\nSTOPPING=1\n" + "x" * 1000)
    assert said.startswith("READY=1\nSTATUS=reload refused, old settings stay: a: wrong; STOPPING=1; xxx")
    assert said.count("\n") == 1
    assert len(said.partition("STATUS=")[2]) == LONGEST_STATUS


def test_systemd_waits_for_the_requests_the_most_patient_dyno_and_a_little_more() -> None:
    assert stopping(30.0, 120.0) == "STOPPING=1\nSTATUS=stopping dynos\nEXTEND_TIMEOUT_USEC=160000000"


def test_apps_are_counted() -> None:
    assert [serving(count) for count in (0, 1, 2)] == [
        "STATUS=serving 0 apps",
        "STATUS=serving 1 app",
        "STATUS=serving 2 apps",
    ]
