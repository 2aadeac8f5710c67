from __future__ import annotations

from string import Formatter
from typing import Any

import pytest

from trackyard.errors import DataError
from trackyard.feed import prompts
from trackyard.feed.points import PointFormat, count_of_answer, parse_points
from trackyard.feed.prompts import Dialogue, Scope, Wording, chance, write_dialogue
from trackyard.feed.styles import STYLES, Kind
from trackyard.feed.templates import CHOICE_TEMPLATES, LETTER, templates_of
from trackyard.row import Media, Row, Turn

EVALUATE = Wording(seed=0, point_format=PointFormat.HTML_V2, evaluation=True)
TRAIN = Wording(seed=0, point_format=PointFormat.HTML_V2)
STAGE1 = Wording(seed=0, point_format=PointFormat.HTML_V1, stage1=True)
IMAGE = Media(kind="image", data=b"", path="a.png", width=64, height=64)
POINT = {"media": 0, "t": 1, "id": 1, "x": 0.25, "y": 0.5, "occluded": False}


def row(task: str, *turns: str, meta: dict[str, Any] | None = None, id: str = "r") -> Row:
    roles = ["user", "assistant"] * len(turns)
    talk = tuple(Turn(role=role, content=text) for role, text in zip(roles, turns, strict=False))  # type: ignore[arg-type]
    return Row(id=id, task=task, media=(IMAGE,), conversations=(talk,), meta=meta or {})


def write(r: Row, wording: Wording = EVALUATE, scope: Scope = Scope(images=1), **options: Any) -> Dialogue:  # noqa: B008
    return write_dialogue(r, 0, "set", scope, wording, **options)


def test_given_text_is_used_and_tagged_styles_carry_their_name() -> None:
    assert write(row("vqa2", "What?", "A cat.")).turns == (("vqa2: What?", "A cat."),)
    assert write(row("user_qa", "What?", "A cat.", "Why?", "So.")).turns == (("What?", "A cat."), ("Why?", "So."))
    assert write(row("vqa2", "What?", "A.", "Why?", "So.")).turns == (("vqa2: What?", "A."), ("Why?", "So."))


def test_media_marks_leave_the_text() -> None:
    assert write(row("user_qa", "<|image|>\nWhat?", "A.")).turns[0][0] == "What?"
    bare = Row(id="r", task="user_qa", conversations=row("user_qa", "say <|image|> ", "A.").conversations)
    assert write(bare).turns[0][0] == "say <|image|> "


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_templated_style_has_eight_distinct_templates_with_known_keywords(style: str) -> None:
    templates = templates_of(STYLES[style])
    needs = STYLES[style].kind in (Kind.POINTS, Kind.TRACKS)
    assert len(set(templates)) == len(templates) >= 8 if needs or templates else not templates
    for template in templates:
        names = {name for _, name, _, _ in Formatter().parse(template) if name}
        assert names <= {"label", "fps", "input_points"}
        if needs:
            assert names & {"label", "input_points"}


def test_the_template_is_a_pure_function_of_seed_dataset_and_row() -> None:
    texts = {write(row("long_caption", "", "Text.", id=str(k)), TRAIN).turns[0][0] for k in range(100)}
    assert texts == set(templates_of(STYLES["long_caption"]))
    again = {write(row("long_caption", "", "Text.", id=str(k)), TRAIN).turns[0][0] for k in range(100)}
    assert again == texts
    assert write(row("long_caption", "", "Text.")).turns[0][0] == templates_of(STYLES["long_caption"])[0]


def test_multiple_choice_in_evaluation_form() -> None:
    meta = {"options": [["red", "blue"]], "answer_index": [1]}
    ((user, assistant),) = write(row("ai2_diagram", "Which?", "", meta=meta)).turns
    assert user == "Which?\nA. red\nB. blue\nAnswer with the letter of the right option only."
    assert assistant == "B"
    assert CHOICE_TEMPLATES[0][1] == LETTER
    answers = {write(row("ai2_diagram", "Which?", "", meta=meta, id=str(k)), TRAIN).turns[0][1] for k in range(60)}
    assert answers == {"B", "B. blue"}


def test_multiple_choice_refusals() -> None:
    many = {"options": [[str(k) for k in range(27)]], "answer_index": [0]}
    assert write(row("ai2_diagram", "Which?", "", meta=many)).reason == prompts.TOO_MANY_OPTIONS
    two = {"options": [["a", "b"]], "answer_index": [2]}
    with pytest.raises(DataError, match="answer_index 2"):
        write(row("ai2_diagram", "Which?", "", meta=two))
    assert write(row("ai2_diagram", "", "", meta={"options": [["a"]]})).reason == prompts.EMPTY_QUESTION


