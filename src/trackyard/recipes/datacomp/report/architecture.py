"""The figure of the guide to the track: one picture, two ways into one sequence. Source: theworld spec sections 3 to 6.

    from trackyard.recipes.datacomp.report.architecture import FILE, architecture_figure
    (Path("docs/figures") / FILE).write_text(architecture_figure())

Sizes come from the code that the figure is about.
"""

from __future__ import annotations

from trackyard.feed.figure_drawing import Drawing
from trackyard.models.theworld.parameters import BOUNDARIES, WorldParameters, tokens_of

FILE = "theworld-architecture.svg"
LATENT = (16, 64, 64)
"""Channels, rows and columns of a latent at full size."""
WIDTH, SOFT = 2560, 256
"""Of Gemma 3 4B: of an embedding, and soft tokens of an image."""
TRAINED, FROZEN, SEEN = "#d1495b", "#5f6b7a", "#2f6fb5"


def architecture_figure() -> str:
    """The default branch at full size, as SVG."""
    tokens, features = tokens_of(WorldParameters().mode, LATENT)
    drawing = Drawing(900, 452, "One picture on two ways into the same sequence of a frozen language model")
    drawing.text(20, 26, "one picture, squashed to two squares: their cells coincide", style="head")
    _box(drawing, 20, 118, 96, "picture", ("upright, RGB,", "alpha on white"))
    drawing.line((118, 140), (136, 140), (136, 84), (152, 84), arrow=True)
    drawing.line((118, 170), (136, 170), (136, 230), (152, 230), arrow=True)

    _box(drawing, 156, 48, 118, "512 x 512", ("values in", "[-1, 1], fp32"))
    _arrow(drawing, 274, 84)
    _box(drawing, 298, 48, 118, "VAE encoder", ("frozen; once per", "picture, cached"), fill=FROZEN)
    _arrow(drawing, 416, 84)
    _box(drawing, 440, 48, 108, "latent", (" x ".join(map(str, LATENT)), "normalised, fp16"))
    _arrow(drawing, 548, 84)
    _box(drawing, 572, 48, 120, "rearranged", (f"{tokens} x {features:,}", "8 x 8 squares"))
    _arrow(drawing, 692, 84)
    layers = f"{features:,} - {WIDTH:,} - {WIDTH:,}"
    _box(drawing, 716, 48, 164, "projector", (layers, "gain x RMS norm; trained"), fill=TRAINED)

    _box(drawing, 156, 194, 118, "896 x 896", ("as Gemma reads", "pictures"))
    _arrow(drawing, 274, 230)
    _box(drawing, 298, 194, 250, "vision tower and its projector", ("frozen",), fill=FROZEN)
    _arrow(drawing, 548, 230)
    _box(drawing, 572, 194, 120, f"{SOFT} soft tokens", ("what Gemma", "sees by itself"))

    drawing.text(20, 308, "one sequence", style="head")
    parts = (
        ("", "user turn", 92, ""),
        (f"{SOFT}", "soft tokens", 176, SEEN),
        ("1", "start", 44, TRAINED),
        (f"{tokens}", "world tokens", 176, TRAINED),
        ("1", "end", 44, TRAINED),
        ("", "question", 128, ""),
        ("", "answer: the loss is here", 190, ""),
    )
    x = 20.0
    places = {}
    for count, words, width, colour in parts:
        drawing.rect(x, 322, width, 44, fill=colour, style="" if colour else "box")
        style = "on" if colour else ""
        drawing.text(x + width / 2, 342 if count else 349, count or words, style=style, anchor="middle")
        if count:
            drawing.text(x + width / 2, 358, words, style=f"small {style}", anchor="middle")
        places[words] = x + width / 2
        x += width + 2
    soft, world = places["soft tokens"], places["world tokens"]
    drawing.line((632, 268), (632, 282), (soft, 282), (soft, 318), arrow=True)
    drawing.line((798, 122), (798, 298), (world, 298), (world, 318), arrow=True)
    drawing.rect(20, 380, x - 22, 40, fill=FROZEN)
    drawing.text(
        (x - 2) / 2 + 9,
        405,
        "language model of Gemma 3, frozen: 34 layers, every 6th sees all",
        style="on",
        anchor="middle",
    )
    drawing.text(
        20,
        442,
        f"red: trained ({tokens + BOUNDARIES} tokens a picture); grey: frozen; blue: of the picture, by frozen parts",
        style="small faint",
    )
    return drawing.svg()


def _box(
    drawing: Drawing, x: float, y: float, width: float, head: str, lines: tuple[str, ...], *, fill: str = ""
) -> None:
    on = "on" if fill else ""
    drawing.rect(x, y, width, 74, fill=fill, style="" if fill else "box")
    drawing.text(x + width / 2, y + 25, head, style=on, anchor="middle")
    for number, line in enumerate(lines):
        drawing.text(x + width / 2, y + 45 + 15 * number, line, style=f"small {on or 'faint'}", anchor="middle")


def _arrow(drawing: Drawing, x: float, y: float) -> None:
    drawing.line((x + 3, y), (x + 21, y), arrow=True)
