// The page: what it shows is made here, all of it as text nodes and attributes, never as HTML.
// It speaks to the interface below /v1/ alone, and the browser adds the cookie of the session.

const $ = (id) => document.getElementById(id);

/** An element with properties and children; what is no element becomes text. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function icon(name) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("class", `icon ${name}`);
  made.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  made.append(use);
  return made;
}

const encode = (key) => key.split("/").map(encodeURIComponent).join("/");
const join = (folder, name) => (folder ? `${folder}/${name}` : name);
const nameOf = (key) => key.slice(key.lastIndexOf("/") + 1);
const bare = (path) => path.replace(/^\/+|\/+$/g, "");
/** Of a name that is new. One that is there may begin or end with a space. */
const clean = (name) => bare(name.trim());

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit ? count.toFixed(count < 10 ? 1 : 0) : count} ${units[unit]}`;
}

const time = (text) => new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

// Telling and asking.

/** Tells a failure, or takes it away; in the dialog that covers the page where there is one. */
function tell(text = "") {
  for (const id of ["notice", "preview-notice"]) {
    $(id).hidden = !text;
    $(id).textContent = text;
  }
}

function say(text) { $("status").textContent = text; }

/** Does what nobody has just asked for, and tells how it failed. Answers whether it was done. */
async function inBackground(work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (error !== GIVEN_UP) tell(error.message);
    return false;
  }
}

/** Does what was asked for: what was told before is of the past. */
function attempt(work) {
  tell();
  return inBackground(work);
}

/** Opens a dialog; answers the value of the button that closed it, empty for Escape. */
function choose(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    const closed = () => {
      // The event comes late: it may be of the time before.
      if (dialog.open) return;
      dialog.removeEventListener("close", closed);
      done(dialog.returnValue);
    };
    dialog.addEventListener("close", closed);
  });
}

/** Asks for a line of text, or where `label` is empty for a yes. Answers `null` where nothing was given. */
async function ask({ title, text = "", label = "", ok = "OK", value = "", type = "text", danger = false }) {
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-text").hidden = !text;
  $("ask-label").textContent = label;
  $("ask-ok").textContent = ok;
  $("ask-ok").className = danger ? "danger" : "main";
  const input = $("ask-input");
  Object.assign(input, { type, value, required: Boolean(label) });
  input.parentElement.hidden = !label;
  const closed = choose($("ask"));
  if (label) { input.focus(); input.select(); } else $("ask-ok").focus();
  const answer = await closed;
  const given = input.value;
  input.value = "";
  return answer === "ok" ? given : null;
}

// The interface.

/** Somebody was asked and gave no answer: nothing is to be told. */
const GIVEN_UP = new Error("given up");

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the service answered ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** The password of each locked entry that was opened, until the page is left. */
const passwords = new Map();

/** A header holds bytes, and a password is UTF-8. */
const asBytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));

function headersFor(key, headers = {}) {
  const password = passwords.get(key);
  return password === undefined ? headers : { ...headers, "Komatik-Password": asBytes(password) };
}

/** Asks for the password of an entry. */
async function unlock(key, needs, wasWrong) {
  const given = await ask({
    title: wasWrong ? "That password does not open it" : "A password is needed",
    text: key, label: `Password to ${needs}`, type: "password", ok: "Open",
  });
  if (given === null) throw GIVEN_UP;
  passwords.set(key, given);
}

/** Whether a request may be sent again, since a password was given for the lock it met. */
async function opened(refused, key) {
  const { needs } = refused.problem;
  if (!needs || !(refused.status === 423 || refused.status === 403)) return false;
  await unlock(key, needs, refused.status === 403);
  return true;
}

/** Sends a request and answers the response; a lock it meets is asked for. */
async function call(method, path, { key = "", headers = {}, body, json, signal } = {}) {
  for (;;) {
    const sent = headersFor(key, headers);
    if (json !== undefined) { sent["Content-Type"] = "application/json"; body = JSON.stringify(json); }
    let response;
    try {
      response = await fetch(path, { method, headers: sent, body, signal });
    } catch (error) {
      throw error.name === "AbortError" ? GIVEN_UP : new Error("The service cannot be reached.");
    }
    if (response.ok) return response;
    const refused = new Refused(response.status, await response.json().catch(() => ({})));
    if (refused.status === 401 && account) { leave(); throw new Error("The session has ended: log in again."); }
    if (!(await opened(refused, key))) throw refused;
  }
}

const answer = async (...asked) => (await call(...asked)).json();

/** The events of an answer that is a stream of them. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const field = (name) => part.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("data")) yield { name: field("event"), data: JSON.parse(field("data")) };
    }
  }
}

// Who is here.

let account = null;

function enter(found) {
  account = found;
  document.body.className = found.role;
  $("name").textContent = found.name;
  $("login").hidden = true;
  $("who").hidden = $("files").hidden = false;
  tell();
  openFolder();
}

function leave() {
  account = null;
  passwords.clear();
  follow(null);
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("rows").replaceChildren();
  $("who").hidden = $("files").hidden = true;
  $("login").hidden = false;
  $("login").reset();
  $("login").elements.name.focus();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, password } = event.target.elements;
  attempt(async () => {
    await call("POST", "/v1/sessions", { json: { name: name.value, password: password.value, cookie: true } });
    enter(await answer("GET", "/v1/sessions"));
  });
});

$("log-out").addEventListener("click", () => attempt(async () => {
  await call("DELETE", "/v1/sessions");
  leave();
}));

// The folder that is shown. It is in the address, so that going back works.

let folder = "";
let next = null;
let shown = new Map();

const addressOf = (path) => `#/${encode(path)}`;

