"""Small real tasks made from the source code of Python's standard library, which is on every machine.

Each function returns records as (name, values); records with the same name go to the same split.
"""

import ast
import dataclasses
import io
import keyword
import re
import sysconfig
import tokenize
from collections.abc import Iterator
from typing import Any

from xfm.data.text import JUNK
from xfm.files import listing, share

Records = list[tuple[str, dict[str, Any]]]
MODULES = (
    "asyncio", "decimal", "email", "http", "importlib", "logging", "mailbox", "multiprocessing", "tarfile", "unittest",
    "urllib", "xml",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Function:
    """A function or class of the standard library.

    name: such as module.Class.function.  docstring: without indentation.  node: its syntax tree.
    """

    name: str
    docstring: str
    node: ast.AST

    @property
    def module(self) -> str:
        """The name of the top-level module, without a leading underscore or `_py`."""
        return self.name.partition(".")[0].removeprefix("_py").removeprefix("_")


def definitions() -> Iterator[Function]:
    """All functions and classes of the standard library that have a docstring; each distinct docstring once."""
    seen = set()
    for name, text in sources():
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path, node in _walk(tree, module):
            docstring = (ast.get_docstring(node) or "").strip()
            if len(docstring.split()) < 4 or docstring in seen:
                continue
            seen.add(docstring)
            yield Function(path, docstring, node)


def sources() -> Iterator[tuple[str, str]]:
    """The name and text of each source file of the standard library, sorted by name."""
    for file in listing(sysconfig.get_paths()["stdlib"], (".py",), JUNK, "skip"):
        try:
            yield file.name, file.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue


def _walk(node: ast.AST, path: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{path}.{child.name}", child
            yield from _walk(child, f"{path}.{child.name}")


def docstring_module() -> Records:
    """A classification task: which of MODULES a paragraph of a docstring comes from."""
    found = []
    for one in definitions():
        if one.module in MODULES:
            for paragraph in one.docstring.split("\n\n"):
                if len(paragraph.split()) >= 5:
                    found.append((one.name, {"text": " ".join(paragraph.split()), "label": one.module}))
    return found


def indentation() -> Records:
    """A classification task of pairs: whether the second of two consecutive lines of Python is indented deeper than the
    first, the same, or shallower. Both lines are given without their indents.
    """
    found, seen = [], set()
    for name, text in sources():
        if share(f"pairs of {name}") < 0.4 and "pydoc_data" not in name:
            lines = [line.expandtabs() for line in text.split("\n") if line.strip()]
            for pair in zip(lines[:-1:2], lines[1::2], strict=False):
                (a, b), first, second = (len(x) - len(x.lstrip()) for x in pair), *(x.strip() for x in pair)
                if max(len(first), len(second)) <= 60 and f"{first}{second}".isascii() and (first, second) not in seen:
                    seen.add((first, second))
                    label = "deeper" if b > a else "shallower" if b < a else "same"
                    found.append((name, {"first": first, "second": second, "label": label}))
    return found


def docstring_function() -> Records:
    """A retrieval task: the query is the first paragraph of a docstring, the positive its function's name in words."""
    return [(one.name, {"query": _sentence(one).lower(), "positive": _words(one.name)}) for one in _functions()]


def named_parameter() -> Records:
    """A question-answering task: the question is a sentence of a docstring that names one parameter, the context the
    source of its function, and the answer that parameter in the signature.
    """
    found = []
    for one in _functions():
        questions = list(_naming_one(one))
        if not questions:
            continue
        given = ast.unparse(one.node.args)
        head = f"def {one.node.name}("
        body = "\n".join(ast.unparse(statement) for statement in one.node.body[1:])
        context = f"{head}{given}):\n{body}"[:MOST].rstrip()
        for sentence, name in questions:
            start = len(head) + re.search(rf"\b{re.escape(name)}\b", given).start()
            if context[start : start + len(name)] == name:
                answer = {"text": name, "answer_start": start}
                found.append(
                    (one.name, {"question": " ".join(sentence.split()), "context": context, "answers": [answer]})
                )
    return found


def _naming_one(one: Function) -> Iterator[tuple[str, str]]:
    """The sentences of a docstring that name exactly one of the function's parameters, which are several; with it."""
    names = [a.arg for a in (*one.node.args.args, *one.node.args.kwonlyargs) if a.arg not in ("self", "cls")]
    if len(names) < 2:
        return
    for sentence in re.split(r"(?<=[.!?:])\s+|\n\n", one.docstring):
        named = [name for name in names if re.search(rf"\b{re.escape(name)}\b", sentence)]
        if len(named) == 1 and len(sentence.split()) >= 3:
            yield sentence, named[0]


MOST = 400  # characters of a function's source that a context keeps


def python_tokens() -> Records:
    """A tagging task: which words of a line of Python are a keyword, a name, a name being defined, a number, a string
    or a comment.

    Words are identifiers, numbers and punctuation marks; a string or comment of several words is one entity (IOB2).
    """
    found, seen = [], set()
    for name, text in sources():
        if share(f"lines of {name}") < 0.3:
            for words, tags in _lines(text):
                if 4 <= len(words) <= 40 and len({tag[2:] for tag in tags}) > 2 and tuple(words) not in seen:
                    seen.add(tuple(words))
                    found.append((name, {"tokens": words, "tags": tags}))
    return found[:8000]


def _lines(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """The words and their tags of each logical line."""
    words, tags, inside, before = [], [], 0, ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind = tokenize.tok_name[token.type]
            quoted = inside > 0 or kind == "STRING"
            if kind.endswith("STRING_START"):  # from Python 3.12 on an f-string is several tokens
                inside, begins = inside + 1, inside == 0
            else:
                begins = not inside
            if kind in ("NEWLINE", "NL", "INDENT", "DEDENT", "ENDMARKER", "ENCODING"):
                if kind == "NEWLINE":
                    yield words, tags
                    words, tags = [], []
                continue
            tag = _tag(kind, token.string, before, quoted or inside > 0)
            for i, word in enumerate(re.findall(r"\w+|[^\w\s]", token.string)):
                words.append(word)
                tags.append(tag and f"{'B' if begins and i == 0 else 'I'}-{tag}" or "O")
            inside -= kind.endswith("STRING_END")
            before = token.string
    except (tokenize.TokenError, SyntaxError):
        return


def _tag(kind: str, word: str, before: str, quoted: bool) -> str:
    if quoted:
        return "string"
    if kind == "NAME":
        return "keyword" if keyword.iskeyword(word) else "definition" if before in ("def", "class") else "name"
    return {"NUMBER": "number", "COMMENT": "comment"}.get(kind, "")


def _functions() -> Iterator[Function]:
    plain = (one for one in definitions() if isinstance(one.node, ast.FunctionDef))
    return (one for one in plain if not one.node.name.startswith("__"))


def _sentence(one: Function) -> str:
    """The docstring's first paragraph, on one line."""
    return " ".join(one.docstring.split("\n\n")[0].split())


def _words(name: str) -> str:
    """The words of a dotted name in lower case: "email.Message.get_payload" gives "email message get payload"."""
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)).lower()


LABELLED = {"docstring_module": docstring_module, "indentation": indentation}
TAGGED = {"python_tokens": python_tokens}
SPANS = {"named_parameter": named_parameter}
PAIRS = {"docstring_function": docstring_function}
