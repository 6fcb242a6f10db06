// The page of a DistillIR service. Texts of documents and users become text nodes, never markup.
"use strict";

const HITS = 5, SPOKEN = 300, SHOWN = 360, TERMS = 12;
const state = { messages: [], token: "", busy: false, rewriter: "" };
const by = (id) => document.getElementById(id);
const welcome = by("welcome");

function node(tag, classes, ...children) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  for (const child of children) if (child !== null) made.append(child);
  return made;
}

async function call(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (state.token) headers.Authorization = `Bearer ${state.token}`;
  const init = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const reply = await fetch(path, init);
  const data = await reply.json().catch(() => null);
  if (reply.ok) return data;
  const fault = data && data.error ? data.error : { cause: `status ${reply.status}`, cure: "" };
  const error = new Error([fault.cause, fault.cure].filter(Boolean).join(" → "));
  error.status = reply.status;
  throw error;
}

async function begin() {
  try {
    const about = await call("v1/about");
    const parts = [`${about.documents.toLocaleString()} documents`, about.engine, `model ${about.served.model}`,
      `index ${about.served.index}`];
    by("about").textContent = parts.filter(Boolean).join(" · ");
    state.rewriter = about.rewriter;
    by("login").hidden = true;
    by("ask").hidden = by("chat").hidden = by("tools").hidden = false;
    by("question").focus();
  } catch (error) {
    if (error.status !== 401) { by("about").textContent = error.message; return; }
    by("about").textContent = state.token ? "That was not the token." : "";
    by("login").hidden = false;
    by("ask").hidden = by("chat").hidden = by("tools").hidden = true;
    by("token").focus();
  }
}

// Words of a text that a matched term names: the word itself, or one that a term of three letters or more begins.
function highlighted(text, terms) {
  const whole = new Set(terms.filter((term) => !term.startsWith("##")).map((term) => term.toLowerCase()));
  const stems = [...whole].filter((term) => term.length >= 3);
  const made = document.createDocumentFragment();
  for (const part of text.split(/([\p{L}\p{N}]+)/u)) {
    const word = part.toLowerCase();
    const hit = /[\p{L}\p{N}]/u.test(word) && (whole.has(word) || stems.some((stem) => word.startsWith(stem) && word.length <= stem.length + 2));
    made.append(hit ? node("mark", "", part) : part);
  }
  return made;
}

function shown(hit, only) {
  const terms = (hit.terms || []).map((term) => term.term);
  const text = hit.text || "";
  const place = hit.metadata && hit.metadata.source ? String(hit.metadata.source) : "";
  const item = node("li", only ? "only" : "",
    node("div", "head", node("strong", "", highlighted(hit.title || hit.id, terms)),
      node("span", "score", hit.score.toFixed(2))),
    hit.title && hit.title !== hit.id ? node("div", "where", [hit.id, place].filter(Boolean).join(" · ")) : null,
    node("p", "", highlighted(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text, terms)));
  if (text.length > SHOWN || terms.length) {
    const list = node("div", "turns-terms");
    for (const term of (hit.terms || []).slice(0, TERMS)) list.append(chip(term, ""), " ");
    item.append(node("details", "", node("summary", "", "terms and text"), node("p", "", list),
      text.length > SHOWN ? node("p", "", highlighted(text, terms)) : null));
  }
  return item;
}

function chip(term, classes) {
  return node("span", `term ${classes}`, term.term, node("small", "", term.weight.toFixed(2)));
}

function hitsOf(hits, others) {
  if (!hits.length) return node("p", "soft", "Nothing shares a term with the question.");
  return node("ol", "hits", ...hits.map((hit) => shown(hit, others ? !others.has(hit.id) : false)));
}

function turnName(origin) {
  if (origin.back === 0) return "this question";
  const what = origin.role === "user" ? "question" : "answer";
  return origin.back === 1 ? `previous ${what}` : `${what} ${origin.back} back`;
}