function openFolder() {
  try {
    folder = bare(decodeURIComponent(location.hash.replace(/^#/, "")));
  } catch {
    folder = "";
  }
  document.title = folder ? `${nameOf(folder)} · Komatik` : "Komatik";
  const parts = folder ? folder.split("/") : [];
  const crumb = (label, path, isLast) => {
    const link = element("a", { href: addressOf(path), textContent: label });
    if (isLast) link.setAttribute("aria-current", "page");
    return element("li", {}, link);
  };
  $("crumbs").replaceChildren(
    crumb("All", "", parts.length === 0),
    ...parts.map((part, at) => crumb(part, parts.slice(0, at + 1).join("/"), at === parts.length - 1)),
  );
  $("rows").replaceChildren();
  shown = new Map();
  // The listing is read when the changes are followed, so that none falls between the two.
  follow(folder);
}

window.addEventListener("hashchange", () => { if (account) { tell(); openFolder(); } });

async function page(after) {
  const query = new URLSearchParams({ folder, limit: 200 });
  if (after) query.set("after", after);
  return answer("GET", `/v1/entries?${query}`);
}

/** Reads the folder again, as far as it is shown. */
async function refresh() {
  const asked = folder;
  let items = [], after = null;
  do {
    const read = await page(after);
    items = items.concat(read.entries);
    after = read.next;
  } while (after && items.length < shown.size);
  if (asked !== folder) return;
  next = after;
  show(items);
}

$("more").addEventListener("click", () => attempt(async () => {
  const read = await page(next);
  next = read.next;
  show([...[...shown.values()].map((row) => row.item), ...read.entries]);
}));

/** Shows these items. A row that says what it said stays, and the focus in it. */
function show(items) {
  const rows = new Map();
  for (const item of items) {
    const text = JSON.stringify(item);
    const known = shown.get(item.cursor);
    rows.set(item.cursor, known?.text === text ? known : { text, item, row: rowOf(item) });
  }
  const { activeElement } = document;
  const focused = activeElement?.closest("tr")?.dataset.cursor;
  const part = activeElement?.dataset.part;
  shown = rows;
  const wanted = [...rows.values()].map(({ row }) => row);
  const body = $("rows");
  if (wanted.length !== body.children.length || wanted.some((row, at) => row !== body.children[at])) {
    body.replaceChildren(...wanted);
  }
  if (focused !== undefined) rows.get(focused)?.row.querySelector(`[data-part="${part}"]`)?.focus();
  $("empty").hidden = items.length > 0;
  $("more").hidden = !next;
}

function rowOf(item) {
  const key = join(folder, item.name);
  const isFolder = item.kind === "folder";
  const isLocked = item.view_locked || item.edit_locked;
  const label = element("span", { className: "label", textContent: item.name });
  const open = isFolder
    ? element("a", { className: "open", href: addressOf(key) }, icon("folder"), label)
    : element("button", { className: "open", type: "button" }, icon(item.kind ?? "lock"), label);
  if (isLocked && item.kind) open.append(icon("lock"));
  if (isLocked) open.append(element("span", { className: "unseen", textContent: "locked" }));
  open.dataset.part = "open";
  if (!isFolder) open.addEventListener("click", () => attempt(() => preview(key)));
  const more = element("button", { className: "actions", type: "button" }, icon("more"));
  more.setAttribute("aria-label", `Actions for ${item.name}`);
  more.dataset.part = "more";
  more.addEventListener("click", () => attempt(() => act(key, isFolder)));
  const row = element("tr", {},
    element("td", {}, open),
    element("td", { className: "size", textContent: item.size === undefined ? "" : bytes(item.size) }),
    element("td", { className: "time", textContent: item.updated ? time(item.updated) : "" }),
    element("td", {}, more));
  row.dataset.cursor = item.cursor;
  return row;
}

// Changes, as they come.

let events = null;
let waiting = null;

function follow(path) {
  events?.close();
  clearTimeout(waiting);
  waiting = events = null;
  if (path === null) return;
  events = new EventSource(`/v1/changes?${new URLSearchParams({ folder: path, after: "now" })}`);
  const source = events;
  source.addEventListener("open", () => inBackground(refresh));
  for (const kind of ["put", "delete", "move"]) {
    source.addEventListener(kind, (event) => {
      const change = JSON.parse(event.data);
      if (opening && (change.key === opening.key || change.from === opening.key)) $("preview").dataset.stale = "yes";
      waiting ??= setTimeout(() => { waiting = null; notice(); inBackground(refresh); }, 200);
    });
  }
  const again = (delay) => { if (events === source) waiting = setTimeout(() => follow(path), delay); };
  // The history that was to be told is gone, or the service stops: begin anew.
  source.addEventListener("problem", () => { source.close(); again(1000); });
  // A browser goes on by itself where the connection broke, but not where it was refused.
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    inBackground(async () => { await answer("GET", "/v1/sessions"); again(5000); });
  });
}

/** Tells that what is open has changed, where it was not this page that did it. */
async function notice() {
  if (!$("preview").dataset.stale || !opening) return;
  delete $("preview").dataset.stale;
  const { key, revision } = opening;
  const response = await fetch(`/v1/entries/${encode(key)}`, { headers: headersFor(key) }).catch(() => null);
  if (!response || opening?.key !== key || opening.revision !== revision) return;
  if (response.status === 404) tell("This entry has been deleted or moved.");
  else if (response.ok && (await response.json()).revision !== revision) tell("This entry has changed. Close it and open it again to see how.");
}

// Looking at an entry.

/** The most text that is shown. */
const MOST_TEXT = 1024 * 1024;
/** What is open: its metadata. */
let opening = null;

const isText = (type) => /^text\/|[/+](json|xml|javascript|yaml|toml|x-sh)\b/.test(type);

/** Where a browser finds the content. Only scripts can offer a password, so what is locked is read whole first. */
async function sourceOf(metadata) {
  const path = `/v1/blobs/${encode(metadata.key)}`;
  if (!metadata.view_locked) return path;
  const response = await call("GET", path, { key: metadata.key });
  return URL.createObjectURL(await response.blob());
}

async function preview(key) {
  const metadata = await answer("GET", `/v1/entries/${encode(key)}`, { key });
  const body = $("preview-body");
  $("editor").hidden = true;
  body.replaceChildren();
  opening = metadata;
  delete $("preview").dataset.stale;
  $("preview-title").textContent = nameOf(key);
  $("preview-about").textContent =
    `${metadata.kind === "document" ? "Document" : metadata.content_type}, ${bytes(metadata.size)}, changed ${time(metadata.updated)}`;
  if (metadata.kind === "document") await edit(metadata);
  else body.append(await contentOf(metadata));
  if (!$("preview").open) $("preview").showModal();
}

async function contentOf(metadata) {
  const { content_type: type, key } = metadata;
  const name = nameOf(key);
  if (type.startsWith("image/")) return element("img", { alt: name, src: await sourceOf(metadata) });
  const kind = /^(video|audio)\//.exec(type)?.[1];
  if (kind) {
    const player = element(kind, { controls: true, preload: "metadata", src: await sourceOf(metadata) });
    player.setAttribute("aria-label", name);
    return player;
  }
  if (!isText(type)) return element("p", { className: "quiet", textContent: "There is no preview of this kind of content. Download it to see it." });
  if (metadata.size === 0) return element("p", { className: "quiet", textContent: "It is empty." });
  const headers = { Range: `bytes=0-${MOST_TEXT - 1}` };
  const text = await (await call("GET", `/v1/blobs/${encode(key)}`, { key, headers })).text();
  const shownText = element("pre", { tabIndex: 0, textContent: /\bjson\b/.test(type) && metadata.size <= MOST_TEXT ? indent(text) : text });
  shownText.setAttribute("aria-label", `Text of ${name}`);
  if (metadata.size <= MOST_TEXT) return shownText;
  return element("div", {}, element("p", { className: "quiet", textContent: `The first ${bytes(MOST_TEXT)}:` }), shownText);
}

$("preview").addEventListener("close", () => {
  const media = $("preview-body").querySelector("img, video, audio");
  if (media?.src.startsWith("blob:")) URL.revokeObjectURL(media.src);
  // A video would play on.
  $("preview-body").replaceChildren();
  $("editor").hidden = true;
  opening = null;
  tell();
});

$("preview-actions").addEventListener("click", () => attempt(() => act(opening.key, false)));

// Documents.

/** JSON text with line breaks. It is never parsed, since numbers would not come back as they were. */
function indent(text) {
  let out = "", depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g)) {
    if (token === "{" || token === "[") { depth += 1; out += token + line(); }
    else if (token === "}" || token === "]") {
      depth -= 1;
      const isEmpty = /[{[]\s*$/.test(out);
      out = isEmpty ? out.trimEnd() + token : out + line() + token;
    } else if (token === ",") out += token + line();
    else if (token === ":") out += ": ";
    else out += token;
  }
  return out;
}

const editor = $("editor").elements;

async function edit(metadata) {
  const response = await call("GET", `/v1/documents/${encode(metadata.key)}`, { key: metadata.key });
  opening.tag = response.headers.get("ETag");
  opening.document = indent(await response.text());
  editor.text.readOnly = account.role === "reader";
  editor.how.value = "replace";
  editor.text.value = opening.document;
  turn();
  $("editor").hidden = false;
}

/** Shows what belongs to editing, or to merging. */
function turn() {
  const isMerge = editor.how.value === "merge";
  $("merging").hidden = !isMerge;
  $("result").hidden = true;
}

for (const radio of editor.how) {
  radio.addEventListener("change", () => {
    editor.text.value = editor.how.value === "merge" ? "{\n  \n}" : opening.document;
    turn();
  });
}

for (const name of ["text", "arrays", "nulls"]) {
  editor[name].addEventListener("input", () => { $("result").hidden = true; });
}

/** The request that saves what is in the editor. It is refused where the document is no longer the one shown. */
function saving(isRehearsal) {
  const path = `/v1/documents/${encode(opening.key)}`;
  const headers = { "If-Match": opening.tag };
  const body = editor.text.value;
  if (editor.how.value === "replace") return ["PUT", path, { key: opening.key, body, headers: { ...headers, "Content-Type": "application/json" } }];
  const query = new URLSearchParams({ arrays: editor.arrays.value, nulls: editor.nulls.value });
  if (isRehearsal) query.set("dry_run", "true");
  headers["Content-Type"] = "application/vnd.komatik.merge+json";
  return ["PATCH", `${path}?${query}`, { key: opening.key, body, headers }];
}

function explain(error) {
  if (error.status === 412) return new Error("The document has changed since it was opened. Close it and open it again; nothing was saved.");
  return error;
}

$("compare").addEventListener("click", () => attempt(async () => {
  let text = editor.text.value;
  try {
    if (editor.how.value === "merge") text = await (await call(...saving(true))).text();
    else JSON.parse(text);
  } catch (error) {
    throw explain(error);
  }
  $("difference").replaceChildren(...difference(opening.document, indent(text)));
  $("result").hidden = false;
  $("result").scrollIntoView({ block: "nearest" });
}));

$("editor").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const { key } = opening;
    try {
      await call(...saving(false));
    } catch (error) {
      throw explain(error);
    }
    say("Saved.");
    await preview(key);
  });
});

