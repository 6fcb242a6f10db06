"""The documentation builds, its links lead somewhere, nothing comes from elsewhere, and what it shows to type works."""

import ast
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from textwrap import dedent
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"^([ ]*)```(\w*)[^\n]*\n(.*?)^\1```[ ]*$", flags=re.M | re.S)
PLACES = re.compile(r"(?:^|[\s\"'(=])/(?:home|root|tmp|work|opt|usr|mnt|gpfs|Users)/", flags=re.M)
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "embed": "src", "object": "data"}
FETCHED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest", "prefetch"}


def loaded(path: Path):
    """A module of the documentation that no package holds."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(language: str, page: str | None = None) -> list[tuple[str, str]]:
    """(page, code) of the fenced blocks of a language, those inside tabs and lists too."""
    return [
        (str(path.relative_to(DOCS)), dedent(code))
        for path in PAGES
        if page is None or path.name == page
        for _, name, code in FENCE.findall(path.read_text(encoding="utf-8"))
        if name == language
    ]


def block(language: str, page: str, containing: str) -> str:
    (found,) = [code for _, code in blocks(language, page) if containing in code]
    return found


def commands() -> list[tuple[str, list[str]]]:
    """(page, words) of every line of a bash block that calls distillir."""
    lines = [(page, line) for page, code in blocks("bash") for line in code.replace("\\\n", " ").splitlines()]
    split = [(page, shlex.split(line, comments=True)) for page, line in lines if line.lstrip().startswith("distillir")]
    return [(page, words) for page, words in split if words]


class Page(HTMLParser):
    """What a built page loads, where it links to, and which anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if tag in LOADED and named.get(LOADED[tag]):
            self.fetched.append(named[LOADED[tag]])
        if tag == "link" and FETCHED_LINKS & set((named.get("rel") or "").split()):
            self.fetched.append(named["href"])
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        if named.get("id"):
            self.anchors.add(named["id"])
        self.classes |= set((named.get("class") or "").split())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site: its folder and its pages."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    return folder, pages


def test_every_page_is_built(site):
    folder, pages = site
    made = {path.relative_to(folder).with_suffix("").as_posix() for path in pages}
    assert made == {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES} | {"404"}
    assert not list(folder.rglob("*.py"))


def test_every_internal_link_leads_to_a_page_and_a_place_on_it(site):
    _, pages = site
    checked = 0
    for path, page in pages.items():
        if path.name == "404.html":  # served from any depth, so its links start at the root
            continue
        for link in page.links:
            url = urlsplit(link)
            if url.scheme:
                assert url.scheme in ("https", "mailto"), f"{path.name}: {link}"
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.name}: {link}"
            if url.fragment and target in pages:
                assert unquote(url.fragment) in pages[target].anchors | {"__skip", ""}, f"{path.name}: {link}"
            checked += 1
    assert checked > 500


def test_nothing_is_loaded_from_elsewhere(site):
    folder, pages = site
    for path, page in pages.items():
        assert page.fetched
        for source in page.fetched:
            url = urlsplit(source)
            assert not url.netloc, f"{path.name}: {source}"
            assert url.scheme in ("", "data"), f"{path.name}: {source}"
        # What the theme's script would fetch from elsewhere, it fetches for these classes only.
        assert not page.classes & {"mermaid", "giscus", "utterances"}, path.name
    sheets = list(folder.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", text), sheet.name
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["theme"]["font"] is False
    assert not {"analytics", "consent"} & set(settings.get("extra", {}))
    assert "repo_url" not in settings  # the theme would ask its host for stars


def test_no_page_names_a_folder_of_somebodys_machine(site):
    folder, _ = site
    for path in [*PAGES, *folder.rglob("*.html")]:
        found = PLACES.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.name}: {found[0]}"


def test_every_command_and_option_is_in_the_reference(site):
    folder, pages = site
    text = (folder / "reference" / "commands.html").read_text(encoding="utf-8")
    known = loaded(DOCS / "hooks" / "site.py").commands()
    assert {"quickstart", "train", "search", "doctor"} <= set(known)
    for name, command in known.items():
        place = f"distillir-{name.replace(' ', '-')}"
        assert place in pages[folder / "reference" / "commands.html"].anchors
        for option in [one for one in command.params if one.param_type_name == "option"]:
            assert all(f"<code>{flag}</code>" in text for flag in option.opts), f"{name} {option.opts}"


def test_sections_of_the_readme_are_taken_over(site):
    folder, _ = site
    text = (folder / "measured.html").read_text(encoding="utf-8")
    assert "<!-- readme" not in text
    assert "<td>untrained_gate</td>" in text
    with pytest.raises(ValueError, match="no section 'Nowhere'"):
        loaded(DOCS / "hooks" / "site.py").section("Nowhere")


