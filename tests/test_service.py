"""`deepspeaker serve`: its answers are the command's; nothing from outside makes it fail, forget or tell too much."""

import gc
import http.client
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import numpy as np
import pytest
import soundfile
from conftest import RATE, ROOT, environment, write_wav
from service import Server, multipart, serving
from tools import bad_sounds, model_file, voice

import deepspeaker
from deepspeaker import errors
from deepspeaker.errors import UserError
from deepspeaker.inference import commands
from deepspeaker.inference import speaker_database as database
from deepspeaker.inference.cli import main
from deepspeaker.inference.service import budget, guard, listeners, protocol
from deepspeaker.inference.service import server as server_module

TOKEN = "a-token-of-many-letters"
PUT = (b"PUT /v1/speakers/Gone HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; "
       b"boundary=a-boundary-that-no-sound-contains\r\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with model.pt and sound files; other.pt has other weights."""
    folder = tmp_path_factory.mktemp("service")
    model_file(folder / "model.pt")
    model_file(folder / "other.pt", seed=1)
    for name, speaker in (("a", 1), ("b", 2), ("c", 3)):
        write_wav(folder / f"{name}.wav", voice(speaker))
    return folder


@pytest.fixture(scope="module")
def served(place):
    with serving(place / "model.pt", place / "people.db") as server:
        yield server


def sound(place, name):
    return (place / f"{name}.wav").read_bytes()


@pytest.fixture
def command(place, monkeypatch, capsys):
    """Run the command in the folder; returns status and JSON."""
    monkeypatch.chdir(place)

    def run(*words: object) -> tuple[int, dict]:
        capsys.readouterr()
        return main([*map(str, words), "--json"]), json.loads(capsys.readouterr().out)

    return run


def same(found, expected) -> bool:
    """Whether two answers differ only in the last digits of numbers."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == (pytest.approx(expected, rel=1e-5, abs=1e-5) if isinstance(expected, float) else expected)


def test_answers_are_those_of_the_command(served, place, command):
    """The test's model makes a llr of 1e6 of a score of one, so that here only llrs of one file are equal to 1e-5."""
    files = {name: sound(place, name) for name in "abc"}
    put = served.ask("PUT", "/v1/speakers/Ann%20%C3%96.", [("recordings", files["a"]), ("recordings", files["b"])])
    _, expected = command("enroll", "model.pt", "command.db", "Ann Ö.", "a.wav", "b.wav")
    assert put.status == 200 and same([*put.json["files"].values()], [*expected["files"].values()])
    assert {**put.json, "files": 0, "added": 0} == {**expected, "files": 0, "added": 0}
    assert served.ask("GET", "/v1/speakers/Ann%20%C3%96.").json.items() <= put.json.items()
    assert command("list", "model.pt", "people.db")[1] == served.ask("GET", "/v1/speakers").json
    for query, options in (("", []), ("?prior=0.5&cost_fa=10&cost_miss=2", ["--prior", 0.5, "--cost-fa", 10,
                                                                           "--cost-miss", 2])):
        for other in "ab":
            found = served.ask("POST", f"/v1/verifications{query}", [("first", files["a"]), ("second", files[other])])
            _, expected = command("verify", "model.pt", "a.wav", f"{other}.wav", *options)
            llr = expected["verdicts"][0].pop("llr")
            assert found.json["verdicts"][0].pop("llr") == pytest.approx(llr, abs=1e6 * 1e-6)
            expected |= {"first": "first"}
            expected["verdicts"][0]["second"] = "second"
            assert found.status == 200 and same(found.json, expected)
        found = served.ask("POST", f"/v1/identifications{query}{'&' if query else '?'}top=1",
                           [("recording", files["c"])])
        _, expected = command("identify", "model.pt", "people.db", "c.wav", "--top", 1, *options)
        for answer in (found.json, expected):
            answer["best"][0].pop("llr")
        assert found.status == 200 and same(found.json, expected)
    gone = served.ask("DELETE", "/v1/speakers/Ann%20%C3%96.")
    assert gone.status == 200 and gone.json["recordings"] == 2
    assert served.ask("GET", "/v1/speakers").json == {"speakers": []}
    nobody = served.ask("POST", "/v1/identifications", [("recording", files["a"])])
    assert (nobody.status, nobody.json) == (404, {"error": "nobody is enrolled"})


def test_one_channel_of_several(served, place):
    both = place / "both.wav"
    write_wav(both, np.stack([voice(1), voice(2)], 1))
    alone = [np.array(served.ask("POST", "/v1/embeddings", [("recording", sound(place, name))]).json["embedding"])
             for name in "ab"]
    for channel in (0, 1):
        found = served.ask("POST", f"/v1/embeddings?channel={channel}", [("recording", both.read_bytes())])
        np.testing.assert_allclose(found.json["embedding"], alone[channel], atol=1e-5)
    found = served.ask("POST", "/v1/embeddings", [("recording", both.read_bytes())])
    assert "2 different channels were mixed" in found.json["trust"]["warnings"][0]
    found = served.ask("POST", "/v1/embeddings?channel=2", [("recording", both.read_bytes())])
    assert (found.status, found.json["error"]) == (
        422, "channel 2 was asked for of recording, which has channels 0 to 1")


def test_what_the_service_is(served, place):
    model = deepspeaker.load(place / "model.pt")
    found = served.ask("GET", "/v1/model").json
    assert (found["fingerprint"], found["threshold"]) == (model.fingerprint, pytest.approx(model.threshold()))
    assert found["bounds"] == [None, None] and found["database"] == "people.db" and found["dimensions"] == 8
    assert served.ask("GET", "/v1/health").json == {"status": "ok"}
    described = served.ask("GET", "/openapi.json").json
    assert set(described["paths"]) == {"/v1/health", "/v1/model", "/v1/embeddings", "/v1/verifications",
                                       "/v1/identifications", "/v1/speakers", "/v1/speakers/{name}"}
    examples = json.dumps(described).count('"examples"')
    assert examples >= 20 and served.ask("GET", "/docs").status == 404  # FastAPI's pages come from other hosts
    for path in ("/", "/page.css", "/page.js", "/recorder.js", "/scale.js"):
        found = served.ask("GET", path)
        assert found.status == 200 and found.body and b"http://" not in found.body.replace(b"http://www.w3.org/", b"")


def test_every_answer_has_strict_headers(served):
    for method, path, status in (("GET", "/", 200), ("GET", "/v1/nix", 404), ("POST", "/v1/health", 405),
                                 ("POST", "/v1/embeddings", 422), ("GET", "/v1/model", 200)):
        found = served.ask(method, path)
        assert found.status == status and guard.HEADERS.items() <= found.headers.items()
        assert not {"server", "set-cookie"} & found.headers.keys()
        assert status == 200 or set(found.json) == {"error"}


BAD = {"silence": "no speech found in 3.0 s: silence", "short": "0.2 s of speech found", "noise": "no speech found",
       "music": "no speech found", "loud": "expected samples within -1..1", "text": "is not audio", "empty": "is empty",
       "minutes": "is longer than 10 minutes", "hours": "is longer than 10 minutes", "zeros": "1000 times as many"}


@pytest.fixture(scope="module")
def bad(place):
    bad_sounds(place)
    soundfile.write(place / "minutes.wav", np.zeros(605 * 8000, np.float32), 8000, "PCM_U8")
    soundfile.write(place / "hours.flac", np.zeros(36000 * 1000, np.int16), 1000)
    soundfile.write(place / "zeros.flac", np.zeros((590 * RATE, 2), np.int16), RATE)
    for name in ("hours", "zeros"):
        (place / f"{name}.flac").rename(place / f"{name}.wav")


@pytest.mark.parametrize("name, reason", BAD.items())
def test_bad_sound(served, bad, place, name, reason):
    given, good = sound(place, name), sound(place, "a")
    for method, path, files, called in (
            ("POST", "/v1/embeddings", [("recording", given)], "recording"),
            ("POST", "/v1/verifications", [("first", good), ("second", given)], "second"),
            ("POST", "/v1/identifications", [("recording", given)], "recording"),
            ("PUT", "/v1/speakers/Bad", [("recordings", good), ("recordings", given)], "recording 2")):
        found = served.ask(method, path, files)
        assert found.status == 422 and set(found.json) == {"error"}, found
        assert found.json["error"].startswith(called) and reason in found.json["error"], found.json
    assert served.ask("GET", "/v1/speakers/Bad").status == 404


@pytest.mark.parametrize("name", ['x"; DROP TABLE recording', "😀", "../etc", "..%2f..%2fetc", "a\rb", "", " ", "/",
                                  "é" * 101, "x" * 10_000, "a\0b", "%ff"])
def test_bad_name(served, place, name):
    from urllib.parse import quote

    path = f"/v1/speakers/{quote(name, safe='')}"
    put = served.ask("PUT", path, [("recordings", sound(place, "a"))])
    assert put.status == 422 and "cannot be used" in put.json["error"] and len(put.json["error"]) < 400
    for method in ("GET", "DELETE"):
        found = served.ask(method, path)
        assert found.status == 404 and found.json["error"].startswith("nobody is enrolled as")
        assert len(found.json["error"]) < 400 and "people.db" not in found.json["error"]


def test_a_name_is_one_however_its_accents_are_encoded(served, place):
    from urllib.parse import quote

    whole, apart = (quote(unicodedata.normalize(form, "Zoé")) for form in ("NFC", "NFD"))
    assert whole != apart and served.ask("PUT", f"/v1/speakers/{apart}", [("recordings", sound(place, "a"))]).json[
        "name"] == "Zoé"
    assert served.ask("PUT", f"/v1/speakers/{whole}", [("recordings", sound(place, "b"))]).json["recordings"] == 2
    assert served.ask("DELETE", f"/v1/speakers/{apart}").status == 200
    assert served.ask("GET", f"/v1/speakers/{whole}").status == 404


def test_an_enrolment_that_is_sent_twice_counts_once(served, place):
    for _ in range(2):
        found = served.ask("PUT", "/v1/speakers/Twice", [("recordings", sound(place, "a"))])
        assert found.status == 200 and found.json["recordings"] == 1
    found = served.ask("PUT", "/v1/speakers/Twice", [("recordings", sound(place, "b"))] * 3)
    assert found.status == 200 and found.json["recordings"] == 2
    assert served.ask("DELETE", "/v1/speakers/Twice").status == 200


def test_the_command_and_the_service_use_one_database_at_once(served, place):
    words = [sys.executable, "-m", "deepspeaker", "enroll", "model.pt", "people.db"]

    def enroll(n):
        if n % 4:
            return served.ask("PUT", f"/v1/speakers/Shared%20{n}", [("recordings", sound(place, "a"))]).status == 200
        done = subprocess.run([*words, f"Shared {n}", "a.wav"], cwd=place, env=environment(PYTHONPATH=str(ROOT)))
        return done.returncode == 0

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(enroll, range(12)))
    names = sorted(f"Shared {n}" for n in range(12))
    assert [speaker["name"] for speaker in served.ask("GET", "/v1/speakers").json["speakers"]] == names
    for n in range(12):
        assert served.ask("DELETE", f"/v1/speakers/Shared%20{n}").status == 200