/** The lines of the second text, with those only the first has between them. */
function difference(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  const mark = (className) => (line) => element("span", { className, textContent: line });
  // Without the lines at both ends that are the same, few are left to compare.
  let start = 0, end = 0;
  while (start < Math.min(a.length, b.length) && a[start] === b[start]) start += 1;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  const [middleA, middleB] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const changed = middleA.length * middleB.length > 4e6
    ? [...middleA.map(mark("removed")), ...middleB.map(mark("added"))]
    : compared(middleA, middleB, mark);
  return [...b.slice(0, start).map(mark("")), ...changed, ...b.slice(b.length - end).map(mark(""))];
}

/** By the longest common subsequence. */
function compared(a, b, mark) {
  const length = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  const lines = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { lines.push(mark("")(a[i])); i += 1; j += 1; }
    else if (j === b.length || (i < a.length && length[i + 1][j] >= length[i][j + 1])) { lines.push(mark("removed")(a[i])); i += 1; }
    else { lines.push(mark("added")(b[j])); j += 1; }
  }
  return lines;
}

// What can be done with an entry or a folder.

async function act(key, isFolder) {
  $("actions-title").textContent = nameOf(key);
  for (const button of $("actions").querySelectorAll("[data-for]")) {
    button.hidden = !button.dataset.for.split(" ").includes(isFolder ? "folder" : "entry");
  }
  switch (await choose($("actions"))) {
    case "open": if (isFolder) location.hash = addressOf(key); else await preview(key); break;
    case "download": await download(key); break;
    case "move": await move(key, isFolder); break;
    case "link": await links(key, isFolder); break;
    case "lock": await lock(key); break;
    case "remove": await remove(key, isFolder); break;
  }
}

