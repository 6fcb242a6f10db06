"""The page in a real browser: three turns, hits, where terms came from, and a document that tries to be a program."""

import os
from pathlib import Path

import pytest
from browser import Browser, browser_program
from language_model import LanguageModel

from distillir.serving import Rewriter

pytestmark = pytest.mark.skipif(browser_program() is None, reason="no Chromium is installed")

EVIL = {
    "id": "evil",
    "title": "otter <script>window.hacked = 1</script>",
    "text": "The otter says <script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> and lives here.",
    "metadata": {"source": "<b>bold</b>"},
}
QUESTIONS = ("what does the otter eat", "and where does it live?", "is the otter hacked by a window <i>& script</i>?")
PICTURES = os.environ.get("DISTILLIR_PICTURES")  # a folder, for whoever wants to look at the page


@pytest.fixture
def browser():
    made = Browser()
    yield made
    made.close()


def picture(browser, name):
    if PICTURES:
        browser.picture(Path(PICTURES) / f"{name}.png")


def ask(browser, text, count):
    browser.run("document.activeElement.blur()")
    browser.key("/")
    browser.wait("document.activeElement.id === 'question'")
    browser.type(text)
    browser.key("Enter")
    browser.wait(f"document.querySelectorAll('.found').length === {count}")


def test_a_chat_of_three_turns(live, browser):
    service = live()
    assert service.post("/v1/documents", {"documents": [EVIL]}).status_code == 200
    browser.open(service.url)
    browser.wait("document.getElementById('about').textContent.includes('41 documents')")
    picture(browser, "welcome")
    for count, text in enumerate(QUESTIONS, start=1):
        ask(browser, text, count)
        picture(browser, f"turn-{count}")
    bubbles = browser.run("[...document.querySelectorAll('.user p')].map(e => e.textContent)")
    assert bubbles == list(QUESTIONS)  # what a user types stays text too
    assert browser.run("document.querySelectorAll('.found')[2].querySelectorAll('.hits li').length") == 5
    hits = browser.run("document.querySelectorAll('.found')[1].innerText")
    assert "otter" in hits
    assert "active dimensions" in hits
    assert browser.run("[...document.querySelectorAll('.found')[1].querySelectorAll('dt')].map(e => e.textContent)")[
        :2
    ] == ["this question", "previous answer"]
    marked = browser.run("[...document.querySelectorAll('.found')[0].querySelectorAll('mark')].map(e => e.innerText)")
    assert "otter" in {word.lower() for word in marked}
    # The document came up, as text, and nothing of it ran or was made an element.
    everything = browser.run("document.getElementById('chat').textContent")
    assert "<script>window.hacked = 1</script>" in everything
    assert browser.run("typeof window.hacked") == "undefined"
    assert browser.run("document.querySelectorAll('main script, main img, main b[onclick], main i').length") == 0
    problems = [
        event["params"]
        for event in browser.events
        if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")
        and "favicon" not in str(event["params"])
    ]
    assert problems == []
    fetched = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert fetched
    assert all(url.startswith((service.url, "about:")) for url in fetched)


def test_side_by_side_a_token_and_a_phone(live, browser):
    service = live(token="open-sesame")
    browser.size(390, 800, mobile=True)
    browser.open(service.url)
    browser.wait("!document.getElementById('login').hidden")
    browser.type("wrong")
    browser.key("Enter")
    browser.wait("document.getElementById('about').textContent.includes('not the token')")
    browser.run("document.getElementById('token').focus()")
    picture(browser, "login")
    browser.type("open-sesame")
    browser.key("Enter")
    browser.wait("document.getElementById('about').textContent.includes('40 documents')")
    assert browser.run("document.documentElement.outerHTML.includes('open-sesame')") is False
    ask(browser, QUESTIONS[0], 1)
    picture(browser, "phone")
    browser.run("document.getElementById('compare').click()")
    ask(browser, QUESTIONS[1], 2)
    titles = browser.run("[...document.querySelectorAll('.columns h3')].map(e => e.textContent)")
    assert titles == ["Last turn alone", "Student, whole conversation"]
    # Nothing sticks out sideways.
    assert browser.run("document.documentElement.scrollWidth <= 390")
    picture(browser, "phone-side-by-side")
    browser.size(1100, 900)
    picture(browser, "side-by-side")
    browser.run("document.getElementById('new').click()")
    assert browser.run("document.querySelectorAll('.said').length") == 0
    assert browser.run("Boolean(document.getElementById('welcome'))")


def test_three_ways_side_by_side_and_a_new_chat_meanwhile(live, browser):
    model = LanguageModel("where does the otter live")
    try:
        service = live(rewriter=Rewriter.at(model.url, "rule", "", 5.0))
        browser.open(service.url)
        browser.wait("document.getElementById('about').textContent.includes('40 documents')")
        browser.run("document.getElementById('compare').click()")
        ask(browser, QUESTIONS[0], 1)
        ask(browser, QUESTIONS[1], 2)
        columns = "[...document.querySelectorAll('.found')[1].querySelectorAll('.columns h3')].map(e => e.textContent)"
        assert browser.run(columns) == ["Last turn alone", "Student, whole conversation", "Rewrite by rule"]
        assert "“where does the otter live”" in browser.run("document.querySelectorAll('.found')[1].textContent")
        picture(browser, "three-ways")
        model.broken = True
        ask(browser, QUESTIONS[1], 3)
        assert browser.run("document.querySelector('.error').textContent").startswith("No rewrite: ")
        # A reply to a chat that is over is not shown in the next one.
        browser.run("document.getElementById('question').value = 'what does the otter eat'")
        browser.run("document.getElementById('ask').requestSubmit(); document.getElementById('new').click()")
        browser.wait("!document.getElementById('send').disabled")
        assert browser.run("document.querySelectorAll('.said, .found').length") == 0
    finally:
        model.close()
