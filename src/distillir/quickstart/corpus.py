"""A document collection every Python installation carries: the standard library's own documentation strings.

One passage per module, class, function, method or property that has a docstring of its own. The id is the qualified
name (`csv.DictReader`, `pathlib.Path.rename`; built-ins stand without `builtins.`), the title is that name with its
signature, the text is the docstring.

The collection belongs to the interpreter that builds it: another Python version has other passages. For one
interpreter, order and content never change. Only the standard library is needed here, and nothing is downloaded.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import TypedDict

_REFERENCE = """
    builtins
    csv json configparser tomllib plistlib pickle shelve dbm sqlite3 struct codecs
    string re difflib textwrap unicodedata
    datetime calendar zoneinfo time sched
    collections collections.abc heapq bisect array weakref types copy pprint reprlib enum graphlib queue
    math decimal fractions random statistics
    itertools functools operator
    pathlib os.path os io fileinput stat filecmp tempfile glob fnmatch linecache shutil
    zlib gzip bz2 lzma zipfile tarfile
    hashlib hmac secrets
    argparse getopt logging logging.config logging.handlers getpass platform errno
    threading multiprocessing multiprocessing.pool multiprocessing.shared_memory
    concurrent.futures subprocess contextvars
    asyncio socket ssl selectors signal
    email email.message email.parser email.header email.utils
    email.mime.text email.mime.multipart mimetypes base64
    html html.parser xml.etree.ElementTree
    webbrowser urllib.request urllib.parse urllib.error
    http http.client http.server smtplib uuid
    socketserver ipaddress
    gettext locale shlex
    typing doctest unittest unittest.mock
    faulthandler pdb cProfile pstats timeit tracemalloc
    sys warnings dataclasses contextlib abc atexit traceback gc inspect
    runpy importlib importlib.util
    importlib.resources importlib.metadata
    ast keyword tokenize
"""
MODULES = tuple(_REFERENCE.split())
"""The documented public modules, in the order of the library reference.