async function download(key) {
  const metadata = await answer("GET", `/v1/entries/${encode(key)}`, { key });
  const source = await sourceOf(metadata);
  const isLocal = source.startsWith("blob:");
  const link = element("a", { href: isLocal ? source : `${source}?disposition=attachment`, download: nameOf(key) });
  link.click();
  if (isLocal) setTimeout(() => URL.revokeObjectURL(source), 60_000);
}

async function move(key, isFolder) {
  const asked = await ask({ title: `Rename or move ${nameOf(key)}`, label: "New path", value: key, ok: "Move" });
  const to = asked === null ? key : bare(asked);
  if (to === key) return;
  await call("POST", "/v1/move", { key, json: { from: key, to, folder: isFolder } });
  if (passwords.has(key)) passwords.set(to, passwords.get(key));
  $("preview").close();
  say(`Moved to ${to}.`);
}

async function remove(key, isFolder) {
  const isSure = await ask({
    title: `Delete ${nameOf(key)}?`,
    text: isFolder ? "Everything in the folder is deleted with it. This cannot be undone." : "This cannot be undone.",
    ok: "Delete", danger: true,
  });
  if (isSure === null) return;
  if (isFolder) await call("DELETE", `/v1/folders/${encode(key)}?recursive=true`, { key });
  else await call("DELETE", `/v1/entries/${encode(key)}`, { key });
  passwords.delete(key);
  $("preview").close();
  say(`Deleted ${nameOf(key)}.`);
}

