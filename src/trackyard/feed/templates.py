"""Wordings of prompts, at least eight for each style that has any; the first is the one of evaluation.

Source: molmo2 spec section 7. A wording says what the answer holds, so that styles without a tag stay distinguishable.
"""

from __future__ import annotations

from trackyard.feed.points import CountOrder
from trackyard.feed.styles import Kind, Style, TrackTask

_CAPTIONS = {
    "long_caption": (
        "Describe this image in detail.",
        "Write a long and careful description of the image.",
        "What can be seen here? Mention every detail you notice.",
        "Give a thorough caption for this picture.",
        "Explain the image to someone who cannot see it, leaving nothing out.",
        "Go through the picture and describe all of its parts.",
        "Provide an exhaustive description of what is shown.",
        "Tell me everything about this image.",
    ),
    "short_caption": (
        "Describe this image in one sentence.",
        "Write a short caption for the image.",
        "Sum up the picture briefly.",
        "What is this a picture of? Be brief.",
        "Give a one-line description of the image.",
        "Caption this in a few words.",
        "In short, what does the image show?",
        "Provide a concise caption.",
    ),
    "transcript": (
        "Describe this image as if speaking aloud.",
        "Talk me through the image.",
        "Say in your own spoken words what you see.",
        "Imagine you are on the phone: tell the listener about this picture.",
        "Give a spoken-style description of the image.",
        "Narrate what is in the picture.",
        "Speak freely about what the image shows.",
        "Tell me, the way you would in conversation, what is here.",
    ),
    "video_long_caption": (
        "Describe this video in detail.",
        "Write a long description of what happens in the video, from start to end.",
        "Recount everything that can be seen in this clip.",
        "Give a thorough caption of the video.",
        "Explain the video to someone who cannot watch it.",
        "What happens in this video? Leave out no detail.",
        "Provide an exhaustive account of the clip.",
        "Go through the video and describe its scenes, actions and objects.",
    ),
    "video_short_caption": (
        "Describe this video in one sentence.",
        "Write a short caption for the video.",
        "Sum up the clip briefly.",
        "What is this video about? Be brief.",
        "Give a one-line description of the video.",
        "Caption this clip in a few words.",
        "In short, what happens in the video?",
        "Provide a concise caption of the clip.",
    ),
    "video_transcript": (
        "Write down what is said in this video.",
        "Transcribe the speech of the video.",
        "What do the people in the clip say?",
        "Give the spoken words of this video as text.",
        "Provide a transcript of the clip.",
        "Put the narration of the video into writing.",
        "List the words spoken in this video, in order.",
        "Turn the speech in the clip into text.",
    ),
}

_POINT = (
    "Point to {label}.",
    "Point at every instance of {label}.",
    "Where can I find {label}? Point to each.",
    "Show me all {label} by pointing.",
    "Mark the position of {label} with points.",
    "Locate {label} and answer with points.",
    "Put a point on each of these: {label}.",
    "Find {label}; give one point for each.",
)

_COUNTS = {
    CountOrder.POINT_THEN_COUNT: (
        "Point to each of {label}, then say how many there are.",
        "Count {label} by pointing at them first.",
        "How many {label} are there? Point first, then give the total.",
        "Mark every {label} with a point and finish with the number.",
        "Locate {label} one by one and then state the total.",
        "Go over {label} with points, then count them.",
        "Show all {label} as points before telling me how many you found.",
        "Point out {label} and conclude with their count.",
    ),
    CountOrder.COUNT_THEN_POINT: (
        "Say how many {label} there are, then point to them.",
        "Count {label}, and after the number show where they are.",
        "How many {label} are there? Give the total first, then points.",
        "State the number of {label} and then mark each one.",
        "First the count of {label}, then their positions.",
        "Tell me the total of {label} before pointing at each.",
        "Give the number of {label} and follow it with points.",
        "Begin with how many {label} you see, and then locate them.",
    ),
    CountOrder.COUNT_ONLY: (
        "How many {label} are there? Answer with a number only.",
        "Give just the number of {label}.",
        "Count {label} and reply with one integer.",
        "What is the total of {label}? Only the number, please.",
        "State how many {label} you see, as a bare number.",
        "Reply with nothing but the count of {label}.",
        "Number of {label}:",
        "As a single integer, how many {label} appear?",
    ),
}

