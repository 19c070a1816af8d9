"""A page as a reader sees it: its text, what it refers to, every element closed."""

from html.parser import HTMLParser


class Seen(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.sources, self.open, self.text = set(), [], [], [], ""

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found["id"]} if "id" in found else set()
        self.links += [found["href"]] if "href" in found else []
        self.sources += [found["src"]] if "src" in found else []
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def seen(text):
    found = Seen()
    found.feed(text)
    assert found.open == []
    return found