async function lock(key) {
  const metadata = await answer("GET", `/v1/entries/${encode(key)}`, { key });
  const { view_locked: view, edit_locked: edit } = metadata;
  const form = $("lock").querySelector("form");
  form.reset();
  $("lock-title").textContent = `Passwords of ${nameOf(key)}`;
  $("lock-now").textContent = view && edit ? "There is one to view and one to edit." : view ? "There is one to view." : edit ? "There is one to edit." : "There are none.";
  $("lock-clear").hidden = !view && !edit;
  const chosen = await choose($("lock"));
  const given = { view: form.elements.view.value, edit: form.elements.edit.value };
  form.reset();
  const path = `/v1/locks/${encode(key)}`;
  if (chosen === "clear") {
    await call("DELETE", path, { key });
    passwords.delete(key);
    say("The passwords are cleared.");
  } else if (chosen === "set") {
    if (!given.view && !given.edit) throw new Error("No password was given, so nothing was changed.");
    await call("PUT", path, { key, json: { view: given.view || null, edit: given.edit || null } });
    passwords.set(key, given.edit || given.view);
    say("The passwords are set.");
  }
}

// Links.

let linked = null;

async function links(key, isFolder) {
  linked = { key, isFolder };
  $("link-title").textContent = `Links to ${nameOf(key)}`;
  $("link-made").hidden = true;
  await countLinks();
  await choose($("link"));
}

