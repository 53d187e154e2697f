// The page is complete without this script. It refreshes the parts that change,
// sends uploads with their progress, and changes the pin.

const refreshEvery = 5000; // milliseconds
const patience = 10000; // milliseconds that an answer may take
const $ = (id) => document.getElementById(id);

// The token is only ever in the input of the page. A refresh that the user did not ask
// for sends it only if the updater has accepted it, because half a token would count as
// an attempt to guess one.
const token = () => $("token")?.value ?? "";
const headers = (value) => (value ? { Authorization: "Bearer " + value } : {});
let accepted = "";
const get = (path, value) => fetch(path, { headers: headers(value), cache: "no-store", signal: AbortSignal.timeout(patience) });

// refresh replaces the parts with data-live by those of a new page. It shows an error
// only if the user asked for the refresh. A user who asks during a refresh gets another.
let refreshing = false;
let again = false;
async function refresh(asked = false) {
  again = refreshing && (again || asked);
  if (refreshing || (!asked && document.hidden) || $("confirm")?.open) return;
  refreshing = true;
  try {
    // Without the query: lookups and comparisons stay as they are.
    const sent = asked || token() === accepted ? token() : "";
    const response = await get("./", sent);
    if (response.status === 401) accepted = "";
    if (!response.ok) throw new Error(await reason(response));
    if (sent) accepted = sent;
    const next = new DOMParser().parseFromString(await response.text(), "text/html");
    if ($("confirm")?.open) return; // it gives the focus back to its button
    for (const part of document.querySelectorAll("[data-live]")) replace(part, next);
    document.title = next.title;
    document.body.classList.remove("stale");
    if (asked) $("result").replaceChildren();
  } catch (error) {
    document.body.classList.add("stale");
    if (asked) show("bad", error.message);
  } finally {
    refreshing = false;
    if (again) refresh(true);
  }
}

// replace replaces a part. It keeps the focus, and what the user has chosen and opened.
// If the focused button is disabled now, a button beside it gets the focus.
function replace(part, next) {
  const fresh = next.querySelector(`[data-live="${part.dataset.live}"]`);
  if (!fresh || part.querySelector("details[open]")) return;
  enable(fresh);
  if (part.innerHTML === fresh.innerHTML) return;
  const focused = part.contains(document.activeElement) ? counterparts(document.activeElement, fresh) : [];
  if (part.contains(document.activeElement) && focused.length !== 1) return;
  for (const input of part.querySelectorAll("input:checked")) {
    for (const same of counterparts(input, fresh)) same.checked = true;
  }
  part.replaceWith(document.adoptNode(fresh));
  for (const same of focused) {
    (same.disabled ? same.parentElement.querySelector("button:enabled") : same)?.focus({ preventScroll: true });
  }
}

// counterparts returns the elements of root that have the tag and the names of element.
function counterparts(element, root) {
  const names = ["name", "value", "aria-label", "data-action", "data-generation"];
  return [...root.querySelectorAll(element.tagName)].filter((e) => names.every((n) => e.getAttribute(n) === element.getAttribute(n)));
}

// reason returns why a response is an error.
async function reason(response) {
  return parse(response.status, await response.text()).error;
}

// parse returns the JSON object of an answer. Another text, such as that of a proxy, is an
// error.
function parse(status, text) {
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // not from the updater
  }
  return answer?.error || answer?.generation || answer?.upload ? answer : { error: `${status} ${text.slice(0, 200)}` };
}

// count returns n with a noun whose plural ends in s.
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

// show shows the result of an action.
function show(kind, text) {
  const p = document.createElement("p");
  p.className = "notice " + kind;
  p.textContent = text;
  $("result").replaceChildren(p);
  p.scrollIntoView({ block: "nearest" });
}

// enable shows the buttons below root that need this script.
function enable(root) {
  for (const button of root.querySelectorAll("button[data-action]")) button.hidden = false;
}

// Pin, unpin and rollback. A dialog describes each before it begins.
const actions = {
  pin: (g) => ({
    title: "Pin this generation?",
    text: `All servers serve ${g}, and newer generations wait until it is unpinned.`,
    request: (reason) => ["PUT", "pin", { generation: g, reason }],
  }),
  rollback: () => ({
    title: "Roll back?",
    text: "The generation before the live one is pinned. All servers serve it, and newer generations wait until it is unpinned.",
    request: (reason) => ["POST", "rollback", { reason }],
  }),
  unpin: () => ({
    title: "Unpin?",
    text: "All servers serve the newest servable generation again.",
    request: (reason) => ["DELETE", "pin", { reason }],
  }),
};

let action = null; // that the dialog asks about

function ask(name, generation) {
  action = actions[name](generation);
  $("confirm-title").textContent = action.title;
  $("confirm-text").textContent = action.text;
  $("reason").value = "";
  $("reason").required = name !== "unpin";
  const dialog = $("confirm");
  dialog.returnValue = "";
  dialog.showModal();
}

