"""Contractions whose apostrophe an answer may lack, as the official VQA code corrects them.

The official table has a line for every spelling. All of them follow from the right spellings: a key is the right form
with one apostrophe left out, so that `shouldn't've` is meant by `shouldnt've` and `shouldn'tve`, but not by
`shouldntve`. Lines of the table that never act are left out: keys in capitals, which lower-cased text does not hold
(I'm, I've), and those that stand for themselves (let's, she's). Source: VQA evaluation code, `vqaEval.py`.
"""

from __future__ import annotations

_RIGHT = """
ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't oughtn't shan't
shouldn't wasn't weren't won't wouldn't

could've might've must've not've should've they've we've what've where've who've would've you've

couldn't've hadn't've mightn't've shouldn't've wouldn't've he'd've it'd've she'd've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've you'd've y'all'd've

he'd how'd it'd someone'd something'd there'd they'd where'd who'd you'd
how'll it'll somebody'll someone'll something'll they'll what'll who'll why'll you'll y'all'll
there're they're what're why're you're
he's how's somebody's someone's that's there's what's when's where's who's why's

ma'am o'clock 'ow's'at 'twas y'all
"""


def _without_one_apostrophe(right: str) -> list[str]:
    return [right[:at] + right[at + 1 :] for at, character in enumerate(right) if character == "'"]


CONTRACTIONS = {wrong: right for right in _RIGHT.split() for wrong in _without_one_apostrophe(right)} | {
    # The wrong way round in the official table, and kept so: scores are compared with published ones.
    "somebody'd": "somebodyd",
}
"""Right spelling by the spelling that lacks an apostrophe; lower case."""
