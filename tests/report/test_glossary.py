"""The glossary: one text for the document and the page."""

from pathlib import Path

from accelbench.report.glossary import TERMS, glossary_text, terms_used

DOCUMENT = Path(__file__).parents[2] / "docs/glossary.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == glossary_text(), "run `make schema`"


def test_each_name_is_explained_once() -> None:
    names = [name for term in TERMS for name in term.names]
    assert sorted(set(names)) == sorted(names)


def test_only_terms_that_a_text_uses_are_given() -> None:
    assert [term.title for term in terms_used("Rounds of an open loop; separately")] == ["round", "open loop"]