def test_many_clients_get_what_each_would_get_alone(served, place):
    sounds = [write_wav(place / f"many{n}.wav", voice(n, seconds=1.5 + n / 2)).read_bytes() for n in range(8)]
    model = deepspeaker.load(place / "model.pt")
    alone = [model.listen(place / f"many{n}.wav").embedding for n in range(8)]

    def ask(n):
        return served.ask("POST", "/v1/embeddings", [("recording", sounds[n % 8])])

    with ThreadPoolExecutor(16) as pool:
        for n, found in enumerate(pool.map(ask, range(96))):
            assert found.status == 200
            np.testing.assert_allclose(found.json["embedding"], alone[n % 8], atol=1e-5)


@pytest.mark.parametrize("query, reason", [
    ("prior=2", "expected a prior between 0 and 1"), ("prior=nan", "expected a prior between"),
    ("prior=x", "prior: expected a number, found 'x'"), ("cost_fa=-1", "costs above 0"),
    ("cost_miss=inf", "costs above 0"),
    ("channel=-1", "channel: expected at least 0, found '-1'"), ("channel=1.5", "channel: expected an integer"),
    ("prior=" + "9" * 5000, "prior")])
def test_bad_settings(served, place, query, reason):
    files = [("first", sound(place, "a")), ("second", sound(place, "b"))]
    found = served.ask("POST", f"/v1/verifications?{query}", files)
    assert found.status == 422 and reason in found.json["error"] and len(found.json["error"]) < 300, found


