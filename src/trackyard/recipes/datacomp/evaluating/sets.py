"""The sets of items by name. Source: theworld spec section 12.1."""

from __future__ import annotations

from collections.abc import Mapping

from trackyard.recipes.datacomp.evaluating.blink import Blink
from trackyard.recipes.datacomp.evaluating.captions import Captions
from trackyard.recipes.datacomp.evaluating.scoring import EvalSet
from trackyard.recipes.datacomp.evaluating.spatial import Spatial
from trackyard.recipes.datacomp.evaluating.vsr import Vsr

SETS: Mapping[str, EvalSet] = {each.name: each for each in (Blink(), Vsr(), Spatial(), Captions())}
