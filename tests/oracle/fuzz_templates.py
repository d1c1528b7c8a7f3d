"""Templates generated from a grammar, rendered by apriel-tool's interpreter and by jinja2 as
transformers sets it up. Every text has to be the same, or the interpreter has to refuse.

    python tests/oracle/fuzz_templates.py build/tests/render_templates --count 2000 --seed 1
    python tests/oracle/fuzz_templates.py --golden 200 --seed 7 > tests/data/templates_generated.json

Not run by CI, which has the golden ones. Prints the differences and how many were refused, by
reason."""

import argparse
import collections
import json
import random
import re
import subprocess
import sys
import tempfile

import jinja_reference as reference

WORDS = ["a", "Bc", "user", "x y", "", " pad ", "\n", "naïve", "日本", "🙂", "it's", '"q"', "<b>", "A-b c",
         "1", "42", "3.5", "a,b,,c", "line\nline", "</think>", "tail</think>\n\nrest", "\t", "ÄÖ", "%", "{}"]
FIELDS = ["role", "content", "name", "missing", "n", "items", "tags", "meta"]
LISTS = ["numbers", "words", "messages", "mixed", "empty"]


def variables(rng):
    roles = ["system", "user", "assistant", "tool"]
    messages = []
    for i in range(rng.randint(0, 5)):
        message = {"role": rng.choice(roles), "content": rng.choice(WORDS)}
        if rng.random() < 0.3:
            message["n"] = rng.choice([0, 1, -3, 2.5, True, None, 10])
        if rng.random() < 0.3:
            message["tags"] = [rng.choice(WORDS) for _ in range(rng.randint(0, 3))]
        if rng.random() < 0.2:
            message["meta"] = {"k": rng.choice(WORDS), "b": False, "z": None, "a": [1, {"c": 0.5}]}
        if rng.random() < 0.1:
            message["content"] = [{"type": "text", "text": rng.choice(WORDS)}, {"type": "image"}]
        messages.append(message)
    return {
        "messages": messages,
        "numbers": [rng.randint(-5, 20) for _ in range(rng.randint(0, 6))],
        "words": [rng.choice(WORDS) for _ in range(rng.randint(0, 5))],
        "mixed": [1, "a", None, 2.5, True, [], {"k": 1}],
        "empty": [],
        "table": {"one": 1, "Two": "zwei", "three": [3], "four": {"x": None}},
        "s": rng.choice(WORDS),
        "t": rng.choice(WORDS),
        "i": rng.randint(-10, 30),
        "f": rng.choice([0.5, -1.25, 1e-7, 1e20, 3.0, 2.675]),
        "yes": True,
        "nothing": None,
        "tools": None,
        "add_generation_prompt": rng.random() < 0.5,
        "bos_token": "<s>",
        "eos_token": "</s>",
    }