def test_bad_requests(served, place):
    """Each in a sentence, as JSON."""
    form = {"Content-Type": "multipart/form-data; boundary=a-boundary-that-no-sound-contains"}
    good = multipart([("recording", sound(place, "a"))])
    for path, body, headers, status in (
            ("/v1/embeddings", None, {}, 422), ("/v1/embeddings", b"x", {"Content-Type": "text/plain"}, 422),
            ("/v1/embeddings", good[:len(good) // 2], form, 422), ("/v1/embeddings", good[:-9], form, 422),
            ("/v1/embeddings", good, {"Content-Type": "multipart/form-data"}, 400),
            ("/v1/embeddings", good, {"Content-Type": f'{form["Content-Type"]}; charset={"x" * 9000}'}, 400),
            ("/v1/embeddings", b"recording=x", {"Content-Type": "application/x-www-form-urlencoded"}, 422),
            ("/v1/embeddings", multipart([("recording", b"x")] * 21), form, 400),
            ("/v1/verifications", good, form, 422), ("/v1/identifications?top=0", good, form, 422),
            ("/v1//embeddings", good, form, 404)):
        found = served.ask("POST", path, body=body, **headers)
        assert found.status == status and set(found.json) == {"error"}, (path, found)
    big = multipart([("recording", bytes(30_000_000))])
    for body in (big, iter([big[:1000], big[1000:]])):  # the second in chunks, without a stated length
        found = served.ask("POST", "/v1/embeddings", body=body, **form)
        assert (found.status, found.json) == (413, {"error": "expected a request of at most 30 MB"})
    found = served.ask("POST", "/v1/embeddings", body=good, Content_Type=f'{form["Content-Type"]}; charset="UTF-8"')
    assert found.status == 200
    raw = socket.create_connection((served.host, served.port))
    raw.sendall(b"GET / SPDY/3\r\n\r\n")
    head, _, answer = raw.makefile("rb").read().partition(b"\r\n\r\n")
    assert answer.startswith(b'{"error": "this is not a request of HTTP/1.1') and b"nosniff" in head


def test_only_pages_and_programs_of_this_machine_may_ask(served):
    port = served.port
    for headers, status in (({"Host": f"localhost:{port}"}, 200), ({"Host": f"[::1]:{port}"}, 200),
                            ({"Host": "evil.example"}, 403), ({"Host": "127.0.0.1.evil.example"}, 403),
                            ({"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}"}, 200),
                            ({"Host": f"127.0.0.1:{port}", "Origin": "http://evil.example"}, 403),
                            ({"Host": f"127.0.0.1:{port}", "Origin": "null"}, 403), ({"Host": "[::1"}, 403),
                            ({"Host": f"127.0.0.2:{port}"}, 200), ({"Host": "[0:0:0:0:0:0:0:1]"}, 200),
                            ({"Host": "10.0.0.1"}, 403),
                            ({"Host": f"127.0.0.1:{port}", "Origin": "http://["}, 403)):
        assert served.ask("GET", "/v1/health", **headers).status == status, headers


def test_a_token(place):
    (place / "token").write_text(f"{TOKEN}\n")
    options = ["--token-file", place / "token", "--host", "0.0.0.0"]
    with serving(place / "model.pt", place / "token.db", *options) as server:
        for path, headers, status in (
                ("/v1/health", {}, 200), ("/", {}, 200), ("/openapi.json", {}, 200), ("/v1/model", {}, 401),
                ("/v1/speakers/Ann", {"Authorization": "Bearer nix"}, 401), ("/v1/nix", {}, 401),
                ("/v1/speakers", {"Authorization": f"Basic {TOKEN}"}, 401),
                ("/v1/speakers", {"Authorization": f"Bearer {TOKEN}é".encode()}, 401),
                ("/v1/speakers", {"Authorization": f"bearer {TOKEN}", "Host": "voice.example"}, 200)):
            found = server.ask("GET", path, **headers)
            assert found.status == status, (path, found)
            assert status == 200 or found.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("words, reason", [
    (["--host", "0.0.0.0"], "--host 0.0.0.0: other machines can reach this address: give a --token-file"),
    (["--host", "nowhere.invalid"], "port 0 of nowhere.invalid cannot be used"),
    (["--port", "70000"], "--port: expected 0 to 65535, found 70000"), (["--port", "x"], "invalid int value"),
    (["--workers", "0"], "--workers: expected at least 1, found 0"),
    (["--token-file", "nix"], "No such file"), (["--token-file", "short"], "short: expected a token of at least 16"),
    (["--token-file", "odd"], "odd: expected a token")])
def test_what_is_told_before_anything_is_served(place, command, words, reason):
    (place / "short").write_text("x")
    (place / "odd").write_text("two words, both of which are long")
    status, found = command("serve", "model.pt", "start.db", "--port", 0, *words)
    assert status == 2 and reason in found["error"] and not (place / "start.db").exists()


def test_models_and_databases_that_cannot_be_served(place, command):
    command("enroll", "other.pt", "other.db", "Ann", "a.wav")
    (place / "text.db").write_text("this is no database, it is only named like one")
    for model, people, reason in (("model.pt", "other.db", "was enrolled with another model"),
                                  ("model.pt", "text.db", "not a usable database"),
                                  ("model.pt", "nowhere/x.db", "there is no folder"),
                                  ("model.pt", ".", "expected the name of a file to write"),
                                  ("model.final", "new.db", "has no calibration of cosine"),
                                  ("nix.pt", "new.db", "no such checkpoint")):
        status, found = command("serve", model, people, "--port", 0)
        assert status == 2 and reason in found["error"], found


def test_a_port_that_is_in_use(served, command):
    status, found = command("serve", "model.pt", "people.db", "--port", served.port)
    assert status == 2 and f"port {served.port} of 127.0.0.1 cannot be used: Address already in use" in found["error"]


def test_missing_packages_are_named(monkeypatch):
    def refuse(name, package=None):
        raise ImportError(name)

    monkeypatch.setattr(errors.importlib, "import_module", refuse)
    with pytest.raises(UserError, match="serve needs fastapi, uvicorn, python-multipart: pip install fastapi uvicorn "
                                        "python-multipart"):
        commands.serve(None)


def test_a_database_that_is_exchanged_while_it_is_served(place, command):
    (place / "mine").mkdir()
    command("enroll", "other.pt", "mine/other.db", "Ann", "a.wav")
    with serving(place / "model.pt", place / "mine/people.db") as server:
        assert server.ask("PUT", "/v1/speakers/Ann", [("recordings", sound(place, "a"))]).status == 200
        os.replace(place / "mine/other.db", place / "mine/people.db")
        for method, path in (("GET", "/v1/speakers"), ("GET", "/v1/speakers/Ann"), ("DELETE", "/v1/speakers/Ann")):
            found = server.ask(method, path)
            assert found.status == 503 and found.json["error"].startswith("the database of speakers cannot be used")
        assert server.ask("POST", "/v1/embeddings", [("recording", sound(place, "a"))]).status == 200


def test_errors_of_the_model_tell_no_folder(place):
    """Here: a calibration that needs what an earlier version did not measure when it enrolled Ann."""
    weights = {"score": 5.0, "snr_smaller": 0.1, "snr_larger": 0.0, "score*snr_smaller": 0.1, "score*snr_larger": 0.0}
    ranges = {"snr_smaller": (0, 50), "snr_larger": (0, 50)}
    model = model_file(place / "snr.pt", calibration={"cosine": {
        "prior": 0.01, "offset": 0.0, "weights": weights, "ranges": ranges}})
    with serving(model, place / "snr.db") as server:
        assert server.ask("PUT", "/v1/speakers/Ann", [("recordings", sound(place, "a"))]).status == 200
        assert server.ask("POST", "/v1/identifications", [("recording", sound(place, "a"))]).status == 200
        with closing(sqlite3.connect(place / "snr.db")) as file, file:
            file.execute("UPDATE recording SET quality = NULL")
        found = server.ask("POST", "/v1/identifications", [("recording", sound(place, "a"))])
        assert found.status == 422 and found.json["error"].startswith("snr.pt: its calibration needs the snr")


def test_no_room_for_an_upload(place):
    """Above 1 MB it would lie in a file."""
    large = write_wav(place / "large.wav", np.tile(voice(1), 50)).read_bytes()
    with serving(place / "model.pt", place / "room.db") as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        found = server.ask("POST", "/v1/embeddings", [("recording", large)])
        assert found.status == 503 and found.json["error"].startswith("the server has no room for this upload")
        assert server.ask("POST", "/v1/embeddings", [("recording", sound(place, "a"))]).status == 200


class Slow:
    """A model that listens only when it may; keeps the names that it has heard, by group."""

    def __init__(self, model):
        self.model, self.heard = model, []
        self.busy, self.go = threading.Event(), threading.Event()

    def __getattr__(self, name):
        return getattr(self.model, name)

    def hear_together(self, sounds):
        sounds = list(sounds)
        self.heard.append([name for name, _ in sounds])
        self.busy.set()
        assert self.go.wait(30)
        return self.model.hear_together(sounds)


@contextmanager
def within(model, people):
    """A server in a thread of this process, with one listener."""
    made = server_module.Server(model, people, "127.0.0.1", 0, None, 1)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield Server(None, made.address, people.parent)
    finally:
        made._server.should_exit = True
        thread.join()


@pytest.fixture
def slow(place):
    model = Slow(deepspeaker.load(place / "model.pt"))
    yield model
    model.go.set()


def test_a_full_queue(slow, place, monkeypatch):
    taken, hear = threading.Semaphore(0), listeners.Listeners.hear

    def heard(*arguments):
        futures = hear(*arguments)
        taken.release()
        return futures

    monkeypatch.setattr(listeners.Listeners, "hear", heard)
    monkeypatch.setattr(listeners, "MOST_WAITING", 3)
    with within(slow, place / "full.db") as server, ThreadPoolExecutor(4) as pool:
        def ask(name, count=1):
            return pool.submit(server.ask, "PUT", f"/v1/speakers/{name}", [("recordings", sound(place, "a"))] * count)

        first = ask("A")
        assert slow.busy.wait(30)
        second = ask("B", 2)
        assert taken.acquire(timeout=30) and taken.acquire(timeout=30)  # both of them wait
        refused = ask("D", 2).result()
        assert refused.status == 503 and refused.headers["retry-after"] == "1"
        assert refused.json["error"] == "too many recordings wait to be heard: try again in a moment"
        assert server.ask("GET", "/v1/health").status == 200
        slow.go.set()
        assert first.result().status == second.result().status == 200


def test_a_client_that_goes_away_costs_nothing(slow, place, caplog):
    with within(slow, place / "gone.db") as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.ask, "POST", "/v1/embeddings", [("recording", sound(place, "a"))])
        assert slow.busy.wait(30)
        body = multipart([("recordings", sound(place, "b"))])
        head = PUT + b"Content-Length: %d\r\n\r\n" % len(body)
        for _ in range(3):
            connection = socket.create_connection((server.host, server.port))
            connection.sendall(head + body)
            time.sleep(0.3)
            connection.close()
        time.sleep(0.3)
        slow.go.set()
        assert first.result().status == 200
        assert server.ask("POST", "/v1/embeddings", [("recording", sound(place, "c"))]).status == 200
        assert slow.heard == [["recording"], ["recording"]]
        assert server.ask("GET", "/v1/speakers/Gone").status == 404
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_client_that_asks_for_too_much_waits(place, monkeypatch):
    monkeypatch.setattr(budget, "AT_ONCE", 0.001)
    monkeypatch.setattr(budget, "SHARE", 0.002)
    with within(deepspeaker.load(place / "model.pt"), place / "budget.db") as server:
        def ask():
            return server.ask("POST", "/v1/embeddings", [("recording", sound(place, "a"))])

        while (found := ask()).status == 200:
            pass
        assert found.status == 429 and int(found.headers["retry-after"]) >= 1
        assert found.json["error"] == "this address has sent too much sound to decode: wait a little"
        assert server.ask("GET", "/v1/speakers").status == 200
        time.sleep(int(found.headers["retry-after"]))
        assert ask().status == 200


def test_what_waits_is_not_decoded_once_the_budget_is_used_up(slow, place, monkeypatch):
    monkeypatch.setattr(budget, "AT_ONCE", 1e-6)
    monkeypatch.setattr(budget, "SHARE", 1e-6)
    with within(slow, place / "waits.db") as server, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.ask, "POST", "/v1/embeddings", [("recording", sound(place, "a"))])
                 for _ in range(4)]
        assert slow.busy.wait(30)
        time.sleep(0.5)
        slow.go.set()
        assert sorted(each.result().status for each in asked) == [200, 429, 429, 429]


