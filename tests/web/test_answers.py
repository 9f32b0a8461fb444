"""What the server answers, and to whom."""

import socket
import threading
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from callsheet.actors.actor import METRICS
from callsheet.actors.host import Host
from callsheet.actors.messages import ContactChanged, Envelope, LeaderChanged, ReportMetrics, RunsCreated
from callsheet.actors.metrics.metrics import Metrics
from callsheet.errors import NotRunning
from callsheet.transport.in_process import InProcess
from support.site import TOKEN, WAIT_S, MakeSite, Site
from support.thread import no_thread_called

PATHS = ("/health/live", "/health/ready", "/metrics")


class Scraper:
    """Asks the metrics actor of a host, as a client of its transport."""

    def __init__(self) -> None:
        self.transport = InProcess("n1")
        self.host = Host(self.transport, {METRICS: Metrics}, node="n1", incarnation="i1")
        self._came = threading.Event()
        self._text = ""
        self.transport.attach("client-1", self._receive)

    def _receive(self, envelope: Envelope) -> bool:
        self._text = envelope.messages[0].text
        self._came.set()
        return True

    def text(self, timeout_s: float = WAIT_S) -> str:
        self._came.clear()
        self.transport.send(Envelope("client-1", METRICS, 0, (ReportMetrics("1"),)))
        if not self._came.wait(timeout_s):
            raise TimeoutError("no metrics")
        return self._text


def test_it_lives_until_an_actor_is_given_up(site: Site) -> None:
    assert site.get("/health/live")[::2] == (200, "live\n")

    site.health.fail()

    assert site.get("/health/live")[::2] == (503, "not live\n")


def test_it_is_ready_while_it_hears_a_leader(site: Site) -> None:
    assert site.get("/health/ready").status == 503

    site.health.on_event(LeaderChanged(7, "n2", own=False))
    assert site.get("/health/ready")[::2] == (200, "ready\nstate: ready\nnode: n1\nrole: follower\nepoch: 7\n")

    site.health.on_event(ContactChanged(is_cut_off=True))
    assert site.get("/health/ready")[::2] == (503, "not ready\nstate: cut_off\nnode: n1\nrole: follower\nepoch: 7\n")


def test_the_metrics_are_those_of_the_metrics_actor(make_site: MakeSite) -> None:
    scraper = Scraper()
    scraper.host.start()
    try:
        scraper.host.tell(METRICS, RunsCreated(3))
        reply = make_site(metrics=scraper.text).get("/metrics")
    finally:
        scraper.host.stop(WAIT_S)

    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
        if not sample.labels
    }
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert samples["callsheet_runs_created_total"] == 3


def test_a_scrape_is_answered_by_503_when_the_actors_have_stopped(make_site: MakeSite) -> None:
    scraper = Scraper()
    site = make_site(metrics=lambda: scraper.text(timeout_s=0.05))
    scraper.host.start()
    assert site.get("/metrics").status == 200
    scraper.host.stop(WAIT_S)

    assert site.get("/metrics").status == 503
    assert site.get("/health/live").status == 200


def test_a_scrape_is_answered_by_503_when_the_scheduler_is_not_running(make_site: MakeSite) -> None:
    def refuse() -> str:
        raise NotRunning("the scheduler has stopped")

    reply = make_site(metrics=refuse).get("/metrics")

    assert reply[::2] == (503, "no metrics: the scheduler has stopped or does not answer\n")


def test_a_scrape_without_an_answer_ends_in_time_and_costs_one_thread(make_site: MakeSite) -> None:
    asked: list[str] = []
    let_go = threading.Event()

    def hang() -> str:
        asked.append(threading.current_thread().name)
        assert let_go.wait(WAIT_S)
        return "late 1\n"

    site = make_site(metrics=hang, metrics_timeout_s=0.1)
    try:
        statuses = [site.get("/metrics").status for _ in range(3)]
        alive = site.get("/health/live").status
    finally:
        let_go.set()

    assert statuses == [503, 503, 503]
    assert alive == 200
    assert asked == ["scrape"]