async function countLinks() {
  const { tokens } = await answer("GET", "/v1/tokens");
  const count = tokens.filter((token) => token.key === linked.key).length;
  $("link-count").textContent = count === 1 ? "1 link works." : `${count || "No"} links work.`;
  $("link-revoke").hidden = count === 0;
}

$("link-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const ends = event.target.elements.expires.value;
  attempt(async () => {
    const { key, isFolder } = linked;
    const json = { folder: isFolder, expires_in: ends ? Number(ends) : null };
    const made = await answer("POST", `/v1/tokens/${encode(key)}`, { key, json });
    $("link-address").value = location.origin + made.path;
    $("link-made").hidden = false;
    $("link-address").focus();
    $("link-address").select();
    await countLinks();
  }).then((isDone) => { if (!isDone) $("link").close(); });
});

$("link-copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("link-address").value).then(() => say("Copied."), () => $("link-address").select());
});

$("link-revoke").addEventListener("click", () => attempt(async () => {
  await call("DELETE", `/v1/tokens/${encode(linked.key)}`);
  $("link-made").hidden = true;
  await countLinks();
}).then((isDone) => { if (!isDone) $("link").close(); }));

for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}

// New things.

$("new-folder").addEventListener("click", () => attempt(async () => {
  const name = await ask({ title: "New folder", label: "Name", ok: "Make" });
  if (name !== null) await call("PUT", `/v1/folders/${encode(join(folder, clean(name)))}`);
}));

$("new-document").addEventListener("click", () => attempt(async () => {
  const name = await ask({ title: "New document", label: "Name", ok: "Make" });
  if (name === null) return;
  const key = join(folder, clean(name));
  await call("PUT", `/v1/documents/${encode(key)}`, { json: {}, headers: { "If-None-Match": "*" } }).catch((error) => {
    throw error.status === 412 ? new Error(`${key} is there already.`) : error;
  });
  await preview(key);
}));

// Uploads, one after the other.

let uploads = Promise.resolve();

/** Puts files in the queue, each with the path it is to have in the folder. */
function upload(files) {
  const into = folder;
  for (const { path, file } of files) {
    const key = join(into, path);
    const progress = element("progress", { max: file.size || 1, value: 0 });
    progress.setAttribute("aria-label", `Upload of ${path}`);
    const state = element("span", { className: "quiet", textContent: "waiting" });
    const cancel = element("button", { type: "button", textContent: "Cancel" });
    cancel.setAttribute("aria-label", `Cancel ${path}`);
    const line = element("li", {}, element("span", { className: "label", textContent: path }), state, cancel, progress);
    const stop = new AbortController();
    cancel.addEventListener("click", () => stop.abort());
    $("uploads").append(line);
    const report = (done) => { progress.value = done; state.textContent = `${bytes(done)} of ${bytes(file.size)}`; };
    uploads = uploads.then(async () => {
      const isDone = await inBackground(() => send(key, file, report, stop.signal));
      if (isDone) say(`Uploaded ${path}.`);
      line.remove();
    });
  }
}

async function send(key, file, report, signal) {
  const path = `/v1/entries/${encode(key)}`;
  // Before the first byte, so that none is sent for nothing.
  const present = await call("GET", path, { key, signal }).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  let headers = { "If-None-Match": "*" };
  if (present) {
    const isSure = await ask({ title: `Replace ${nameOf(key)}?`, text: `${key} is there already.`, ok: "Replace" });
    if (isSure === null) throw GIVEN_UP;
    headers = { "If-Match": present.headers.get("ETag") };
  }
  for (;;) {
    const refused = await put(key, file, headers, report, signal);
    if (!refused) return;
    if (!(await opened(refused, key))) throw refused;
  }
}

/** Only this kind of request tells how far it is. Answers why it was refused. */
function put(key, file, headers, report, signal) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PUT", `/v1/blobs/${encode(key)}`);
    for (const [name, value] of Object.entries(headersFor(key, headers))) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => report(event.loaded));
    request.addEventListener("load", () => done(request.status < 300 ? null : new Refused(request.status, request.response ?? {})));
    request.addEventListener("error", () => failed(new Error(`The upload of ${nameOf(key)} broke off.`)));
    request.addEventListener("abort", () => failed(GIVEN_UP));
    signal.addEventListener("abort", () => request.abort());
    if (signal.aborted) failed(GIVEN_UP); else request.send(file);
  });
}