Left out: modules that do something when imported (`antigravity`, `this`, `readline`), graphical ones (`tkinter`,
`turtle`, `idlelib`), those of one platform, those the language has since removed, its own test suite, and tools few
ask about (`mailbox`, `xml.dom`, `symtable`, …). A listed module that this interpreter was built without is skipped.
"""

OMITTED = re.compile(
    r"asyncio\.(Abstract|\w*(Watcher|Policy|Transport|Protocol|SelectorEventLoop)\b|EventLoop)|"
    r"decimal\.Context\.|ast\.[A-Z](?!ode)|pdb\.Pdb\.(?!do_)|logging\.config\.[A-Z]|typing\.ByteString|"
    r"urllib\.request\.(Fancy)?URLopener|http\.server\.CGI|tarfile\.TarInfo\.(create_|from)|"
    r"os\.(W|sched_|get\w*[gu]id|set\w*[gpsu]id|posix_|eventfd|pidfd|timerfd|statvfs_result|struct_|stat_result|grantpt)"
)
"""Names left out although exported: those that repeat a neighbour (`decimal.Context.add` beside `decimal.Decimal`'s own
methods), serve subclasses inside the library, name one syntax node or one system call each, or are on their way out."""

MAX_CHARACTERS = 1200
"""A longer docstring keeps its beginning, up to the last paragraph, line or word that fits."""

MIN_WORDS = 4
"""A shorter docstring ("Return self.") says nothing that its name does not."""

_GENERIC = re.compile(
    r"Alias for field number \d+|An enumeration\.|Initialize self\.  See help|Create and return a new object|"
    r"A collection of name/value pairs|A generic version of"
)
_SIMPLE_DEFAULTS = (type(None), bool, int, float, str, bytes)


class Passage(TypedDict):
    """One entry of the collection."""

    id: str
    title: str
    text: str


def standard_library() -> Iterator[Passage]:
    """Yield the passages of the running interpreter's standard library, always in the same order.

    Modules come in the order of `MODULES`; a module's functions before its classes, either alphabetically, as are a
    class's members. A text that was already given under another name is not repeated, and neither are members
    inherited from another public class.

    Raises:
        ConfigError: Python runs with -OO, which removes every documentation string.
    """
    if sys.flags.optimize >= 2:
        from distillir.errors import ConfigError

        raise ConfigError("Python was started with -OO and has no documentation strings", "run it without -OO")
    seen: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules and names are documented, too
        modules = [(name, module) for name in MODULES if (module := _import(name)) is not None]
        public = {
            value
            for name, module in modules
            for exported, value in _public_names(name, module)
            if isinstance(value, type) and value.__name__ == exported
        }
        for name, module in modules:
            for passage in _module_passages(name, module, public):
                if passage["text"] not in seen and passage["id"] not in seen and not OMITTED.match(passage["id"]):
                    seen.update((passage["text"], passage["id"]))
                    yield passage


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _module_passages(module_name: str, module: ModuleType, public: set[type]) -> Iterator[Passage]:
    prefix = "" if module is sys.modules["builtins"] else f"{module_name}."
    if prefix:
        yield from _passage(module_name, module_name, module.__doc__)
    for name, value in _public_names(module_name, module):
        identifier = prefix + name
        if isinstance(value, type):
            yield from _passage(identifier, identifier + _signature(value), _class_doc(value))
            for member, described in _members(value, public):
                title = f"{identifier}.{member}" + _signature(described)
                yield from _passage(f"{identifier}.{member}", title, getattr(described, "__doc__", None))
        elif inspect.isroutine(value) or _has_own_doc(value):
            yield from _passage(identifier, identifier + _signature(value), value.__doc__)


def _public_names(module_name: str, module: ModuleType) -> list[tuple[str, object]]:
    """The names a module exports; without `__all__`, those it defines itself."""
    exported = getattr(module, "__all__", None)
    found = []
    for name in set(exported if exported is not None else vars(module)):
        value = getattr(module, name, None)
        if name.startswith("_") or value is None or isinstance(value, ModuleType):
            continue
        if exported is None and not _defined_in(value, module_name):
            continue
        found.append((name, value))
    return sorted(found, key=_precedence)


def _precedence(entry: tuple[str, object]) -> tuple[int, str]:
    """Functions, then classes, then classes under another name than their own.

    Of two names with one docstring the first stays: `random.choice` before `random.Random.choice`,
    `socket.socket.bind` before `socket.SocketType.bind`.
    """
    name, value = entry
    if not isinstance(value, type):
        return 0, name
    return (1 if value.__name__ == name else 2), name


def _defined_in(value: object, module_name: str) -> bool:
    home = getattr(value, "__module__", None)
    if module_name == "builtins":  # `open` says that it comes from `io`
        return isinstance(value, type) or inspect.isbuiltin(value)
    return isinstance(home, str) and (home in (module_name, f"_{module_name}") or home.startswith(f"{module_name}."))


def _has_own_doc(value: object) -> bool:
    """True for special forms such as `typing.Optional`; a constant only has the docstring of its type."""
    doc = getattr(value, "__doc__", None)
    return isinstance(doc, str) and doc != type(value).__doc__


def _members(cls: type, public: set[type]) -> list[tuple[str, object]]:
    """Public members the class defines, itself or through private bases such as `argparse._ActionsContainer`."""
    found: dict[str, object] = {}
    for base in cls.__mro__:
        if base is not cls and base in public:
            break
        for name, value in vars(base).items():
            described = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if (
                not name.startswith("_")
                and not isinstance(value, type)
                and (inspect.isroutine(described) or inspect.isdatadescriptor(described))
            ):
                # The bound form of a class method has the signature that callers see.
                found.setdefault(name, getattr(cls, name) if described is not value else described)
    return sorted(found.items())


def _class_doc(cls: type) -> str | None:
    """The class's own docstring, followed by its constructor's."""
    parts = [vars(cls).get("__doc__"), getattr(vars(cls).get("__init__"), "__doc__", None)]
    texts = [inspect.cleandoc(part) for part in parts if isinstance(part, str) and not _GENERIC.match(part.strip())]
    return "\n\n".join(dict.fromkeys(texts)) or None


def _signature(value: object) -> str:
    """`(path, mode='r', *, opener=...)`; empty when it cannot be inspected.

    Annotations are left out, and defaults other than plain values become `...`: their `repr` can hold an address.
    """
    if not callable(value):
        return ""
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):
        return ""
    parameters = [
        parameter.replace(annotation=parameter.empty, default=_plain(parameter))
        for parameter in signature.parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    return str(inspect.Signature(parameters, __validate_parameters__=False))


class _Ellipsis:
    def __repr__(self) -> str:
        return "..."


def _plain(parameter: inspect.Parameter) -> object:
    simple = parameter.default is parameter.empty or type(parameter.default) in _SIMPLE_DEFAULTS
    return parameter.default if simple else _Ellipsis()


def _passage(identifier: str, title: str, doc: object) -> Iterator[Passage]:
    if not isinstance(doc, str) or _GENERIC.match(doc.strip()):
        return
    text = _cut(inspect.cleandoc(doc).strip())
    if len(text.split()) >= MIN_WORDS:
        yield Passage(id=identifier, title=title, text=text)


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    head = text[: MAX_CHARACTERS + 1]
    for boundary in ("\n\n", "\n", " "):
        end = head.rfind(boundary)
        if end >= MAX_CHARACTERS // 2:
            return head[:end].rstrip()
    return head[:MAX_CHARACTERS]