class Grammar:
    def __init__(self, rng):
        self.rng = rng
        self.names = []  # of loops, sets and macros that may be in reach
        self.loops = 0
        self.macros = []
        self.namespaces = []

    def pick(self, *options):
        return self.rng.choice(options)

    def chance(self, p):
        return self.rng.random() < p

    def quoted(self, text=None):
        text = self.rng.choice(WORDS) if text is None else text
        quote = self.pick("'", '"')
        out = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
        if self.chance(0.7):
            out = out.replace("\n", "\\n").replace("\t", "\\t")
        return quote + out + quote

    def number(self):
        return self.pick("0", "1", "2", "3", "7", "10", "-1", "1.5", "0.1", "100", "2.0", "1_000", "1e3")

    def string(self, depth):
        """An expression that is mostly a text."""
        if depth <= 0:
            return self.pick("s", "t", self.quoted(), "bos_token", *self.names[-2:])
        kind = self.rng.randrange(18)
        one, two = lambda: self.string(depth - 1), lambda: self.postfix_string(depth - 1)
        if kind < 4:
            return f"{two()}|{self.text_filter()}"
        if kind < 7:
            return f"{two()}.{self.text_method()}"
        if kind < 9:
            return f"{one()} ~ {self.expression(depth - 1)}"
        if kind < 11:
            return f"({one()} + {one()})"
        if kind < 12:
            return f"{two()}[{self.slice()}]"
        if kind < 13:
            return f"({one()} if {self.condition(depth - 1)} else {one()})"
        if kind < 14:
            return f"({self.list(depth - 1)})|join({self.quoted()})"
        if kind < 15:
            return f"{self.postfix(depth - 1)}|string"
        if kind < 16:
            options = self.pick("", "(indent=2)", "(ensure_ascii=True)", "(separators=(',', ':'))", "(sort_keys=True)", "(2)")
            return f"{self.postfix(depth - 1)}|tojson{options}"
        if kind < 17:
            return f"{self.quoted(self.pick('%s', '%s-%s', '%d', '%05.2f', '%r', '%x', '%%', '%-5s|', '%+d'))} % {self.pick(self.number(), self.quoted(), '(1, 2)', '(s, i)', 'i', 'f')}"
        return f"{self.quoted(self.pick('{}', '{} {}', '{0}{0}', '{:>5}', '{:.2f}', '{{}}', '{:03d}', '{a}'))}.format({self.pick('s', 'i', 'f', 's, i', 'i, f', 'a=s')})"

    def postfix_string(self, depth):
        text = self.string(depth)
        return text if re.fullmatch(r"\w+|'[^'\\]*'|\"[^\"\\]*\"", text) else f"({text})"

    def postfix(self, depth):
        text = self.expression(depth)
        return text if re.fullmatch(r"\w+", text) else f"({text})"

    def slice(self):
        return self.pick("0", "-1", "1:", ":2", ":-1", "::-1", "1:3", "::2", "-3:", "5:1:-1", "i", ":i", "10", "i:")

    def text_filter(self):
        return self.pick("trim", "upper", "lower", "title", "capitalize", "length", "replace('a', 'b')",
                         f"replace({self.quoted()}, {self.quoted()})", "default('d')", "default('d', true)", "first",
                         "last", "reverse", "list", "string", "indent", "indent(2, true)", "indent(width=3, blank=True)",
                         "int", "float", "trim('a')", "e", "tojson", "wordcount", "truncate(5)", "center(9)", "safe",
                         "int(7)", "replace('', '.')", "unique|join", "sort|join('')", "truncate(4, true, '')", "d(1)",
                         "count", "escape", "batch(2)|list", "string|length")

    def text_method(self):
        return self.pick("strip()", "lstrip()", "rstrip()", "upper()", "lower()", "title()", "split()", "split(',')",
                         "split('</think>')[-1]", "split('</think>')[0]", "rsplit(',', 1)", "split(',', 1)",
                         "startswith('a')", "endswith('c')", "replace('a', 'bb')", "replace('a', '', 1)", "find('b')",
                         "rfind('b')", "count('a')", "splitlines()", "strip('a ')", "lstrip('\\n')", "rstrip('\\n')",
                         "capitalize()", "swapcase()", "isdigit()", "isalpha()", "isupper()", "islower()", "isspace()",
                         "zfill(5)", "center(8, '*')", "ljust(6)", "rjust(6, '.')", "partition(',')", "rpartition(',')",
                         "removeprefix('a')", "removesuffix('c')", "join(words)", "split(' ')|length", "foo", "index('a')",
                         "startswith(('a', 'B'))", "splitlines(true)", "rsplit()", "split(none, 1)", "isalnum()", "items")

    def list(self, depth):
        if depth <= 0:
            return self.pick(*LISTS, "[]", "[1, 2, 3]", "range(3)", "(1, 2)", "table", "range(5, 0, -2)")
        kind = self.rng.randrange(16)
        inner = self.list(depth - 1)
        inner = inner if re.fullmatch(r"\w+", inner) else f"({inner})"
        if kind < 3:
            return f"{inner}|{self.list_filter()}"
        if kind < 5:
            return f"{inner}[{self.pick('1:', ':-1', '::-1', ':2', '-2:', '::2', 'i:', '2:0:-1')}]"
        if kind < 6:
            return f"[{', '.join(self.expression(depth - 1) for _ in range(self.rng.randint(0, 3)))}]"
        if kind < 7:
            wanted = self.pick(self.quoted("user"), self.quoted("assistant"), "['user', 'tool']")
            return f"messages|selectattr('role', '{self.pick('equalto', '==', 'eq', 'ne', 'in', '!=')}', {wanted})|list"
        if kind < 8:
            test = self.pick("", "', 'defined", "', 'string", "', 'none")
            return f"messages|{self.pick('selectattr', 'rejectattr')}('{self.pick(*FIELDS)}{test}')|list"
        if kind < 9:
            return f"messages|map(attribute='{self.pick(*FIELDS)}'{self.pick('', ', default=0')})|list"
        if kind < 10:
            end = self.pick("list", "join", "join(',')", "first")
            return f"words|map('{self.pick('upper', 'trim', 'length', 'title', 'string', 'first', 'default', 'tojson')}')|{end}"
        if kind < 11:
            return f"numbers|{self.pick('select', 'reject')}('{self.pick('odd', 'even', 'divisibleby', 'gt', 'lt', '>=', 'number', 'in')}'{self.pick('', ', 3', ', 2')})|list"
        if kind < 12:
            return f"({inner} + {self.list(0)})"
        if kind < 13:
            return self.pick("table.items()", "table|items", "table|dictsort", "table.keys()|list", "table.values()|list", "table|list", "table|dictsort(true)", "table|dictsort(by='value')", "table.items()|list", "dict(a=1, b=s)|dictsort")
        if kind < 14:
            return f"{inner} * {self.pick('2', '0', '3', '-1')}"
        if kind < 15:
            return f"{self.postfix_string(depth - 1)}|list"
        return f"numbers|sort{self.pick('', '(reverse=true)', '(true)')}"

    def list_filter(self):
        return self.pick("list", "reverse|list", "sort", "unique|list", "first", "last", "length", "join", "join(', ')",
                         "map('string')|list", "select|list", "reject|list", "min", "max", "sum", "batch(2)|list",
                         "slice(2)|list", "string", "tojson", "count", "select('string')|list", "reject('none')|list",
                         "map('upper')|join('-')", "sort(case_sensitive=true)", "groupby(0)", "random_filter", "map('e')|list",
                         "map('tojson')|join(',')", "select('defined')|list|length", "join(',', attribute='role')",
                         "batch(3, 'x')|list", "first|string", "sum(start=10)", "map('int')|sum", "sort(attribute='role')|length")

    def condition(self, depth):
        if depth <= 0:
            return self.pick("yes", "not yes", "s", "numbers", "i > 3", "tools", "nothing is none", "x is defined", "add_generation_prompt")
        kind = self.rng.randrange(14)
        if kind < 3:
            return f"{self.expression(depth - 1)} {self.pick('==', '!=')} {self.expression(depth - 1)}"
        if kind < 5:
            return f"{self.arithmetic(depth - 1)} {self.pick('<', '>', '<=', '>=')} {self.arithmetic(depth - 1)}"
        if kind < 7:
            where = self.pick("s", "t", "words", "table", self.quoted(), "['a', 'user']")
            return f"{self.string(depth - 1)} {self.pick('in', 'not in')} {where}"
        if kind < 10:
            test = self.pick("defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true",
                             "false", "mapping", "iterable", "sequence", "odd", "even", "divisibleby 3", "in words",
                             "in ['a', 'b']", "eq 1", "equalto('a')", "ne 2", "lt 5", "gt 1", "upper", "lower", "sameas true",
                             "sameas none", "callable", "divisibleby(2)", "ge 2", "le 3", "filter", "test", "escaped")
            return f"{self.postfix(depth - 1)} is {self.pick('', 'not ')}{test}"
        if kind < 12:
            return f"({self.condition(depth - 1)} {self.pick('and', 'or')} {self.condition(depth - 1)})"
        if kind < 13:
            return f"not {self.postfix(depth - 1)}"
        return f"{self.number()} {self.pick('<', '<=', '==')} i {self.pick('<', '<=', '!=')} {self.number()}"

    def arithmetic(self, depth):
        if depth <= 0:
            return self.pick("i", "f", self.number(), "i", "yes", *(["loop.index", "loop.index0", "loop.length", "loop.revindex"] if self.loops else []))
        kind = self.rng.randrange(10)
        if kind < 6:
            return f"({self.arithmetic(depth - 1)} {self.pick('+', '-', '*', '/', '//', '%')} {self.arithmetic(depth - 1)})"
        if kind < 7:
            return self.pick(f"-{self.arithmetic(0)}", f"{self.arithmetic(0)} ** {self.pick('2', '3', '0', '-1', '0.5')}")
        if kind < 8:
            change = self.pick("round", "round(1)", "round(2, 'floor')", "round(method='ceil')", "abs", "int", "float", "round|int")
            return f"{self.pick('f', 'i', '2.675', '-1.5')}|{change}"
        if kind < 9:
            return f"{self.list(depth - 1)}|{self.pick('length', 'sum', 'count', 'min', 'max')}"
        return f"{self.postfix_string(depth - 1)}|{self.pick('length', 'int', 'float', 'int(default=5)', 'int(base=16)', 'float(default=1)')}"

    def access(self, depth):
        base = self.pick("messages[0]", "messages[-1]", "table", "m", "table.one", "nothing", "table['four']", "mixed[6]", "x")
        field = self.pick(*FIELDS, "one", "x", "k")
        return self.pick(f"{base}.{field}", f"{base}['{field}']", f"{base}.get('{field}')", f"{base}.get('{field}', {self.expression(0)})")

    def expression(self, depth):
        kind = self.rng.randrange(13)
        if kind < 4:
            return self.string(depth)
        if kind < 6:
            return self.arithmetic(depth)
        if kind < 7:
            return self.condition(depth) if depth else self.pick("yes", "false", "none")
        if kind < 9:
            return self.list(depth)
        if kind < 11:
            return self.access(depth)
        if kind < 12 and depth > 0:
            return "{" + ", ".join(f"{self.quoted()}: {self.expression(depth - 1)}" for _ in range(self.rng.randint(0, 3))) + "}"
        if self.macros and depth > 0:
            name, arguments = self.rng.choice(self.macros)
            given = [self.expression(depth - 1) for _ in range(self.rng.randint(0, arguments))]
            if arguments and self.chance(0.3):
                given.append(f"p{arguments - 1}={self.expression(depth - 1)}")
            return f"{name}({', '.join(given)})"
        if self.namespaces and self.chance(0.7):
            return f"{self.rng.choice(self.namespaces)}.{self.pick('a', 'b', 'seen')}"
        return self.pick("i", "s", *self.names[-3:], "undefined_name", *(["loop.first", "loop.last", "loop.previtem", "loop.nextitem", "loop.index"] if self.loops else []))

    def tag(self, inside):
        return "{%" + self.pick("", "", "-", "+" if self.chance(0.3) else "") + " " + inside + " " + self.pick("", "", "-", "+" if self.chance(0.3) else "") + "%}"

    def output(self, depth):
        return "{{" + self.pick("", "", "-") + " " + self.expression(depth) + " " + self.pick("", "", "-") + "}}"

    def text(self):
        return self.pick("text", " ", "\n", "\n  ", "  \n", "<|im_start|>", "a\n\nb", "\t", "", "}", "{ %", "日", "\r\n", "# x")

    def block(self, depth, room):
        return "".join(self.statement(depth, room - 1) for _ in range(self.rng.randint(1, 3)))

    def statement(self, depth, room):
        kind = self.rng.randrange(24)
        if room <= 0 or kind < 7:
            return self.text() + self.output(depth) + self.text()
        if kind < 10:
            parts = self.tag("if " + self.condition(depth)) + self.block(depth, room)
            while self.chance(0.3):
                parts += self.tag("elif " + self.condition(depth)) + self.block(depth, room)
            if self.chance(0.5):
                parts += self.tag("else") + self.block(depth, room)
            return parts + self.tag("endif")
        if kind < 15:
            return self.loop(depth, room)
        if kind < 17:
            name = self.pick("x", "y", "z", "content", "s")
            line = self.tag(f"set {name} = {self.expression(depth)}")
            self.names.append(name)
            return line
        if kind < 18:
            name = self.pick("ns", "state")
            if name not in self.namespaces:
                self.namespaces.append(name)
                return self.tag(f"set {name} = namespace({self.pick('', 'a=1', 'a=s, seen=false', 'b=[]')})")
            return self.tag(f"set {name}.{self.pick('a', 'b', 'seen')} = {self.expression(depth)}")
        if kind < 19:
            name = self.pick("x", "block", "y")
            line = self.tag(f"set {name}{self.pick('', '', ' | trim', ' | upper')}") + self.block(depth, room) + self.tag("endset")
            self.names.append(name)
            return line
        if kind < 20 and not self.loops:
            count = self.rng.randint(0, 3)
            name = self.pick("show", "render", "item")
            names = [f"p{j}" + (f"={self.expression(0)}" if j == count - 1 and self.chance(0.5) else "") for j in range(count)]
            kept, self.names = self.names, self.names + [f"p{j}" for j in range(count)]
            line = self.tag(f"macro {name}({', '.join(names)})") + self.block(depth, room) + self.pick("", "{{ varargs }}", "{{ kwargs }}", "{{ caller() if caller else '' }}") + self.tag("endmacro")
            self.names = kept
            self.macros.append((name, count))
            return line
        if kind < 21:
            return self.tag(f"with q = {self.expression(depth)}") + "{{ q }}" + self.block(depth, room) + self.tag("endwith")
        if kind < 22:
            return self.pick("{# comment #}", "{#- c -#}", "{% raw %}{{ raw }}{% endraw %}", "{%- raw -%} x {% y %} {%- endraw -%}", "  {# c #}\n", "{#+ c +#}\n")
        if kind < 23:
            return self.tag("filter " + self.pick("upper", "trim", "replace('a', 'b')", "indent", "length")) + self.block(depth, room) + self.tag("endfilter")
        if self.macros:
            name, count = self.rng.choice(self.macros)
            return self.tag(f"call {name}({', '.join(self.expression(0) for _ in range(count))})") + self.block(0, 1) + self.tag("endcall")
        return self.tag("generation") + self.block(depth, room) + self.tag("endgeneration")

    def loop(self, depth, room):
        name = self.pick("m", "x", "item")
        source = self.pick("messages", "messages", "numbers", "words", self.list(depth), "messages[1:]", "range(4)")
        head = f"for {name} in {source}"
        if self.chance(0.1):
            head, name = f"for k, v in {self.pick('table.items()', 'table|dictsort', 'table|items')}", "v"
        if self.chance(0.25):
            head += " if " + self.pick(name, f"{name} is defined", f"{name} != 3", f"{name}.role != 'system'", self.condition(0))
        kept = list(self.names)
        self.names.append(name)
        self.loops += 1
        body = self.block(depth, room)
        if self.chance(0.15):
            body += self.tag("if " + self.pick("loop.index > 2", "loop.last", self.condition(0))) + self.tag(self.pick("break", "continue")) + self.tag("endif") + self.text()
        self.loops -= 1
        self.names = kept
        if self.chance(0.15):
            body += self.tag("else") + self.block(depth, 1)
        return self.tag(head) + body + self.tag("endfor")

    def template(self):
        text = "".join(self.statement(self.rng.randint(0, 3), 3) for _ in range(self.rng.randint(1, 4)))
        return text + self.pick("", "\n", "\n\n")


