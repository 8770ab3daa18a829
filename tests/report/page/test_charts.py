"""The charts of the first screen: colours that are seen on their page, and texts that are text."""

import pytest

from accelbench.report.page.charts import DARK_PALETTE, ratio_chart, themed
from accelbench.report.plots.style import PALETTE, shades
from accelbench.report.summary import Summary

from ..test_sentences import LABELS, judged, row


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("page", "colour"),
    [
        *(("#ffffff", shade) for each in PALETTE for shade in (each, *shades(each, 4))),
        *(("#0d1117", each) for each in DARK_PALETTE),
    ],
)
def test_every_colour_has_a_contrast_of_three_to_one(page: str, colour: str) -> None:
    lighter, darker = sorted((luminance(page), luminance(colour)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_other_colours_are_lifted_on_a_dark_page_and_texts_stay() -> None:
    assert themed("fill: #3f5873; ") == "fill: color-mix(in srgb, #3f5873, white var(--lift)); "
    assert themed("<text>issue #0072b2</text>") == "<text>issue #0072b2</text>"


def test_the_house_colours_become_variables_of_the_page() -> None:
    assert themed(f"fill: {PALETTE[1]}; stroke: #1f2328; fill: #ffffff") == (
        "fill: var(--c1); stroke: var(--ink); fill: var(--page)"
    )


def test_a_ratio_stands_beside_its_load_and_many_are_cut() -> None:
    found = [judged(name, cell=f"c{n}") for n in range(6) for name in ("b", "c")]
    rows = [row(name, f"c{n}", concurrency=2**n) for n in range(6) for name in "abc"]
    few, many = (
        ratio_chart(Summary("t", [], [], [], rows, LABELS | {"c": "<b>"}, {}, {}, judged=own))
        for own in (found[:1], found)
    )
    assert few and "Beta ÷ Alpha" in few and "1 at a time, E2E" in few
    assert many and "3 more below" in many and "16 at a time" in many and "<b>" not in many
    assert ratio_chart(Summary("t", [], [], [], rows, LABELS, {}, {})) is None
