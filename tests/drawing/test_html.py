"""A page of tables and pictures: all of it is text, whatever it looks like."""

import pytest
from html_reader import Page as Parsed

from st_reid.drawing.html import Page, Table, render

EVIL = "<script>alert('x')</script> & \"y\""


def test_what_a_page_says():
    table = Table("Rows", ["name", "value"], [["a", 1], ["b", 0.5]], note="a note", filter=True)
    html = render(Page("A title", "A summary.", [table], {"More": "folded\naway"}), {"Picture": b"png"})
    page = Parsed(html)
    assert page.tables == {"Rows": [["name", "value"], ["a", "1"], ["b", "0.5"]]}
    assert page.pictures == {"Picture": b"png"}
    for text in ("A title", "A summary.", "a note", "folded\naway"):
        assert text in page.texts


def test_a_page_of_nothing_but_a_title():
    page = Parsed(render(Page("Title", "Summary"), {}))
    assert (page.tables, page.pictures) == ({}, {})


@pytest.mark.parametrize("where", ["title", "summary", "table", "column", "cell", "note", "detail", "picture"])
def test_nothing_in_it_is_taken_for_html(where):
    said = {name: EVIL if name == where else "plain" for name in ("title", "summary", "table", "column", "cell")}
    said |= {name: EVIL if name == where else "plain" for name in ("note", "detail", "picture")}
    table = Table(said["table"], [said["column"]], [[said["cell"]]], note=said["note"], filter=True)
    html = render(
        Page(said["title"], said["summary"], [table], {said["detail"]: said["detail"]}), {said["picture"]: b""}
    )
    page = Parsed(html)
    assert EVIL in page.texts
    assert html.count("<script>") == 1, "its own"
    assert "alert" not in html.rpartition("<script>")[2]
