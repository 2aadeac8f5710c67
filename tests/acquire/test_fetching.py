"""What an entry takes is decided from the disk alone, and the decision is what is then done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire import fetching
from trackyard.acquire.fetching import Options, Step, bring, decide, give, rehearse, steps_of
from trackyard.acquire.files.manifest import FileManifest
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry, load_catalogue
from trackyard.errors import ConfigError, DataError, EnvironmentLacking

CATALOGUE = load_catalogue(Path(__file__).parents[2] / "catalog")
COMMIT = "0" * 40
MANUAL = {"page": "https://example.org/form", "steps": ["Fill it in."], "layout": ["train.json"]}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(hub=tmp_path / "hub", raw=tmp_path / "raw", data=tmp_path / "data")


def entry(name: str = "set", **values: Any) -> Entry:
    plain = {
        "name": name, "title": name, "roles": ["train"], "group": "g", "media": "image", "access": "auto",
        "recipe": {"kind": "embedded"},
    }  # fmt: skip
    return Entry.model_validate(plain | values)


HUB = entry(hub=[{"repo": "o/n", "revision": COMMIT}])
MOVING = entry(hub=[{"repo": "o/n"}])
BY_URL = entry(access="url", recipe={"kind": "urls", "url_column": "u"}, hub=[{"repo": "o/n"}])
PACKED = entry(recipe={"kind": "archives", "archives": [{"name": "a.zip", "url": "https://example.org/a.zip"}]})
BY_HAND = entry(access="manual", recipe={"kind": "manual"}, manual=MANUAL)
ASKS = entry(access="manual", recipe={"kind": "none"}, manual=MANUAL, needs=["other"])
BARE = entry(access="manual", recipe={"kind": "none"}, manual=MANUAL)
GONE = entry(access="none", notes=["Its publisher took it back."])


@pytest.mark.parametrize(
    ("what", "kinds"),
    [
        (HUB, ["repository"]), (BY_URL, ["repository", "images"]), (PACKED, ["archives"]), (BY_HAND, ["by hand"]),
        (ASKS, []), (BARE, ["by hand"]), (GONE, ["nowhere"]),
    ],
)  # fmt: skip
def test_the_steps_of_an_entry(places: Places, what: Entry, kinds: list[str]) -> None:
    steps = steps_of(what, places)
    assert [step.kind for step in steps] == kinds
    assert {step.state for step in steps} <= {"absent"}


def test_every_entry_of_the_catalogue_has_steps_or_all_from_others(places: Places) -> None:
    without = [name for name, entry in CATALOGUE.items() if not steps_of(entry, places)]
    assert all(CATALOGUE[name].needs for name in without), without
    assert not places.hub.exists()
    assert not places.raw.exists()


@settings(max_examples=50)
@given(name=st.sampled_from(sorted(CATALOGUE)), retry=st.booleans())
def test_a_rehearsal_on_an_empty_disk_decides_without_touching_it(
    tmp_path_factory: pytest.TempPathFactory, name: str, retry: bool
) -> None:
    root = tmp_path_factory.mktemp("empty")
    places = Places(hub=root / "hub", raw=root / "raw", data=root / "data")
    for step in steps_of(CATALOGUE[name], places):
        decision = rehearse(CATALOGUE[name], step, places, Options(retry_failed=retry))
        assert (decision.does == "stop") == (decision.problem is not None)
        assert (decision.does == "stop") == (step.kind in ("by hand", "nowhere"))
    assert list(root.iterdir()) == []


def step(kind: str, state: str = "absent", name: str = "set") -> Step:
    return Step(entry=name, kind=kind, what="w", target="t", bytes=None, state=state, detail="d")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "state", "retry", "does"),
    [
        (HUB, "absent", False, "fetch"), (HUB, "partial", False, "fetch"), (HUB, "complete", False, "nothing"),
        (MOVING, "complete", False, "compare"), (MOVING, "partial", False, "fetch"),
        (PACKED, "partial", False, "fetch"), (PACKED, "complete", False, "nothing"),
    ],
)  # fmt: skip
def test_decisions(places: Places, what: Entry, state: Any, retry: bool, does: str) -> None:
    (found,) = steps_of(what, places)
    found = Step(**{name: getattr(found, name) for name in Step.__slots__} | {"state": state})
    assert decide(what, found, places, Options(retry_failed=retry)).does == does


@pytest.mark.parametrize(
    ("state", "retry", "does"),
    [
        ("absent", False, "fetch"), ("absent", True, "fetch"), ("partial", False, "fetch"), ("partial", True, "retry"),
        ("complete", False, "nothing"), ("complete", True, "retry"),
    ],
)  # fmt: skip
def test_decisions_about_images(places: Places, state: str, retry: bool, does: str) -> None:
    assert decide(BY_URL, step("images", state), places, Options(retry_failed=retry)).does == does


def test_what_cannot_be_done_is_raised_as_it_was_decided(places: Places) -> None:
    for what, error, text in ((BY_HAND, EnvironmentLacking, "https://example.org/form"), (GONE, DataError, "took it")):
        (found,) = steps_of(what, places)
        problem = decide(what, found, places, Options()).problem
        assert problem is not None
        with pytest.raises(error, match=text) as caught:
            bring(what, found, places, Options())
        assert str(caught.value) == str(problem)


def test_what_lies_there_by_hand_is_counted_and_not_asked_for(places: Places) -> None:
    folder = places.raw / "set"
    folder.mkdir(parents=True)
    (folder / "train.json").write_text("[]")
    from trackyard.acquire.files.tree import manifest_of

    archives = [{"name": "x", "url": None}]
    made = manifest_of(folder, name="set", source={"entry": "set", "archives": archives})
    made.write(folder)
    (found,) = steps_of(BY_HAND, places)
    assert found.state == "complete"
    assert FileManifest.read(folder).files == made.files
    brought = bring(BY_HAND, found, places, Options())
    assert (brought.does, brought.files, brought.bytes) == ("nothing", 1, 2)


def test_offline_is_a_decision_too(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (found,) = steps_of(HUB, places)
    problem = decide(HUB, found, places, Options()).problem
    assert isinstance(problem, EnvironmentLacking)
    assert "HF_HUB_OFFLINE" in problem.what


def test_nothing_is_given_where_nothing_was_named() -> None:
    assert give([step("repository")], []) == {}


@given(states=st.lists(st.sampled_from(["absent", "partial", "complete"]), min_size=1, max_size=5))
def test_a_file_belongs_to_one_entry_and_a_folder_is_searched_for_all(
    tmp_path_factory: pytest.TempPathFactory, states: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("given")
    file = folder / "it is.zip"
    file.write_bytes(b"")
    steps = [step("by hand", state, f"set-{number}") for number, state in enumerate(states)]
    steps.append(step("repository", name="other"))
    waiting = [one.entry for one in steps[:-1] if one.state != "complete"] or [one.entry for one in steps[:-1]]
    assert give(steps, [folder]) == dict.fromkeys(waiting, (folder,))
    if len(waiting) == 1:
        assert give(steps, [file]) == {waiting[0]: (file,)}
        return
    with pytest.raises(ConfigError) as caught:
        give(steps, [file])
    assert f"trackyard data fetch {waiting[0]} --archive '{file}'" in caught.value.fix
    assert all(name in caught.value.what for name in waiting)


def test_warnings_of_a_list_are_handed_on(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    from trackyard.acquire.images.fetch import ImagesReport

    report = ImagesReport(counts={"ok": 3}, repeated=0, files=3, bytes=30, warnings=("acceptance 40.0 %",))
    monkeypatch.setattr(fetching, "fetch_images", lambda *_, **__: report)
    brought = bring(BY_URL, step("images"), places, Options())
    assert (brought.warnings, brought.counts, brought.does) == (report.warnings, {"ok": 3}, "fetch")