_TRACKS = {
    TrackTask.PER_FRAME: (
        "Track {label} at {fps} fps.",
        "Follow {label} through the video, {fps} times per second.",
        "Give the position of {label} at {fps} frames per second.",
        "At a rate of {fps} fps, point to {label} in every frame where they are visible.",
        "Where is {label} over time? Sample at {fps} fps.",
        "Trace each {label} through the clip with {fps} points a second.",
        "Report tracks of {label}, sampled at {fps} fps.",
        "Keep pointing at {label} as the video plays, at {fps} fps.",
    ),
    TrackTask.START_END: (
        "Point to {label} where they first appear and where they are last seen.",
        "Give the first and the last position of each of {label}.",
        "When and where does {label} appear first, and when last?",
        "Mark the start and the end of every track of {label}.",
        "Ground {label} in the video: first and last sighting.",
        "For each of {label}, point at the earliest and the latest moment it is visible.",
        "Show only where {label} enters and where it leaves.",
        "Locate {label} at the beginning and at the end of its appearance.",
    ),
    TrackTask.SINGLE_PER_FRAME: (
        "Track the object at {input_points} at {fps} fps.",
        "Follow what is marked by {input_points}, {fps} times per second.",
        "Starting from {input_points}, give the object's position at {fps} fps.",
        "Here is an object: {input_points}. Trace it through the video at {fps} fps.",
        "Where does the object at {input_points} go? Sample at {fps} frames per second.",
        "Keep pointing at the object given by {input_points}, at {fps} fps.",
        "Given {input_points}, report the track of this object at {fps} fps.",
        "With {fps} points a second, follow the thing at {input_points}.",
    ),
    TrackTask.SINGLE_START_END: (
        "Where is the object at {input_points} first and last seen?",
        "Give the first and the last position of what is marked by {input_points}.",
        "Starting from {input_points}, point at the object's start and end in the video.",
        "Here is an object: {input_points}. Mark where it appears and where it disappears.",
        "For the object at {input_points}, show only the two ends of its track.",
        "Locate the thing given by {input_points} at its earliest and latest moment.",
        "Given {input_points}, when and where does this object begin and end?",
        "Point to the beginning and the end of the track through {input_points}.",
    ),
}

LETTER = "{letter}"
LETTER_AND_TEXT = "{letter}. {option}"

CHOICE_TEMPLATES = (
    ("{question}\n{options}\nAnswer with the letter of the right option only.", LETTER),
    ("{question}\n{options}\nWhich letter is right?", LETTER),
    ("{question}\nPick one of these:\n{options}\nReply with its letter.", LETTER),
    ("Choose the right answer.\n{question}\n{options}\nGive the letter alone.", LETTER),
    ("{question}\n{options}\nSelect one option by its letter.", LETTER),
    ("Question: {question}\nOptions:\n{options}\nLetter of the answer:", LETTER),
    ("{question}\n{options}\nAnswer with the letter and the text of the right option.", LETTER_AND_TEXT),
    ("{question}\nThe possible answers are:\n{options}\nRepeat the right one with its letter.", LETTER_AND_TEXT),
)
"""(prompt, form of the answer): the prompt says which form is wanted."""


def templates_of(style: Style) -> tuple[str, ...]:
    """The wordings for a question that the row leaves open; none where only the row can know what is asked."""
    if style.track is not None:
        return _TRACKS[style.track]
    if style.count is not None:
        return _COUNTS[style.count]
    if style.kind is Kind.POINTS:
        return _POINT
    return _CAPTIONS.get(style.name, ())
