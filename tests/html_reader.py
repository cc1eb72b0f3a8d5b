"""Reading a page as a browser would: its texts, its tables, and where its pictures come from."""

import base64
from html.parser import HTMLParser

VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Parses a page; elements have to nest, and all of it has to be in the one file.

    Attributes:
        texts: of all elements, as they are read.
        tables: rows of cells, by the heading above the table.
        pictures: contents of PNG files, by the texts that stand for them.
        tags: of all elements.
    """

    def __init__(self, html):
        super().__init__()
        self.open, self.texts, self.tags = [], [], set()
        self.tables, self.pictures = {}, {}
        self.heading = ""
        self.feed(html)
        self.close()
        assert not self.open

    @property
    def text(self):
        return " ".join(self.texts)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables[self.heading] = []
        elif tag == "tr":
            self.tables[self.heading].append([])
        elif tag in ("td", "th"):
            self.tables[self.heading][-1].append("")
        for source in (attributes.get("src"), attributes.get("href")):
            if source is not None:
                kind, _, data = source.partition("base64,")
                assert kind == "data:image/png;", "it is self-contained"
                self.pictures[attributes["alt"]] = base64.b64decode(data, validate=True)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        text = data.strip()
        if not text:
            return
        self.texts.append(text)
        if self.open[-1] == "h2":
            self.heading = text
        elif self.open[-1] in ("td", "th"):
            self.tables[self.heading][-1][-1] += text