// act does what the dialog asked about. The event of an earlier dialog may come when
// the next one is open.
async function act() {
  if ($("confirm").open || $("confirm").returnValue !== "yes" || !action) return;
  const [method, path, body] = action.request($("reason").value);
  const sent = token();
  action = null;
  show("", "Waiting for the updater, which verifies a generation before it pins it.");
  try {
    const response = await fetch(path, {
      method,
      headers: { ...headers(sent), "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(await reason(response));
    accepted = sent;
    const answer = await response.json();
    show("good", answer.message ?? "Done.");
  } catch (error) {
    show("bad", error.message);
  }
  await refresh();
  $("result").scrollIntoView({ block: "nearest" }); // new notices above may have moved it
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) ask(button.dataset.action, button.dataset.generation);
});
$("confirm")?.addEventListener("close", act);

// Upload. XMLHttpRequest reports the progress of the transfer, which fetch cannot. The
// user may type another token meanwhile; the upload and its build go on with the first.
let upload = null; // until its build ends

function send(file) {
  if (!file) return show("bad", "Choose a file first.");
  if (upload) return show("bad", "An upload is running already.");
  const sent = token();
  const bar = progress(`Sending ${file.name}`);
  $("result").replaceChildren();
  upload = new XMLHttpRequest();
  upload.open("POST", "upload");
  upload.setRequestHeader("Content-Type", "application/octet-stream");
  upload.setRequestHeader("Prefer", "respond-async");
  for (const [name, value] of Object.entries(headers(sent))) upload.setRequestHeader(name, value);
  upload.upload.onprogress = (e) => e.lengthComputable && bar(e.loaded / e.total, `${(e.loaded / 1e6).toFixed(1)} of ${(e.total / 1e6).toFixed(1)} MB`);
  upload.upload.onload = () => ($("cancel").hidden = true); // the build goes on without the client
  upload.onload = () => {
    if (upload.status !== 401) accepted = sent;
    const answer = parse(upload.status, upload.responseText);
    // 202: the file has arrived. Otherwise the answer is that of a build that has ended.
    if (upload.status === 202 && answer.upload) follow(answer.upload, sent);
    else end(answer);
  };
  upload.onerror = () => end({ error: "The connection was lost." });
  upload.onabort = () => end({ error: "Canceled. Nothing was published." });
  $("cancel").hidden = false;
  $("send").disabled = true;
  upload.send(file);
}

// progress shows a bar and returns a function that moves it.
function progress(title) {
  const label = document.createElement("label");
  const bar = document.createElement("progress");
  const text = document.createElement("span");
  label.append(title + " ", bar);
  $("progress").replaceChildren(label, " ", text);
  return (part, words) => {
    if (part > 0) bar.value = Math.min(1, part);
    text.textContent = words;
  };
}

// follow shows the progress of a build until it ends.
async function follow(id, sent) {
  const bar = progress("Building");
  for (;;) {
    let answer = null;
    try {
      const response = await get("uploads/" + encodeURIComponent(id), sent);
      const state = await response.json();
      answer = response.ok ? state.answer : state;
      const b = state.building;
      if (b) bar(b.percent / 100, `${b.phase}: ${count(b.rows, "row")}`);
    } catch {
      bar(0, "The updater does not answer; trying again.");
    }
    if (answer) return end(answer);
    await new Promise((done) => setTimeout(done, 500));
  }
}

// end shows the result of an upload.
function end(answer) {
  upload = null;
  $("cancel").hidden = true;
  $("send").disabled = false;
  $("progress").replaceChildren();
  if (answer.generation) {
    show("good", `Published generation ${answer.generation}: ${count(answer.records, "record")} of ${count(answer.rows, "row")} in ${answer.seconds.toFixed(1)} s.${answer.pinned ? ` Servers keep the pinned generation ${answer.pinned}.` : ""}`);
  } else {
    show("bad", answer.error ?? "The updater gave no reason.");
  }
  // Bad rows of a refused data set are in rows, and those of a published one in bad.
  const bad = Array.isArray(answer.rows) ? answer.rows : (answer.bad ?? []);
  if (bad.length) $("result").append(badRows(bad));
  refresh();
}

// badRows returns a table of bad rows.
function badRows(rows) {
  const table = document.createElement("table");
  table.createCaption().textContent = "The first bad rows";
  const head = table.createTHead().insertRow();
  for (const name of ["Line", "Column", "Reason", "Row"]) {
    const th = document.createElement("th");
    th.scope = "col";
    th.textContent = name;
    head.append(th);
  }
  const body = table.createTBody();
  for (const row of rows) {
    const tr = body.insertRow();
    for (const value of [row.line, row.column, row.reason, row.row]) tr.insertCell().textContent = value;
  }
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  scroll.tabIndex = 0;
  scroll.role = "region";
  scroll.ariaLabel = "First bad rows";
  scroll.append(table);
  return scroll;
}

if ($("upload-form")) {
  $("upload-form").hidden = false;
  $("upload-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send($("file").files[0]);
  });
  $("cancel").addEventListener("click", () => upload?.abort());
  addEventListener("beforeunload", (event) => {
    if (upload && upload.readyState !== XMLHttpRequest.DONE) event.preventDefault(); // it would end the transfer
  });
  $("show")?.addEventListener("click", () => refresh(true));
  const drop = $("drop");
  for (const type of ["dragenter", "dragover"]) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const type of ["dragleave", "drop"]) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.remove("over");
    });
  }
  drop.addEventListener("drop", (event) => {
    $("file").files = event.dataTransfer.files;
    send(event.dataTransfer.files[0]);
  });
}

enable(document);
setInterval(refresh, refreshEvery);
document.addEventListener("visibilitychange", () => refresh());