def case(seed):
    rng = random.Random(seed)
    given = variables(rng)
    return {"template": Grammar(rng).template(), "variables": given}


def compare(program, cases):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(cases, file)
        file.flush()
        out = subprocess.run([program, file.name], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)


def golden(count, seed):
    """Cases that jinja2 can render, with its texts."""
    cases = []
    while len(cases) < count:
        seed += 1
        item = case(seed)
        text, error = reference.outcome(item["template"], item["variables"])
        if error is None and len(text) < 1500 and len(item["template"]) < 1500 and " at 0x" not in text:
            cases.append({**item, "text": text})
    return cases


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--golden", type=int)
    options = parser.parse_args()
    if options.golden:
        json.dump(golden(options.golden, options.seed * 1000003), sys.stdout, ensure_ascii=False, separators=(",", ":"))
        print()
        return
    cases = [case(options.seed * 1000003 + n) for n in range(options.count)]
    results = compare(options.program, cases)
    refused, different = collections.Counter(), []
    rendered = raised = addresses = 0
    for item, result in zip(cases, results):
        text, error = reference.outcome(item["template"], item["variables"])
        if error is None and re.search(r" at 0x[0-9a-f]+>", text):
            addresses += 1  # of Python's objects: no two runs print the same
            continue
        rendered += error is None
        if "error" in result:
            raised += error is not None
            if error is None:
                refused[re.sub(r'^"template": line \d+: ', "", result["error"])] += 1
        elif error is not None or text != result["text"]:
            different.append((item, result["text"], text, error))
    for item, ours, text, error in different[:10]:
        print("DIFFERENT", json.dumps(item, ensure_ascii=False), f"ours: {ours!r}", f"jinja2: {error or repr(text)}", sep="\n  ")
    for reason, times in refused.most_common(40):
        print(f"refused {times}: {reason}")
    print(f"{len(cases)} templates: jinja2 renders {rendered}; of these {sum(refused.values())} refused, "
          f"{len(different)} different; both raise in {raised}; {addresses} print addresses")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
