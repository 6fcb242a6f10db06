"""The hand-written conversations: their loader, and that nobody wrote them with a template."""

import json
import re
from collections import Counter, defaultdict
from itertools import combinations

import pytest

from distillir.conversation import Conversation
from distillir.errors import DataError
from distillir.quickstart.chats import quickstart_turns, require_entries
from distillir.quickstart.corpus import standard_library

FUNCTION_WORDS = frozenset(
    """a all also an and any are as at back be been but by can could did do does each for from had has have here hm how
    i if in instead into is isn't it it's its just me more most my no not now of off ok on one ones only or other out
    over rather same should so than that the their them then there these they this those to too up want was were what
    when where which who whole why with without would yes you""".split()  # noqa: SIM905
)


@pytest.fixture(scope="module")
def turns():
    return quickstart_turns()


@pytest.fixture(scope="module")
def conversations(turns):
    grouped = defaultdict(list)
    for turn in turns:
        grouped[turn.group].append(turn)
    return dict(grouped)


def words(text):
    return re.findall(r"[a-z0-9_'’]+", text.lower())


def shape(question):
    """The question with every content word masked: what a template would leave."""
    return tuple(word if word in FUNCTION_WORDS else "_" for word in words(question))


def overlap(left, right):
    left, right = set(words(left)), set(words(right))
    return len(left & right) / len(left | right)


def test_sizes(turns, conversations):
    assert len(conversations) >= 60
    assert len(turns) >= 330
    assert {len(group) for group in conversations.values()} <= {4, 5, 6}
    sizes = Counter(group[0].split for group in conversations.values())
    assert sizes["train"] >= 40
    assert sizes["dev"] >= 8
    assert sizes["test"] >= 18
    assert 0.24 <= sizes["test"] / len(conversations) <= 0.32


def test_splits_are_disjoint_by_conversation(turns, conversations):
    assert all(len({turn.split for turn in group}) == 1 for group in conversations.values())
    assert sum(len(quickstart_turns(split)) for split in ("train", "dev", "test")) == len(turns)
    assert {turn.split for turn in quickstart_turns("dev")} == {"dev"}


def test_some_modules_of_test_were_never_seen_in_training():
    modules = {
        split: {entry.split(".")[0] for turn in quickstart_turns(split) for entry in turn.relevant}
        for split in ("train", "test")
    }
    assert len(modules["test"] - modules["train"]) >= 8
    assert len(modules["test"] & modules["train"]) >= 8
    assert len(modules["train"] | modules["test"]) >= 60


def test_every_relevant_entry_exists_in_this_interpreter(turns):
    entries = {passage["id"] for passage in standard_library()}
    require_entries(turns, entries)
    for turn in turns:
        assert 1 <= len(turn.relevant) <= 3
        assert len(set(turn.relevant)) == len(turn.relevant)


def test_a_missing_entry_is_refused_by_turn_and_name(turns):
    entries = {entry for turn in turns for entry in turn.relevant} - {"csv.Sniffer.sniff"}
    with pytest.raises(DataError, match=r"qs-001#3: csv\.Sniffer\.sniff"):
        require_entries(turns, entries)
    with pytest.raises(DataError, match=f"and {len(turns) - 5} more turns"):
        require_entries(turns, ())


def test_a_conversation_visits_several_entries(conversations):
    assert all(len({turn.relevant[0] for turn in group}) >= 2 for group in conversations.values())


def test_forms_of_follow_up(conversations):
    forms = Counter(turn.follow_up for group in conversations.values() for turn in group[1:])
    assert len(forms) >= 40
    assert "first" not in forms
    assert {group[0].follow_up for group in conversations.values()} == {"first"}
    assert max(forms.values()) / sum(forms.values()) < 0.1
    for needed in (
        "topic-switch-announced",
        "return-to-topic",
        "pick-second",
        "self-correction",
        "answer-clarification",
    ):
        assert needed in forms


def test_messages_are_the_history_with_answers_and_end_with_the_question(conversations):
    for group in conversations.values():
        for number, turn in enumerate(group, start=1):
            assert turn.id == f"{turn.group}#{number}"
            assert turn.depth == number
            assert [message["role"] for message in turn.messages] == ["user", "assistant"] * (number - 1) + ["user"]
            assert Conversation.from_messages(turn.messages, id=turn.id).turns[-1].content == turn.question
        assert group[-1].messages[: len(group[-2].messages)] == group[-2].messages
    first, second = conversations["qs-001"][:2]
    assert first.question == "how do i read a csv file row by row"
    assert second.messages[1]["content"].startswith("csv.reader takes an open file")
    assert second.relevant == ("csv.writer", "csv")


