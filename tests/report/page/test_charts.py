"""The charts of the first screen: colours that are seen on their page, and texts that are text."""

import pytest

from accelbench.report.page.charts import DARK_PALETTE, themed
from accelbench.report.plots.style import PALETTE


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("page", "colour"), [*(("#ffffff", each) for each in PALETTE), *(("#0d1117", each) for each in DARK_PALETTE)]
)
def test_every_colour_has_a_contrast_of_three_to_one(page: str, colour: str) -> None:
    lighter, darker = sorted((luminance(page), luminance(colour)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_the_house_colours_become_variables_of_the_page() -> None:
    assert themed(f"fill: {PALETTE[1]}; stroke: #1f2328; fill: #ffffff") == (
        "fill: var(--c1); stroke: var(--ink); fill: var(--page)"
    )
