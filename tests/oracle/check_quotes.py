"""What real readers make of the names that src/base/quote.c writes: PyYAML (YAML 1.1), ruamel.yaml
where it is installed (YAML 1.2), Python's csv, and its XML and HTML parsers. C readers of the test
suite (tests/test_quote.c) go by the same rules; this shows that the rules are right.

usage: check_quotes.py BUILD_DIRECTORY
"""

import csv
import html.parser
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import yaml

try:
    import ruamel.yaml
except ImportError:
    ruamel = None


def names(border):
    program = sys.argv[1] + "/tests/quote_names"
    return subprocess.run([program, border], check=True, stdout=subprocess.PIPE).stdout.split(b"\0")[:-1]


class Attributes(html.parser.HTMLParser):
    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, attrs))


plain = names("list")
shown = [name.decode() for name in names("terminal")]
checked = 0

for name, text in zip(plain, names("yaml")):
    document = "first: 1\nname: " + text.decode() + "\nlast: 2\n"
    readers = [yaml.safe_load, lambda t: yaml.load(t, yaml.CSafeLoader)]
    if ruamel:
        readers.append(lambda t: ruamel.yaml.YAML(typ="safe", pure=True).load(t))
    for reader in readers:
        value = reader(document)
        assert list(value) == ["first", "name", "last"], (name, value)
        try:
            assert value["name"] == name.decode(), (name, value)
        except UnicodeDecodeError:
            assert "\ufffd" in value["name"], (name, value)
        checked += 1

for name, text in zip(plain, names("csv")):
    line = b"1," + text + b",2\r\n"
    rows = list(csv.reader(io.StringIO(line.decode(errors="surrogateescape"), newline="")))
    assert len(rows) == 1 and len(rows[0]) == 3, (name, rows)
    field = rows[0][1]
    if re.match("'+(\\s*[=+\\-@]|[\t\r\n]|\\s*[\uff1d\uff0b\uff0d\uff20])", field):
        field = field[1:]
    else:
        assert not re.match("\\s*[=@]|[\t\r\n]", field), (name, field)
    assert field.encode(errors="surrogateescape") == name, (name, field)
    checked += 1

for text, visible in zip(names("xml"), shown):
    document = "<a b=\"%s\" c='%s'>%s</a>" % ((text.decode(),) * 3)
    tree = ElementTree.fromstring(document)
    assert tree.attrib == {"b": visible, "c": visible}, (visible, tree.attrib)
    assert (tree.text or "") == visible and len(tree) == 0, (visible, tree.text)
    parser = Attributes()
    parser.seen = []
    parser.feed(document)
    assert parser.seen == [("a", [("b", visible), ("c", visible)])], (visible, parser.seen)
    checked += 1

print(f"{checked} readings of {len(plain)} names, all right; ruamel.yaml: {ruamel is not None}")