def test_no_question_is_asked_twice(turns):
    asked = Counter(" ".join(words(turn.question)) for turn in turns)
    assert "" not in asked
    assert [question for question, times in asked.items() if times > 1] == []


def test_the_shape_check_would_see_a_template():
    assert shape("How do I read a csv file?") == shape("how do I open a zip archive") == ("how", "do", "i", *"_a__")


def test_no_two_questions_were_cut_from_one_pattern(turns):
    shapes = defaultdict(list)
    for turn in turns:
        shapes[shape(turn.question)].append(turn.question)
    telling = {key: found for key, found in shapes.items() if sum(word != "_" for word in key) >= 3}
    assert len(telling) > 150
    assert [found for found in telling.values() if len(found) > 1] == []
    # Three or four bare words may fall alike by chance; longer ones hardly ever.
    assert max(len(found) for key, found in shapes.items() if len(key) >= 5) <= 4


def test_no_opening_dominates(turns):
    openings = Counter(tuple(words(turn.question)[:2]) for turn in turns)
    assert max(openings.values()) / len(turns) < 0.03


def test_questions_of_two_conversations_share_few_words(turns):
    pairs = [
        (left.question, right.question)
        for left, right in combinations(turns, 2)
        if left.group != right.group and min(len(words(left.question)), len(words(right.question))) >= 4
    ]
    assert [pair for pair in pairs if overlap(*pair) > 0.55] == []


def test_rewrites_differ_between_conversations(turns):
    groups = defaultdict(set)
    for turn in turns:
        groups[" ".join(words(turn.rewrite))].add(turn.group)
    assert [rewrite for rewrite, found in groups.items() if len(found) > 1] == []
    across = [(a.rewrite, b.rewrite) for a, b in combinations(turns, 2) if a.split != b.split]
    assert [pair for pair in across if overlap(*pair) >= 0.75] == []


def test_a_first_turn_is_rewritten_as_it_stands(turns):
    def content(text):
        return {word[:5] for word in words(text) if word not in FUNCTION_WORDS}

    kept = [
        len(content(turn.question) & content(turn.rewrite)) / len(content(turn.rewrite))
        for turn in turns
        if turn.depth == 1
    ]
    assert min(kept) > 0
    assert sum(kept) / len(kept) > 0.8


def test_a_follow_up_leans_on_its_history(turns):
    """Most follow-ups lack words that their rewrite has to bring in."""
    later = [turn for turn in turns if turn.depth > 1]
    leaning = [turn for turn in later if overlap(turn.question, turn.rewrite) < 0.5]
    assert len(leaning) / len(later) > 0.6


def conversation(**changes):
    turn = {"question": "a", "answer": "b", "rewrite": "c", "relevant": ["csv"], "follow_up": "first"}
    return {"id": "x-1", "split": "dev", "turns": [turn | changes.pop("turn", {})]} | changes


def written(folder, *rows):
    (folder / "dev.jsonl").write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return folder


def test_reads_a_folder_of_ones_own(tmp_path):
    (turn,) = quickstart_turns("dev", folder=written(tmp_path, conversation()))
    assert (turn.id, turn.question, turn.rewrite, turn.relevant, turn.depth) == ("x-1#1", "a", "c", ("csv",), 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((conversation(), '{"id": "x-2", "spl'), r"dev\.jsonl:2: "),
        ((conversation(), conversation()), r"dev\.jsonl:2: a second conversation 'x-1'"),
        ((conversation(split="test"),), "split 'test' in the file of 'dev'"),
        ((conversation(turns=[]),), "without turns"),
        ((conversation(turn={"question": "  "}),), "'question' is not a text"),
        ((conversation(turn={"answer": None}),), "'answer' is not a text"),
        ((conversation(turn={"relevant": []}),), "turn 1: 'relevant' is not a list of ids"),
        ((conversation(turn={"relevant": "csv"}),), "turn 1: 'relevant' is not a list of ids"),
        (({"id": "x-1", "split": "dev"},), "no 'turns' field"),
        (("[]",), r"dev\.jsonl:1: "),
    ],
)
def test_a_broken_line_is_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        quickstart_turns("dev", folder=written(tmp_path, *rows))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"test\.jsonl: cannot be read"):
        quickstart_turns("test", folder=tmp_path)
