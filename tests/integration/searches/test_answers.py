"""Which network to ship: over REST, by the SDK and the command; and what ids can be replaced by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import httpx2
import numpy as np
import pytest

from hilnas.cli import main as cli
from hilnas.cli.exit_status import ExitStatus
from hilnas.client.client import Hilnas
from hilnas.client.errors import ConflictError, InvalidRequestError, NotFoundError
from hilnas.client.views.cells import cells_of
from hilnas.client.views.pictures import front_picture
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Constraint
from server.artifacts.files import FileByteStore
from server.candidates.candidate import HeldOutAccuracy
from server.searches.answers.answer import Answers
from server.searches.answers.resources import answer_resource
from server.searches.answers.wording import headline, sentences
from server.searches.schemas import SearchResource
from tests.support.worlds import service_world
from tests.support.worlds.api_world import ADMIN, World, cheap_spec, latency_spec
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.served_world import served

GENOTYPES = [(0, 0, 0, 0), (1, 0, 0, 0), (2, 1, 0, 0)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    opened = World.open(tmp_path_factory.mktemp("answers") / "home")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with served(world) as address:
        yield address


@pytest.fixture(scope="module")
def nas(url: str) -> Iterator[Hilnas]:
    with Hilnas(url, ADMIN) as client:
        yield client


@pytest.fixture(scope="module")
def search(world: World, nas: Hilnas) -> SearchResource:
    """A search of three candidates, measured at 1000, 1010 and 1020.1 us, each to 0.01 us."""
    device = world.enrol()
    made = nas.searches.create(latency_spec(len(GENOTYPES), name="lat-1"))
    world.step(GENOTYPES)
    world.convert_all()
    assert world.measure_all(device) == len(GENOTYPES)
    world.step(last=True)
    return nas.searches.get(made.id)


def test_the_answer_names_what_to_ship_within_a_latency(nas: Hilnas, search: SearchResource) -> None:
    candidates = list(nas.searches.candidates(search.id))
    answer = nas.searches.answer(search.id, latency_ms=1.015)
    within = [one for one in candidates if one.latency is not None and one.latency.p50_us <= 1015.0]
    best = min(within, key=lambda one: one.macs or 0)
    assert answer.ship is not None
    assert (answer.ship.candidate_id, answer.ship.meets, answer.judged) == (best.id, True, "macs")
    assert answer.headline.startswith(f"At <= 1.015 ms on rk3588: ship {best.short_id}, MACs ")
    latency = next(one.interval for one in answer.ship.values if one.metric == "latency_us")
    assert latency.low is not None
    assert latency.low <= latency.value
    assert latency.text.endswith(" ms")
    assert {file.weights for file in answer.ship.files} == {"timing-only"}


def test_what_nothing_meets_is_answered_with_the_nearest(nas: Hilnas, search: SearchResource) -> None:
    answer = nas.searches.answer(search.id, latency_us=10)
    assert answer.ship is None
    assert answer.nearest is not None
    assert answer.headline == (
        f"At <= 10 us on rk3588: nothing meets that; the nearest is {answer.nearest.short_id}, latency 1 ± 0 ms"
    )


def test_a_bound_on_what_the_search_has_no_values_of_says_what_it_looked_at(
    nas: Hilnas, search: SearchResource
) -> None:
    answer = nas.searches.answer(search.id, bounds=["top1:ge:0.5"])
    assert answer.ship is None
    assert answer.headline.endswith(
        "has no values of validation accuracy; it looked at latency, MACs, so bound one of these"
    )


@pytest.mark.parametrize("number", ["-7E829", "1e999", "9" * 290, "nan", "-inf", "0x10", "1_000", " 5"])
def test_a_bound_that_is_no_finite_number_is_refused(nas: Hilnas, search: SearchResource, number: str) -> None:
    with pytest.raises(InvalidRequestError, match="is no bound"):
        nas.searches.answer(search.id, bounds=[f"macs:le:{number}"])
    with pytest.raises(InvalidRequestError, match="is no bound"):
        list(nas.searches.candidates(search.id, bounds=[f"macs:ge:{number}"]))


@pytest.mark.parametrize("number", ["9" * 40 + "e99", "-" + "9" * 40 + ".5E+99", "1e-99", "-0"])
def test_every_bound_that_is_described_is_taken(nas: Hilnas, search: SearchResource, number: str) -> None:
    assert nas.searches.answer(search.id, bounds=[f"macs:le:{number}"]).headline
    list(nas.searches.candidates(search.id, bounds=[f"macs:ge:{number}"]))


def test_every_command_of_the_answer_works_as_printed(
    nas: Hilnas, url: str, search: SearchResource, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HILNAS_URL", url)
    monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
    for latency_us, status in ((1015.0, 0), (10.0, 1)):
        assert cli.main(["search", "answer", search.short_id, "--latency-us", str(latency_us)]) == status
        printed = capsys.readouterr().out
        answer = nas.searches.answer(search.id, latency_us=latency_us)
        assert answer.headline in " ".join(printed.split())
        assert answer.next_steps
        for step in answer.next_steps:
            assert step.command in printed
            assert cli.main(step.command.split()[1:]) == 0, step.command
        chosen = answer.ship or answer.nearest
        assert chosen is not None
        assert chosen.arch_id[:12] in capsys.readouterr().out


def test_names_numbers_and_parts_of_ids_stand_for_ids(nas: Hilnas, search: SearchResource) -> None:
    for reference in (search.short_id, "lat-1", search.id[5:], search.id[:28]):
        assert nas.searches.get(reference).id == search.id, reference
    second = next(one for one in nas.searches.candidates("lat-1") if one.seq == 2)
    assert second.short_id == f"{search.short_id}.2"
    for reference in (second.short_id, "lat-1.2", second.arch_id[:12], f"lat-1.{second.arch_id[:6]}"):
        assert nas.searches.candidate(reference).id == second.id, reference
    assert nas.devices.get("bench-1").name == "bench-1"
    found = list(nas.measurements.all({"arch_id": second.arch_id[:12]}))
    assert [one.arch_id for one in found] == [second.arch_id]


def test_documents_name_what_paths_name(world: World, nas: Hilnas, search: SearchResource) -> None:
    asked = latency_spec(name="named-start", warm_start={"search": "lat-1", "max_candidates": 2})
    made = nas.searches.create(asked)
    assert made.spec.warm_start is not None
    assert made.spec.warm_start.search == search.id
    by_part = nas.searches.validate({**asked, "warm_start": {"search": search.short_id}})
    assert by_part.valid, by_part
    unknown = nas.searches.validate({**asked, "warm_start": {"search": "lat-99"}})
    assert [one.pointer for one in unknown.violations] == ["/warm_start/search"]
    nas.searches.cancel(made.id)


def test_pages_are_found_by_names_and_numbers(url: str, nas: Hilnas, search: SearchResource) -> None:
    with httpx2.Client(base_url=url) as http:
        assert http.get("/searches/lat-1", headers={"Accept": "text/html"}).headers["location"].startswith("/login")
        http.post("/login", data={"token": ADMIN})
        for reference in ("lat-1", search.short_id, search.id):
            shown = http.get(f"/searches/{reference}")
            assert shown.status_code == 200
            assert f'data-search="{search.id}"' in shown.text, reference
        second = next(one for one in nas.searches.candidates("lat-1") if one.seq == 2)
        for reference in ("lat-1.2", second.short_id, second.arch_id[:12]):
            assert second.id in http.get(f"/candidates/{reference}").text, reference
        assert http.get("/searches/lat-98").status_code == 404


@pytest.mark.parametrize("name", ["my first, $HOME 'quoted' [/b]", "exp/lr=0.1 (é)", "探索 1", "..a", "50% #2?"])
def test_whatever_a_name_holds_it_names(
    url: str, nas: Hilnas, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HILNAS_URL", url)
    monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
    monkeypatch.setenv("COLUMNS", "120")
    made = nas.searches.create(latency_spec(name=name))
    assert cli.main(["search", "show", name]) == 0
    assert name in capsys.readouterr().out, "and is no markup"
    assert cli.main(["search", "front", name]) == 0
    assert "No candidate is complete." in capsys.readouterr().out
    assert nas.searches.get(name).id == made.id
    assert nas.searches.answer(name).ship is None
    page = nas.searches.candidates(name)
    assert list(page) == []
    with httpx2.Client(base_url=url, follow_redirects=True) as http:
        http.post("/login", data={"token": ADMIN})
        assert f'data-search="{made.id}"' in http.get(f"/searches/{quote(name, safe='')}").text
    with httpx2.Client(base_url=url) as http:
        sent = http.get(f"/searches/{quote(name, safe='')}", headers={"Accept": "text/html"}).headers["location"]
        assert unquote(unquote(sent.partition("next=")[2])) == f"/searches/{name}"
    assert nas.searches.cancel(name).desired_state.value == "cancelled"


def test_a_page_of_a_named_thing_links_to_the_next(world: World, url: str, nas: Hilnas) -> None:
    nas.searches.create(latency_spec(2, name="名/1"))
    world.step(GENOTYPES[:2])
    path = f"/api/v1/searches/{quote('名/1', safe='')}/candidates"
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {ADMIN}"}) as http:
        first = http.get(path, params={"page_size": 1})
        assert first.headers["link"].startswith(f"<{path}?")
        second = http.get(first.headers["link"].partition(">")[0][1:])
        assert [one["seq"] for one in second.json()["items"]] == [2]
    nas.searches.cancel("名/1")


def test_a_colon_of_a_name_is_told(nas: Hilnas) -> None:
    with pytest.raises(ValueError, match="'18:00' holds a colon, which no path takes: give the id of the search"):
        nas.searches.get("18:00")


def test_what_means_several_things_is_refused_with_what_it_may_mean(nas: Hilnas, search: SearchResource) -> None:
    first, second = (nas.searches.create(latency_spec(name="twice")) for _ in range(2))
    with pytest.raises(ConflictError, match="'twice' is more than one search") as refused:
        nas.searches.get("twice")
    assert refused.value.members["matches"] == [second.id, first.id]
    for made in (first, second):
        nas.searches.cancel(made.short_id)


def test_what_names_nothing_is_not_found_and_nobody_unknown_is_told_names(
    url: str, nas: Hilnas, search: SearchResource
) -> None:
    for reference in ("lat-2", "zzzzzzzz", "lat-1.99", "ab"):
        with pytest.raises(NotFoundError):
            nas.searches.get(reference)
    with Hilnas(url, "nas_wrong") as stranger, pytest.raises(Exception, match="refused the token"):
        stranger.searches.get("twice")
    with Hilnas(url, "nas_wrong") as stranger, pytest.raises(Exception, match="refused the token"):
        stranger.searches.create(latency_spec(warm_start={"search": "twice"}))
    for _ in range(2):
        nas.searches.create(latency_spec(name="of one name"))
    with pytest.raises(ConflictError, match="'of one name' is more than one search"):
        nas.searches.create(latency_spec(warm_start={"search": "of one name"}))


def test_what_noise_does_not_tell_apart_is_said_so(database: TestDatabase, tmp_path: Path) -> None:
    played = service_world.World(database, FileByteStore(tmp_path / "artifacts"))
    objectives = [{"metric": "top1"}, {"metric": "latency_us"}]
    device = played.enrol()
    asked = played.search(objectives=objectives, supernet=played.ready_supernet().id)
    done = service_world.run_to_end(played, device, asked)
    answer = Answers(played.uow, played.fronts).of_search(done.id)
    assert answer.ship is not None
    best = max(c.values[TOP1] for c in played.candidates(done))
    assert answer.ship.candidate.values[TOP1] == best
    tied = {one.candidate.id for one in answer.tied}
    for one in answer.compared:
        (difference,) = [d for d in one.differences if d.metric == TOP1]
        assert difference.interval.value >= 0
        assert (one.member.candidate.id in tied) == (not difference.interval.excludes_zero)
    said = " ".join(sentences(answer))
    assert ("cannot be told apart by validation accuracy" in said) == bool(tied)
    assert headline(answer).startswith("The best validation accuracy, whatever it costs on ")


def answers_of_the_first(accuracy: HeldOutAccuracy) -> CorrectAnswers:
    """As many right as the accuracy says, the first ones: who is better is right wherever the other is."""
    right = np.arange(accuracy.num_images) < round(accuracy.top1 * accuracy.num_images)
    found = CorrectAnswers.of([right], [np.arange(accuracy.num_images)])
    assert found is not None
    return found


@pytest.mark.parametrize("kept", ["of all", "of none", "of one"])
def test_accuracies_on_the_same_images_are_compared_image_by_image(
    database: TestDatabase, tmp_path: Path, kept: str
) -> None:
    played = service_world.World(database, FileByteStore(tmp_path / "artifacts"))
    played.worker.accuracy = lambda genotype: 0.5 + 0.04 * sum(genotype)
    if kept != "of none":
        played.worker.answers = answers_of_the_first
    objectives = [{"metric": "top1"}, {"metric": "latency_us"}]
    device = played.enrol()
    asked = played.search(objectives=objectives, supernet=played.ready_supernet().id)
    done = service_world.run_to_end(played, device, asked)
    if kept == "of one":  # the others were evaluated by a release that did not keep which images were right
        best = max(played.candidates(done), key=lambda one: one.values[TOP1])
        database.execute(
            "DELETE FROM evaluation_answers WHERE evaluation_id NOT IN "
            "(SELECT id FROM evaluations WHERE candidate_id = :id)",
            id=best.id,
        )
    # A bound on what is no objective: every candidate may be the best.
    bounds = [Constraint(MACS, maximum=1e12)]
    answer = Answers(played.uow, played.fronts).of_search(done.id, bounds)
    assert answer.ship is not None
    resource = answer_resource(answer, "measured")
    said = " ".join(resource.sentences)
    assert len(answer.compared) > 2
    for one, shown in zip(answer.compared, resource.compared, strict=True):
        (difference,) = [d for d in shown.differences if d.metric == "top1"]
        percents = round(100 * (answer.ship.candidate.values[TOP1] - one.member.candidate.values[TOP1]))
        assert difference.interval.value == pytest.approx(percents / 100)
        assert difference.is_paired == (kept == "of all")
        if kept == "of all":
            assert (difference.num_images, difference.num_only_shipped, difference.num_only_other) == (100, percents, 0)
            # 8 images of 100 that the other got wrong are more than noise where none lies the other way.
            assert (one.member in answer.tied) == (percents < 8)
        else:
            assert difference.num_images is None
            assert one.member in answer.tied, "two independent accuracies of 100 images differ by 13 % or by noise"
    if kept == "of all":
        assert "paired, image by image, on up to 100 images." in said
        assert "which is more than noise" in said
    else:
        assert "of independent values: which images each network got right is not known here" in said


@pytest.mark.parametrize("state", ["running", "paused", "cancelled"])
def test_each_next_step_of_a_search_without_latency_works_as_it_is_printed(
    world: World, url: str, state: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HILNAS_URL", url)
    monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
    with Hilnas(url, ADMIN) as nas:
        made = nas.searches.create(cheap_spec(2, name=f"no-latency-{state}"))
        if state == "paused":
            nas.searches.pause(made.id)
        if state == "cancelled":
            nas.searches.cancel(made.id)
        shown = nas.searches.get(made.id).state.value
        answer = nas.searches.answer(made.id)
        titles = [step.command.split()[2] for step in answer.next_steps]
        asked_to_follow = {"running": "follow", "queued": "follow", "draining": "follow", "paused": "resume"}
        assert titles == [*([asked_to_follow[shown]] if shown in asked_to_follow else []), "show"]
        assert cli.main(["search", "answer", made.id]) == ExitStatus.FAILED
        printed = capsys.readouterr().out
        assert cli.main(["search", "front", made.id]) == 0
        assert f"hilnas search show {made.id}" in capsys.readouterr().out
        for step in answer.next_steps:
            assert step.command in printed
            if "follow" not in step.command:  # which would wait for a worker
                assert cli.main(step.command.split()[1:]) == 0, step.command
        if not nas.searches.get(made.id).state.final:
            nas.searches.cancel(made.id)


def test_a_front_says_how_to_choose_from_it(
    url: str, search: SearchResource, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HILNAS_URL", url)
    monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
    assert cli.main(["search", "front", search.id]) == 0
    step = f"hilnas search answer {search.id}"
    assert step in capsys.readouterr().out
    assert cli.main(step.split()[1:]) == 0


def test_latencies_on_two_levels_are_said_to_be_so_wherever_they_are_shown(
    world: World,
    url: str,
    search: SearchResource,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HILNAS_URL", url)
    monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
    monkeypatch.setenv("COLUMNS", "300")
    two_levels = "UPDATE measurements SET ci95_low_us = p50_us - 200, ci95_high_us = p50_us + 10"
    world.process.uow.write(lambda tx: tx.connection.exec_driver_sql(two_levels))
    with Hilnas(url, ADMIN) as nas:
        for candidate in nas.searches.candidates(search.id):
            assert candidate.latency is not None
            assert candidate.latency.low_us == candidate.latency.p50_us - 200
            assert "on two levels" in candidate.latency.text
            assert "on two levels" in cells_of(candidate)["latency p50 [us]"]
            evaluations = nas.searches.evaluations(candidate.id)
            assert "on two levels" in next(one.text for one in evaluations if one.metric == "latency_us")
        front = nas.searches.front(search.id)
        assert "on two levels" in front_picture(front)
    for words in (
        ["search", "front", search.id],
        ["search", "candidates", search.id],
        ["search", "answer", search.id],
        ["search", "compare", search.id],
        ["candidates", "show", front.points[0].candidate.id],
    ):
        assert cli.main(words) == 0
        assert "on two levels" in capsys.readouterr().out, words