$("upload").addEventListener("click", () => $("chosen").click());
$("chosen").addEventListener("change", (event) => {
  upload([...event.target.files].map((file) => ({ path: file.name, file })));
  event.target.value = "";
});

const isOpen = () => account && account.role !== "reader" && !document.querySelector("dialog[open]");

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    // Also where nothing is taken, or the browser would leave the page to show the file.
    event.preventDefault();
    event.dataTransfer.dropEffect = isOpen() ? "copy" : "none";
    document.documentElement.classList.toggle("dropping", Boolean(isOpen()));
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.documentElement.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.documentElement.classList.remove("dropping");
  if (!isOpen()) return;
  // The entries are there only until the first wait.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) {
    upload([...event.dataTransfer.files].map((file) => ({ path: file.name, file })));
    return;
  }
  attempt(async () => upload((await Promise.all(entries.map(filesOf))).flat()));
});

/** The files of what was dropped, folders with all that is in them. */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return [{ path: bare(entry.fullPath), file }];
  }
  const reader = entry.createReader();
  const found = [];
  // It answers some at a time, and none at the end.
  for (let some; (some = await new Promise((done, failed) => reader.readEntries(done, failed))).length > 0;) {
    found.push(...(await Promise.all(some.map(filesOf))).flat());
  }
  return found;
}

// The care of the store, for admins.

let stopping = null;

const FIGURES = [
  ["Entries", "entries", String], ["Tokens", "tokens", String], ["Newest revision", "newest_revision", String],
  ["Content in rows", "row_bytes", bytes], ["Content in chunks", "chunk_bytes", bytes], ["To be given back", "dead_bytes", bytes],
  ["Journal", "journal_bytes", bytes], ["Trees", "tree_bytes", bytes], ["Packs", "pack_bytes", bytes],
];

async function figures() {
  const stats = await answer("GET", "/v1/stats");
  $("stats").replaceChildren(...FIGURES.map(([label, name, show]) =>
    element("div", {}, element("dt", { textContent: label }), element("dd", { textContent: show(stats[name]) }))));
}

$("care-open").addEventListener("click", () => attempt(async () => {
  await figures();
  $("care-result").textContent = "";
  $("findings").replaceChildren();
  $("care").showModal();
}));

/** Does long work and shows where it is; `conclude` tells how it ended. */
async function care(path, conclude) {
  const isBusy = (busy) => {
    $("verify").disabled = $("compact").disabled = busy;
    $("care-stop").hidden = $("care-step").hidden = !busy;
  };
  stopping = new AbortController();
  isBusy(true);
  $("care-phase").textContent = "";
  $("care-progress").removeAttribute("value");
  $("care-result").textContent = "";
  $("findings").replaceChildren();
  try {
    const response = await call("POST", path, { signal: stopping.signal });
    for await (const { name, data } of eventsOf(response)) {
      if (name === "progress") {
        $("care-phase").textContent = data.total === null ? `${data.phase}: ${data.done}` : `${data.phase}: ${data.done} of ${data.total}`;
        if (data.total) Object.assign($("care-progress"), { max: data.total, value: data.done });
        else $("care-progress").removeAttribute("value");
      } else if (name === "problem") throw new Error(data.detail);
      else $("care-result").textContent = conclude(data);
    }
    await figures();
  } catch (error) {
    $("care-result").textContent = stopping.signal.aborted ? "Stopped." : error.message;
  } finally {
    isBusy(false);
  }
}

$("verify").addEventListener("click", () => care("/v1/verify", (report) => {
  $("findings").replaceChildren(...[...report.findings, ...report.unchecked].map((finding) =>
    element("li", { textContent: `${finding.what} ${finding.location}: ${finding.problem}` })));
  const number = report.findings.length;
  return report.sound
    ? `Sound: ${report.entries} entries, ${bytes(report.bytes)} of content read.`
    : `${number} ${number === 1 ? "thing is" : "things are"} not as written.`;
}));

$("compact").addEventListener("click", () => care("/v1/compact", (done) =>
  `Packs of ${bytes(done.pack_bytes_before)} are ${bytes(done.pack_bytes)} now.`));

$("care-stop").addEventListener("click", () => stopping?.abort());
$("care").addEventListener("close", () => stopping?.abort());

// Whoever has a session is in.

answer("GET", "/v1/sessions").then(enter, (error) => {
  leave();
  if (error.status !== 401) tell(error.message);
});