def test_the_reference_documents_every_public_name(site):
    _, pages = site
    anchors = set().union(*(page.anchors for page in pages.values()))
    documented = {
        module
        for path in PAGES
        for module in re.findall(r"^::: ([\w.]+)$", path.read_text(encoding="utf-8"), flags=re.M)
    }
    packages = {path.parent.name for path in (ROOT / "src" / "distillir").glob("*/__init__.py")} - {"cli", "quickstart"}
    assert {f"distillir.{name}" for name in packages} <= documented
    for module in documented:
        if importlib.util.find_spec(module.rpartition(".")[0] or module).submodule_search_locations is None:
            continue  # a function inside a module, documented by itself
        package = importlib.import_module(module)
        for name in getattr(package, "__all__", ()):
            public = getattr(package, name)
            if inspect.isclass(public) or inspect.isfunction(public) or inspect.ismodule(public):
                # A function that bears its module's name is documented under both.
                assert {f"{module}.{name}", f"{module}.{name}.{name}"} & anchors, f"{module}.{name}"
    assert "distillir.search.Retriever.retrieve" in anchors


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda one: " ".join(one) if isinstance(one, list) else one)
def test_command_lines_parse(page, words):
    known = loaded(DOCS / "hooks" / "site.py").commands()
    words = words[1:]
    if "|" in words:
        words = words[: words.index("|")]
    name = max((name for name in known if words[: len(name.split())] == name.split()), key=len, default=None)
    assert name, f"{page}: no command {' '.join(words)}"
    known[name].make_context(name, words[len(name.split()) :])


@pytest.mark.parametrize(("page", "code"), blocks("python"), ids=lambda one: one.splitlines()[0][:40])
def test_python_blocks_compile(page, code):
    compile(code, page, "exec")


def test_json_and_yaml_blocks_are_read():
    for page, code in blocks("yaml"):
        assert isinstance(yaml.safe_load(code), dict), page
    for page, code in blocks("json"):
        for line in code.strip().splitlines() if re.search(r"\n[{\[]", code) else [code]:
            assert isinstance(json.loads(line), dict | list), page


def test_names_of_commands_and_options_in_the_text_exist():
    known = loaded(DOCS / "hooks" / "site.py").commands()
    first = {name.split()[0] for name in known} | {"COMMAND"}
    for path in PAGES:
        for called in re.findall(r"`distillir ([\w-]+)", path.read_text(encoding="utf-8")):
            assert called in first, f"{path.name}: distillir {called}"