def test_stage1_captions_state_their_length() -> None:
    text = "x" * 1500
    lengths, plain = [], 0
    for k in range(400):
        tag = write(row("long_caption", "Describe.", text, id=str(k)), STAGE1).turns[0][0].removesuffix("Describe.")
        if tag == "long_caption: ":
            plain += 1
        else:
            lengths.append(int(tag.removeprefix("long_caption ").removesuffix(": ")))
    assert 20 <= plain <= 60, "one in ten is unconditioned"
    assert 98 <= sum(lengths) / len(lengths) <= 101
    assert len(set(lengths)) > 3, "the noise moves the stated length"
    assert all(n >= 0 for n in lengths)
    evaluated = Wording(seed=0, point_format=PointFormat.HTML_V1, stage1=True, evaluation=True)
    assert write(row("transcript", "Say.", text), evaluated).turns[0][0] == "transcript 65: Say."
    assert write(row("long_caption", "Describe.", text), TRAIN).turns[0][0] == "Describe."


def test_stage1_pointing_carries_its_style_and_stage2_does_not() -> None:
    meta = {"points": [[POINT]], "label": ["cups"]}
    assert write(row("pointing", "Point.", "", meta=meta), STAGE1).turns[0][0] == "pointing: Point."
    assert write(row("pointing", "Point.", "", meta=meta), TRAIN).turns[0][0] == "Point."


@pytest.mark.parametrize("style", sorted(name for name, s in STYLES.items() if s.kind in (Kind.POINTS, Kind.TRACKS)))
@pytest.mark.parametrize("wording", [TRAIN, STAGE1])
def test_a_gold_answer_of_every_point_style_reads_back(style: str, wording: Wording) -> None:
    points = [{**POINT, "t": t, "id": name, "x": x} for t, name, x in ((0, "a", 0.2), (1, "a", 0.3), (2, "a", 0.4))]
    meta = {"points": [points], "label": ["cups"], "sampling_fps": 2}
    dialogue = write(row(style, "", "", meta=meta), wording, Scope(start=0.0, end=10.0))
    assert dialogue.reason is None
    user, answer = dialogue.turns[0]
    kind = STYLES[style]
    if kind.kind is Kind.POINTS:
        assert count_of_answer(answer) == 3
    else:
        assert kind.track is not None
        assert [p.frame for p in parse_points(answer)] == ([0.0, 2.0] if kind.track.ends_only else [0.0, 1.0, 2.0])
        assert [(p.frame, p.x) for p in parse_points(user)] == ([(0.0, 0.2)] if kind.track.single else [])


def test_points_follow_the_clip_and_the_images_shown() -> None:
    points = [{**POINT, "t": t} for t in (1, 4, 6, 9)]
    meta = {"points": [points], "label": ["cups"]}
    dialogue = write(row("video_point", "", "", meta=meta), scope=Scope(start=4.0, end=8.0))
    assert [p.frame for p in parse_points(dialogue.turns[0][1])] == [0.0, 2.0]
    assert dialogue.hidden == 2
    images = write(row("multi_image_pointing", "", "", meta=meta), scope=Scope(images=5))
    assert [p.frame for p in parse_points(images.turns[0][1])] == [1, 4]
    assert images.hidden == 2


def test_reasons_are_stable() -> None:
    assert write(row("user_qa", "What?", " ")).reason == prompts.EMPTY_ANSWER
    assert write(row("user_qa", "", "A.")).reason == prompts.EMPTY_QUESTION
    assert write(row("user_qa", "What?", "A.", "More?")).reason == prompts.EMPTY_ANSWER
    points = {"points": [[POINT]]}
    assert write(row("pointing", "", "", meta=points)).reason == prompts.NO_LABEL
    track = {**points, "label": ["x"]}
    assert write(row("video_point_track_per_frame", "", "", meta=track)).reason == prompts.NO_RATE
    hidden = {"points": [[{**POINT, "occluded": True}]], "label": ["x"]}
    single = write(row("video_single_point_track_start_end", "", "", meta=hidden))
    assert single.reason == prompts.NO_OBJECT
    assert write(row("user_qa", "What?"), answered=False).turns == (("What?", ""),)


def test_meta_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"meta\.points"):
        write(row("pointing", "Point.", "", meta={"points": []}))
    with pytest.raises(DataError, match="roles"):
        write_dialogue(
            Row(id="r", task="x", conversations=((Turn(role="assistant", content="a"),),)), 0, "s", Scope(), EVALUATE
        )


def test_chance_is_uniform_and_independent_of_call_order() -> None:
    values = [chance(3, "purpose", "set", str(k)) for k in range(2000)]
    assert all(0 < value < 1 for value in values)
    assert abs(sum(values) / len(values) - 0.5) < 0.03
    assert values[7] == chance(3, "purpose", "set", "7")
    assert values[7] != chance(4, "purpose", "set", "7")


def test_braces_in_text_are_not_read_as_keywords() -> None:
    meta = {"options": [["{label}", "b"]], "answer_index": [0]}
    assert "{label}" in write(row("ai2_diagram", "What is {x}?", "", meta=meta)).turns[0][0]
