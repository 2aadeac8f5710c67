from __future__ import annotations

import pytest

from trackyard.feed.points import CountOrder
from trackyard.feed.styles import STYLES, Kind, style_of

UNTAGGED = """user_qa demo text_sft correction_qa long_caption short_caption video_long_caption video_short_caption
video_transcript video_clip_caption_start_end video_frame_caption_timestamp pointing point_count cosyn_point
multi_image_pointing multi_image_counting multi_image_point_then_count multi_image_count_then_point video_point
video_point_count video_count video_count_point video_point_track_per_frame video_point_track_start_end
video_single_point_track_start_end a_okvqa_mc ai2_diagram science_qa multi_image_mc video_multiple_choice
video_multiple_choice_w_subtitle"""
TAGGED = """vqa2 text_vqa okvqa chart_qa doc_qa info_qa st_qa tally_qa a_okvqa_da tabwmp_da dv_qa figure_qa plot_qa
video_short_answer video_point_ground_start_end video_single_point_track_per_frame transcript something_new"""


def test_the_two_columns_of_section_7() -> None:
    assert {name for name in UNTAGGED.split() if style_of(name).tagged} == set()
    assert {name for name in TAGGED.split() if not style_of(name).tagged} == set()
    assert set(STYLES) <= {*UNTAGGED.split(), *TAGGED.split()}


def test_an_unknown_style_is_tagged_free_text() -> None:
    style = style_of("brand_new")
    assert (style.name, style.kind, style.tagged) == ("brand_new", Kind.TEXT, True)


@pytest.mark.parametrize(("n", "m", "weight"), [(16, 4, 0.25), (4, 1, 1.0), (400, 1, 0.1)])
def test_the_weights_of_section_10(n: int, m: int, weight: float) -> None:
    assert style_of("vqa2").weight(n, m) == pytest.approx(weight, abs=1e-12)


def test_fixed_weights_have_no_length_or_branch_term() -> None:
    assert style_of("video_long_caption").weight(400, 3) == 0.1
    for name in ("pointing", "point_count", "video_count_point", "video_point_ground_start_end"):
        assert style_of(name).weight(400, 3) == 0.2
    assert style_of("long_caption").fixed_weight is None
    assert style_of("video_count").fixed_weight is None, "a bare count points at nothing"


def test_kinds() -> None:
    assert style_of("multi_image_counting").count is CountOrder.COUNT_ONLY
    assert style_of("video_count_point").count is CountOrder.COUNT_THEN_POINT
    single = style_of("video_single_point_track_start_end").track
    assert single is not None
    assert single.single
    assert single.ends_only