def test_long_forwarded_addresses_are_not_kept():
    mine = budget.Budget()
    mine.check("x" * 60_000)
    assert [*mine._left] == ["x" * budget.LONGEST_CLIENT]


def test_each_client_has_a_budget_of_its_own(monkeypatch):
    monkeypatch.setattr(budget, "MOST_CLIENTS", 2)
    clock = [0.0]
    monkeypatch.setattr(budget.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(budget.time, "thread_time", lambda: clock[0])
    mine = budget.Budget()
    with mine.spending("a"):
        clock[0] += budget.AT_ONCE + 1
    with pytest.raises(budget.Spent) as spent:
        mine.check("a")
    mine.check("b")
    clock[0] += spent.value.wait
    mine.check("a")
    with mine.spending("a"):
        clock[0] += 2 * budget.AT_ONCE
    for client in ("b", "c", "a"):  # the table has two places
        mine.check(client)


def test_heads_and_bodies_that_come_too_slowly(place, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(guard, "PATIENCE", 1.0)
    with within(deepspeaker.load(place / "model.pt"), place / "slow.db") as server:
        for begin, answer in ((b"", b""), (b"GET / HTTP/1.1\r\nHost: lo", b""),
                              (PUT + b"Content-Length: 99\r\n\r\n--a-", b"HTTP/1.1 408 ")):
            connection = socket.create_connection((server.host, server.port), timeout=20)
            connection.sendall(begin)
            received = connection.makefile("rb").read()
            assert received.startswith(answer) and bool(received) == bool(answer)
        assert server.ask("GET", "/v1/health").status == 200


def test_a_request_that_is_damaged_in_its_body_has_one_answer(place, capfd):
    with within(deepspeaker.load(place / "model.pt"), place / "chunk.db") as server:
        for begin in (b"POST /nix", b"GET /", b"GET /v1/health", b"POST /v1/embeddings"):
            connection = socket.create_connection((server.host, server.port), timeout=20)
            connection.sendall(begin + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                               b"Z\r\n")
            assert connection.makefile("rb").read().count(b"HTTP/1.1 ") == 1
    assert "Traceback" not in capfd.readouterr().err


def test_clients_that_do_not_read_their_answers_do_not_keep_others_out(place, monkeypatch):
    monkeypatch.setattr(protocol, "READ_SECONDS", 1.0)
    monkeypatch.setattr(guard, "MOST_REQUESTS", 3)
    with within(deepspeaker.load(place / "model.pt"), place / "read.db") as server:
        connections = []
        for _ in range(3):
            connections.append(connection := socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(1.0)
            connection.connect((server.host, server.port))
            with suppress(OSError):
                while True:
                    connection.sendall(100 * b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(2.0)
        assert server.ask("GET", "/v1/health").status == 200
        for connection in connections:
            connection.close()


def test_waiting_recordings_of_similar_size_are_heard_together(place, monkeypatch):
    """A thread takes its share, beginning with the one that came first; who has gone is left out."""
    heard, go = [], threading.Event()

    class Model:
        def hear_together(self, sounds):
            heard.append([name for name, _ in sounds])
            assert go.wait(30)
            return [UserError(name) for name in heard[-1]]

    def waiting(name, size):
        return listeners.Waiting(name, size, None)

    some = listeners.Listeners(Model(), 1)
    first = some.hear([waiting("first", 100)])
    while not heard:
        time.sleep(0.01)
    gone = some.hear([waiting("gone", 100)])[0]
    later = some.hear([waiting("a", 100), waiting("long", 900), waiting("b", 190), waiting("c", 51), waiting("d", 49)])
    assert gone.cancel()
    go.set()
    for future in (*first, *later):
        assert isinstance(future.exception(30), UserError)
    assert heard == [["first"], ["a", "b", "c"], ["long"], ["d"]]


def test_what_has_begun_is_finished_before_the_end(place):
    """Half a minute of work for the single listener is waiting; SIGTERM leaves ten seconds, of which few are needed."""
    write_wav(place / "long.wav", np.tile(voice(1, seconds=20.0), 20))
    with serving(place / "model.pt", place / "end.db") as server, ThreadPoolExecutor(2) as pool:
        idle = socket.create_connection((server.host, server.port))
        asked = pool.submit(server.ask, "PUT", "/v1/speakers/Ann", [("recordings", sound(place, "long"))])
        time.sleep(0.3)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert asked.result().status == 200
        assert server.process.wait(20) == -signal.SIGTERM and time.monotonic() - start < 10
        with pytest.raises(OSError):
            server.ask("GET", "/v1/health")
        idle.close()
    assert [s.recordings for s in database.speakers(place / "end.db", deepspeaker.load(place / "model.pt"))] == [1]


def test_a_request_that_never_ends_does_not_keep_the_process(place):
    with (serving(place / "model.pt", place / "end.db") as server,
          socket.create_connection((server.host, server.port)) as connection):
        connection.sendall(PUT + b"Content-Length: 9999999\r\n\r\n" + bytes(2_000_000))
        time.sleep(0.3)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == -signal.SIGTERM and time.monotonic() - start < 10


def test_enrolments_killed_at_any_moment_are_whole_or_not_there(place):
    files, model = [("recordings", sound(place, name)) for name in "abc"], deepspeaker.load(place / "model.pt")
    rng, path, counts = np.random.default_rng(0), place / "killed.db", []
    for n in range(4):
        with serving(place / "model.pt", path) as server, ThreadPoolExecutor(1) as pool:
            server.ask("GET", "/v1/speakers")

            def enroll(server=server, n=n):
                for k in range(1000):
                    server.ask("PUT", f"/v1/speakers/Life {n} {k}".replace(" ", "%20"), files)

            asking = pool.submit(enroll)
            time.sleep(rng.uniform(0.3, 0.8))
            server.process.kill()
            server.process.wait()
            with pytest.raises((OSError, ValueError, http.client.HTTPException)):
                asking.result()
        if path.exists():
            counts = [speaker.recordings for speaker in database.speakers(path, model)]
    assert counts and set(counts) == {3}