function turns(query) {
  const groups = new Map();
  for (const origin of query) {
    const key = `${origin.back} ${origin.role}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(origin);
  }
  const list = node("dl", "turns");
  for (const key of [...groups.keys()].sort((a, b) => parseInt(a) - parseInt(b))) {
    const some = groups.get(key), color = `t${Math.min(3, some[0].back * 2 - (some[0].role === "assistant" ? 1 : 0))}`;
    const left = some.length - TERMS;
    list.append(node("dt", "", turnName(some[0])),
      node("dd", "", ...some.slice(0, TERMS).map((origin) => {
        const made = chip(origin, color);
        made.title = origin.token === origin.term ? "said" : `said as “${origin.token}”`;
        return made;
      }), left > 0 ? node("span", "soft", `and ${left} more`) : null));
  }
  return list;
}

function fact(value, text) {
  return node("span", "", node("b", "", value), ` ${text}`);
}

function found(reply, took) {
  const facts = node("p", "facts", fact(reply.ms.total.toFixed(1), "ms in the service"), fact(took.toFixed(0), "ms here"),
    fact(String(reply.active_dims), "active dimensions"));
  if (reply.confidence !== null) facts.append(fact(`${Math.round(100 * reply.confidence)} %`, "confident"));
  if (reply.answered_by === "rewrite") facts.append(node("span", "", "searched by the rewrite, as confidence was low"));
  return node("section", "found", facts, node("h3", "", "Query terms by the turn they came from"), turns(reply.query),
    node("h3", "", "Hits"), hitsOf(reply.hits));
}

function sideBySide(reply) {
  const views = [["Last turn alone", reply.last_turn], ["Student, whole conversation", reply.student]];
  if (reply.rewrite) views.push([`Rewrite by ${state.rewriter}`, reply.rewrite]);
  const student = new Set(reply.student.hits.map((hit) => hit.id));
  const columns = node("div", "columns", ...views.map(([name, view]) => node("section", "", node("h3", "", name),
    node("p", "facts", fact(view.ms.toFixed(1), "ms"), fact(String(view.active_dims), "active dimensions")),
    view.query ? node("p", "asked", `“${view.query}”`) : null,
    hitsOf(view.hits, view === reply.student ? null : student))));
  const note = reply.failure ? node("p", "error", `No rewrite: ${reply.failure}`) : null;
  return node("section", "found", note, columns,
    node("p", "soft where", "A bar marks hits that the student has not among its own."));
}

function say(role, text) {
  const bubble = node("div", `said ${role}`, node("p", "", text));
  by("chat").append(bubble);
  return bubble;
}

async function ask(text) {
  welcome.remove();
  state.messages.push({ role: "user", content: text });
  const bubble = say("user", text);
  const waiting = node("p", "waiting", "Searching …");
  by("chat").append(waiting);
  bubble.scrollIntoView({ block: "start" });
  try {
    const compare = by("compare").checked, begun = performance.now();
    const body = compare ? { messages: state.messages, k: HITS } : { messages: state.messages, k: HITS, explain: true };
    const reply = await call(compare ? "v1/compare" : "v1/search", body);
    if (!bubble.isConnected) return;  // a new chat was begun meanwhile
    const hits = compare ? reply.student.hits : reply.hits;
    waiting.replaceWith(compare ? sideBySide(reply) : found(reply, performance.now() - begun));
    const best = hits.length ? hits[0].text.replace(/\s+/g, " ").trim() : "";
    const spoken = best ? (best.length > SPOKEN ? `${best.slice(0, SPOKEN)}…` : best) : "I found nothing.";
    state.messages.push({ role: "assistant", content: spoken });
    say("assistant", spoken);
    bubble.scrollIntoView({ block: "start" });
  } catch (error) {
    if (!bubble.isConnected) return;
    state.messages.pop();
    waiting.replaceWith(node("p", "error", error.message));
  }
}

by("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = by("question"), text = field.value.trim();
  if (!text || state.busy) return;
  state.busy = by("send").disabled = true;
  field.value = "";
  await ask(text);
  state.busy = by("send").disabled = false;
  field.focus({ preventScroll: true });
});

by("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  by("ask").requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  event.preventDefault();
  by("question").focus();
});

by("new").addEventListener("click", () => {
  state.messages = [];
  by("chat").replaceChildren(welcome);
  by("question").focus();
});

by("login").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = by("token").value;
  by("token").value = "";
  begin();
});

begin();