def test_messages_are_the_programs_own():
    """What a page quotes as a message stands in the source, apart from what `…` stands for."""
    texts = {"Extra inputs are not permitted"}  # pydantic's
    for path in (ROOT / "src" / "distillir").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        texts |= {one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    source = "\n".join(texts)
    checked = 0
    for page, heading in (
        ("troubleshooting.md", "Messages"),
        ("choosing-a-model.md", "What is refused, and why"),
    ):
        part = (DOCS / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
        for cell in re.findall(r"^\| (`[^|]*`) \|", part, flags=re.M):
            for message in re.findall(r"`([^`]+)`", cell):
                for literal in re.split(r"\s*(?:…|→)\s*", message):
                    assert literal.strip(' "[]:') in source, f"{page}: {message}"
                checked += 1
    assert checked > 50


# What the guides show, run on a small folder


@pytest.fixture(scope="module")
def desk(animals, tmp_path_factory):
    """A folder with `docs/` in it, and what the pages find beside it."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "docs" / "guide").mkdir(parents=True)
    (folder / "docs" / "guide" / "buckets.md").write_text(
        "# Storage buckets\n\n## Create\n\nOpen the console and create a bucket. Its name is unique.\n\n"
        "## Delete\n\nTo delete a bucket, remove its objects, then press delete.\n",
        encoding="utf-8",
    )
    (folder / "docs" / "tigers.html").write_text("<h1>Tigers</h1><p>The tiger lives in forests.</p>", encoding="utf-8")
    animals(folder)
    (folder / "corpus.jsonl").rename(folder / "animals.jsonl")
    return folder


@pytest.fixture
def here(desk, monkeypatch):
    monkeypatch.chdir(desk)
    return desk


def run(code: str, names: dict | None = None) -> dict:
    names = {} if names is None else names
    exec(compile(code, "docs", "exec"), names)
    return names


def test_five_lines_of_the_first_page(here, capsys):
    names = run(block("python", "index.md", "from_documents"))
    names["retriever"].close()
    assert "guide/buckets.md#2" in capsys.readouterr().out


def test_your_documents_in_python(here, capsys):
    names = run(block("python", "your-documents.md", "hit.terms[:3]"))
    assert names["hits"][0].terms
    run(block("python", "your-documents.md", 'where["source"]'), names)
    only = names["retriever"].retrieve([{"role": "user", "content": "tiger bucket"}], where={"source": "tigers.html"})
    assert [hit.id for hit in only] == ["tigers.html#1"]
    names["retriever"].close()
    assert "guide/buckets.md [" in capsys.readouterr().out
    assert names["hits"][0].id == "guide/buckets.md#2"
    kept = run(block("python", "your-documents.md", 'folder="docs-index"'), names)["retriever"]
    kept.close()
    again = run(block("python", "your-documents.md", 'folder="docs-index"'), names)["retriever"]
    assert again.report.encoded == 0
    assert again.report.reused == len(again.index)
    again.close()
    assert "3 passages of 2 files" in capsys.readouterr().err


def test_your_documents_from_the_command_line(here, capsys, monkeypatch):
    from distillir import cli

    bash = [words for page, words in commands() if page == "your-documents.md" and "my-search" in " ".join(words)]
    assert [words[1] for words in bash] == ["init", "index", "search", "chat"]
    (here / "typed").write_text("how do i create a bucket\nand how do i delete it?\n", encoding="utf-8")
    for words in bash:
        with (here / "typed").open(encoding="utf-8") as typed, monkeypatch.context() as patch:
            patch.setattr(sys, "argv", words)
            patch.setattr(sys, "stdin", typed)
            with pytest.raises(SystemExit) as left:
                cli.main()
            assert not left.value.code, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "query terms by the turn they came from:" in shown
    assert "Delete" in shown


def test_the_context_of_your_documents_is_read(tmp_path):
    from distillir.data import read_contexts

    (tmp_path / "train.jsonl").write_text(block("json", "your-documents.md", '"rewrite"'), encoding="utf-8")
    (context,) = read_contexts(tmp_path / "train.jsonl")
    assert context.conversation.depth == 2
    assert context.rewrites
    assert context.relevant


def test_the_quickstarts_lines(here, animals, monkeypatch, capsys):
    from distillir.recipes import index_alone
    from distillir.recipes.recipe import SparseRecipe

    index_alone(SparseRecipe(out=here / "build/quickstart", corpus=here / "animals.jsonl"), quiet=True)
    run(block("python", "quickstart.md", "open_retriever"))
    capsys.readouterr()


def test_the_terms_by_turn_of_the_gate_page(capsys):
    run(block("python", "how-the-gate-works.md", "term_origins"))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("0 user [('del', ")
    assert "bucket" in "".join(shown[1:])


@pytest.fixture(scope="module")
def served(desk, tmp_path_factory):
    """The service of the page on serving, in a folder of its own: the folder and the service's address."""
    import httpx

    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(desk / "docs", folder / "docs")
    first, second, third = [words for page, words in commands() if page == "serving.md"][:3]
    assert (first[1], second[1], third[1]) == ("init", "index", "serve")
    environment = {**os.environ, "DISTILLIR_TOKEN": "", "PYTHONPATH": str(ROOT / "src")}
    for words in (first, second):
        program = [sys.executable, "-m", "distillir.cli", *words[1:]]
        subprocess.run(program, cwd=folder, env=environment, check=True, capture_output=True)
    program = [sys.executable, "-m", "distillir.cli", *third[1:], "--port", "0"]
    child = subprocess.Popen(program, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        url = next(line.split()[0] for line in child.stderr if line.startswith("http://"))
        for _ in range(200):
            try:
                httpx.get(f"{url}/readyz", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield folder, url
    finally:
        child.terminate()
        child.wait(20)
        child.stderr.close()


def test_the_request_of_the_serving_page(served):
    _, url = served
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    asked = block("bash", "serving.md", "curl -s").replace("http://127.0.0.1:8765", url)
    told = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout)["hits"][0]["id"] == "guide/buckets.md#2"


@pytest.mark.parametrize("package", ["langchain_core", "llama_index", "haystack"])
def test_the_frameworks_of_the_serving_page(served, package, monkeypatch):
    pytest.importorskip(package, reason=f"{package} is not installed")
    _, url = served
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    names = run(block("python", "serving.md", f"from {package}" if package != "langchain_core" else "langchain import")
                .replace("http://127.0.0.1:8765", url))  # fmt: skip
    found = names["documents"] if "documents" in names else names["retriever"].retrieve("how do i delete a bucket?")
    assert "guide/buckets.md" in str(found[0])


def test_the_shadow_of_the_serving_page(served, capsys, monkeypatch):
    import httpx

    folder, url = served
    brought = json.loads(block("json", "serving.md", '"rewrite"'))
    row = httpx.post(f"{url}/v1/search", json=brought, timeout=30, trust_env=False).raise_for_status().json()["request"]
    report = next(words for page, words in commands() if page == "serving.md" and words[1:3] == ["shadow", "report"])
    log = folder / "my-search" / "run.serving" / "shadow.jsonl"
    for _ in range(200):
        if log.exists() and log.read_text(encoding="utf-8").endswith("\n"):
            break
        time.sleep(0.05)
    assert json.loads(log.read_text(encoding="utf-8"))["request"] == row
    assert "delete" not in log.read_text(encoding="utf-8")  # no text of anybody
    assert called(report, folder, capsys, monkeypatch).startswith("May the rewriter be switched off?  ")


@pytest.mark.slow
def test_the_other_commands_of_the_serving_page(served, tmp_path, capsys, monkeypatch):
    """The export for onnxruntime, the calibration, and the documents for an engine; services were started above."""
    folder = shutil.copytree(served[0], tmp_path / "copy")  # the other one is being served
    question = {"role": "user", "content": "how do i delete a bucket"}
    wrong = {"role": "user", "content": "where do tigers live"}
    rows = [
        {"id": f"c{i}#1", "group": f"c{i}", "messages": [asked], "relevant": ["guide/buckets.md#2"]}
        for i, asked in enumerate([question, wrong] * 15)
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ran = []
    for words in [words for page, words in commands() if page == "serving.md"]:
        if words[1] in ("export-onnx", "export") or words[1:3] == ["shadow", "calibrate"]:
            given = ["--contexts", "chats.jsonl"] if words[1] != "export" else []
            more = ["-k", "1", "--risk", "0.9"] if words[1] == "shadow" else []
            ran.append(called([*words, *given, *more], folder, capsys, monkeypatch))
    assert "R@100" in ran[0]
    assert "threshold" in ran[1]
    assert "documents 3" in ran[2]


def called(words, folder, capsys, monkeypatch):
    """What a command prints."""
    from distillir import cli

    monkeypatch.chdir(folder)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            cli.main()
    shown = capsys.readouterr()
    assert not left.value.code, shown.err
    return shown.out


@pytest.mark.slow
def test_the_dense_recipe_runs(here, animals, capsys):
    shown = yaml.safe_load(block("yaml", "dense.md", "student: dense"))
    small = {"model": "splade-tiny", "corpus": "animals.jsonl", "training": {"max_steps": 2, "batch_size": 6}}
    (here / "dense.yaml").write_text(yaml.safe_dump(shown | small), encoding="utf-8")
    names = run(block("python", "dense.md", "run_dense"))
    assert len(names["hits"]) == 5
    assert len(capsys.readouterr().out.strip().splitlines()) == 1


def test_the_objectives_of_reranking_are_read_from_what_the_page_says(here):
    from distillir.recipes.rerank_recipe import RerankRecipe, read_rerank_recipe

    (here / "rerank.yaml").write_text(block("yaml", "reranking.md", "student: reranker"), encoding="utf-8")
    recipe = read_rerank_recipe(here / "rerank.yaml")
    recipe.check()
    text = (DOCS / "reranking.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+) \|$", text, flags=re.M))
    given = {
        "an order": {},
        "scores, `kind: scores`": {"kind": "scores"},
        "judgements": {},
    }
    for cell, options in given.items():
        for name in re.findall(r"`(\w+)`", rows[cell]):
            stage = {"objective": {name: {}}, "gold": "one"}
            RerankRecipe(**recipe.model_dump() | {"method": {**options, "stages": [stage]}}).check()
    by_rule = {"rank_to_score": "negative_rank", "stages": [{"objective": {"margin_mse": {}}}]}
    RerankRecipe(**recipe.model_dump() | {"method": by_rule}).check()
    by_scores = {"kind": "scores", "stages": [{"objective": {"ranknet": {"by": "scores"}}}]}
    RerankRecipe(**recipe.model_dump() | {"method": by_scores}).check()


@pytest.mark.slow
def test_the_reranking_recipe_runs(here):
    from distillir.data import read_contexts, write_run
    from distillir.recipes import read_rerank_recipe, run_rerank

    order = {c.id: {"otter-food": 2.0, "otter-home": 1.0} for c in read_contexts("train.jsonl")}
    write_run(here / "teacher.trec", order)
    shown = yaml.safe_load(block("yaml", "reranking.md", "student: reranker"))
    small = {"model": "splade-tiny", "corpus": "animals.jsonl", "retrievers": {"bm25": "bm25"}, "max_length": 32}
    small |= {"teacher_run": "teacher.trec", "passage_length": 24, "training": {"max_steps": 1, "accumulate": 1}}
    (here / "rerank.yaml").write_text(yaml.safe_dump(shown | small), encoding="utf-8")
    run_rerank(read_rerank_recipe("rerank.yaml"), quiet=True)
    assert run(block("python", "reranking.md", "load_reranker"))["scores"].shape == (2,)


def test_the_generative_recipe_of_the_page_learns_and_is_searched(here, tiny_writer, capsys):
    from distillir.recipes import GenerativeRecipe, read_generative_recipe, run_generative
    from distillir.recipes.generative_recipe import generative_preset

    shown = yaml.safe_load(block("yaml", "generative.md", "student: generative"))
    GenerativeRecipe.model_validate(shown).check()
    text = (DOCS / "generative.md").read_text(encoding="utf-8")
    table = text.split("| method | what it learns |")[1].split("\n\n")[0]
    names = re.findall(r"^\| `(\w+)`", table, flags=re.M)
    assert sorted(names) == ["dgr", "hard", "learn", "rank_gap"]
    assert all(generative_preset(name).learn.writes for name in names)
    small = {"model": str(tiny_writer), "corpus": "animals.jsonl", "crops": 0, "max_length": 32, "test": None}
    small |= {"method": "learn", "training": {"max_steps": 2, "lr": 0.01}, "smoothing": 0.1}
    (here / "dgr.yaml").write_text(yaml.safe_dump(shown | small), encoding="utf-8")
    run_generative(read_generative_recipe("dgr.yaml"), quiet=True)
    hits = run(block("python", "generative.md", "open_generative_retriever"))["retriever"].retrieve(
        [{"role": "user", "content": "where does the tiger live"}], k=3
    )
    assert hits
    written = run(block("python", "generative.md", "IdentifierProcessor"))["written"]
    assert written.shape[0] == 1


def test_the_method_is_one():
    from distillir.recipes import Method, presets
    from distillir.recipes.assemble import OBJECTIVES, OF_SHARES, PENALTIES, check_method
    from distillir.sampling import DRAWS

    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    check_method(Method.model_validate(yaml.safe_load(block("yaml", "methods.md", "teachers:"))["method"]))
    assert set(re.findall(r"`method: (\w+)`", text)) - {"dense"} == set(presets()) - {"dense"}
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+) \|$", text, flags=re.M))
    named = {kind: set(re.findall(r"`(\w+)`", rows[kind])) for kind in ("draws", "penalties")}
    assert named == {"draws": set(DRAWS), "penalties": {*PENALTIES, *OF_SHARES}}
    for name in OBJECTIVES:
        assert f"`{name}`" in text, name


# The picture


def test_the_picture_is_what_its_numbers_say():
    picture = loaded(DOCS / "pictures" / "turn_gate.py")
    found = json.loads((DOCS / "pictures" / "turn_gate.json").read_text(encoding="utf-8"))
    for theme in picture.THEMES:
        drawn = picture.draw(found, theme)
        assert drawn == (DOCS / "pictures" / f"turn_gate_{theme}.svg").read_text(encoding="utf-8")
        width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())
        places = re.findall(r'<text x="(\d+)" y="(\d+)"[^>]*>([^<]*)</text>', drawn)
        assert len(places) > 40
        for x, y, text in places:
            column = min(
                edge for edge in (picture.LEFT + 20, picture.LEFT + picture.COLUMN + 20, width) if edge > int(x)
            )
            assert int(x) + 8.6 * len(text) <= column, text  # generous: system fonts differ in width
            assert int(y) < height - 4, text


def test_the_run_behind_the_picture_still_gives_it():
    picture = loaded(DOCS / "pictures" / "turn_gate.py")
    kept = json.loads((DOCS / "pictures" / "turn_gate.json").read_text(encoding="utf-8"))
    found = picture.measure()
    for name, turns in kept.items():
        for ours, theirs in zip(found[name], turns, strict=True):
            assert dict(ours) == pytest.approx(dict(map(tuple, theirs)), abs=0.02)
    assert [len(turn) for turn in kept["with"]] == [12, 1, 0]  # what the page says of it
    assert [len(turn) for turn in kept["without"]] == [10, 27, 6]