def test_a_scrape_for_which_there_is_no_thread_is_answered_by_503_and_the_next_one_is_not(make_site: MakeSite) -> None:
    site = make_site()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threading.Thread.start", no_thread_called("scrape"))
        assert site.get("/metrics").status == 503

    assert site.get("/metrics")[::2] == (200, "up 1\n")


def test_a_server_stops_while_a_scrape_hangs(make_site: MakeSite) -> None:
    asked, let_go = threading.Event(), threading.Event()

    def hang() -> str:
        asked.set()
        assert let_go.wait(WAIT_S)
        return ""

    site = make_site(metrics=hang, metrics_timeout_s=0.3)
    replies: list[int] = []
    client = threading.Thread(target=lambda: replies.append(site.get("/metrics").status))
    client.start()
    try:
        assert asked.wait(WAIT_S)
        site.server.stop()
        client.join(WAIT_S)
    finally:
        let_go.set()

    assert replies == [503]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]:8080"])
def test_the_names_of_loopback_are_taken(site: Site, host: str) -> None:
    assert site.get("/health/live", Host=host).status == 200


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:8080", "localhost@evil.example", "127.0.0.1.", ""]
)
def test_another_host_is_refused_whatever_is_asked(site: Site, path: str, host: str) -> None:
    assert site.get(path, Host=host).status == 421


def test_a_request_without_a_host_is_refused(site: Site) -> None:
    name, _, port = site.server.address.rpartition(":")
    with socket.create_connection((name, int(port)), timeout=WAIT_S) as link:
        link.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert link.recv(1024).startswith(b"HTTP/1.1 421 ")


def test_with_a_token_only_who_brings_it_sees_more_than_yes_and_no(make_site: MakeSite) -> None:
    site = make_site(token=TOKEN)
    site.health.on_event(LeaderChanged(7, "n1", own=True))

    assert site.get("/health/live")[::2] == (200, "live\n")
    assert site.get("/health/ready")[::2] == (200, "ready\n")
    assert site.get("/metrics").status == 401
    assert "role: leader" in site.get("/health/ready", Authorization=f"Bearer {TOKEN}").text
    assert site.get("/metrics", Authorization=f"bearer {TOKEN}")[::2] == (200, "up 1\n")


@pytest.mark.parametrize(
    "brought",
    [
        "Bearer another-token-than-this",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        "Bearer \xe9",
    ],
)
def test_a_wrong_token_is_refused(make_site: MakeSite, brought: str) -> None:
    site = make_site(token=TOKEN)

    for path in ("/metrics", "/health/ready"):
        reply = site.get(path, Authorization=brought)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer ")
    assert site.get("/health/live", Authorization=brought).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_only_reading_is_allowed(site: Site, method: str) -> None:
    for path in PATHS:
        reply = site.get(path, method)
        assert reply.status == 405
        assert sorted(reply.headers["allow"].split(", ")) == ["GET", "HEAD"]
        assert reply.headers["content-type"].startswith("text/plain")


def test_head_answers_as_get_does_but_without_the_text(site: Site) -> None:
    for path in PATHS:
        got, headed = site.get(path), site.get(path, "HEAD")
        assert (headed.status, headed.headers["content-length"]) == (got.status, got.headers["content-length"])
        assert headed.text == ""


@pytest.mark.parametrize("path", ["/", "/metrics/", "/health", "/health/live/x", "/METRICS"])
def test_there_is_nothing_else(site: Site, path: str) -> None:
    reply = site.get(path)
    assert reply.status == 404
    assert reply.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_nothing_is_stored_and_no_other_origin_may_read(site: Site, path: str) -> None:
    for headers in ({}, {"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        found: dict[str, Any] = site.get(path, **headers).headers
        assert found["cache-control"] == "no-store"
        assert found["x-content-type-options"] == "nosniff"
        assert not [name for name in found if name.startswith("access-control") or name in ("set-cookie", "server")]
