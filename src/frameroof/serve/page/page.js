// The live page: one WebSocket, frames drawn as they come, and what is measured beside them.
// The protocol is described in docs/reference/stream-protocol.rst of frameroof.
"use strict";

const HEAD = 12; // bytes before a picture: version, kind, 0, block, frame
const RECENT_MS = 3000; // over which frames shown are counted
const KEEP = 120; // points of the line, two a second
const AGAIN_MS = [300, 600, 1200, 2500, 5000]; // waiting between attempts to come back
const CODE = { left: 1000, refused: 1008, big: 1009, failed: 1011, full: 1013, elsewhere: 4001 };
const STOPS = new Set([CODE.refused, CODE.big, CODE.failed, CODE.elsewhere]); // only a person starts again after these

const $ = (id) => document.getElementById(id);
const screen = $("video");
const pen = screen.getContext("2d", { alpha: false });

let socket = null;
let hello = null; // the server's first answer
let attempts = 0;
let paused = false; // by the viewer
let drawing = Promise.resolve(); // frames are decoded and drawn in their order
let drawn = []; // when the last frames were drawn
let since = 0; // when this connection's first frame was
let line = []; // FPS over time, and whether a switch was shown then
let asks = new Map(); // switches by our number: what was asked, when, and its row
let lastAsk = 0;
let switchMark = false;

// ------------------------------------------------------------------------------ the connection

function connect() {
  clearTimeout(connect.timer);
  status("connecting", attempts ? "coming back" : "connecting");
  const here = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  here.binaryType = "arraybuffer";
  here.onopen = () => say({
    type: "start",
    ...(remembered() && { session: remembered() }),
    ...(hello && { prompt: $("prompt-now").textContent }), // for the case that the session is gone
  });
  here.onmessage = (event) => {
    if (here !== socket) return;
    if (typeof event.data === "string") hear(JSON.parse(event.data));
    else show(here, event.data);
  };
  here.onclose = (event) => here === socket && gone(event);
  socket = here;
}

function say(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function gone(event) {
  drawn = [];
  since = 0;
  if (event.code === CODE.failed) forget();
  if (STOPS.has(event.code)) {
    status("ended", "ended");
    problem(event.reason || $("problem-text").textContent || "The server ended the stream.");
    $("again").hidden = false;
    $("again").textContent = event.code === CODE.elsewhere ? "Watch here" : "Start again";
    return;
  }
  const wait = event.code === CODE.full ? 5000 : AGAIN_MS[Math.min(attempts, AGAIN_MS.length - 1)];
  attempts += 1;
  status("connecting", event.code === CODE.full ? "no session free" : "coming back");
  if (event.code === CODE.full) problem(`${event.reason || "No session is free."} This page asks again by itself.`);
  else if (attempts > 3) problem("The server does not answer. Trying again.");
  connect.timer = setTimeout(connect, wait);
}

// A session is remembered by this tab alone, and over a reload.
function remembered() {
  try { return sessionStorage.getItem("session"); } catch { return hello && hello.session; }
}
function remember(session) {
  try { sessionStorage.setItem("session", session); } catch { /* private windows may refuse; a reload is then new */ }
}
function forget() {
  try { sessionStorage.removeItem("session"); } catch { /* as above */ }
  hello = null;
}

// ---------------------------------------------------------------------------- what the server says

function hear(message) {
  switch (message.type) {
    case "hello": return begin(message);
    case "switched": return switched(message);
    case "replaced": return replaced(message);
    case "stats": return figures(message);
    case "error": return message.final ? problem(message.what) : refused(message.what);
  }
}

function begin(message) {
  const facts = message.facts;
  if (!message.resumed) {
    asks.clear();
    $("log").replaceChildren();
    row(message.prompt, "0", "");
  } else if (!$("log").children.length) {
    row(message.prompt, "–", "");
  }
  hello = message;
  attempts = 0;
  remember(message.session);
  screen.width = facts.width;
  screen.height = facts.height;
  screen.classList.toggle("small", facts.width < 320);
  $("facts").textContent = `${facts.model} · ${facts.width}×${facts.height} · ${facts.fps} FPS · ${facts.variant} · ${facts.device}`;
  $("notice").textContent = facts.says.join(" ");
  $("notice").hidden = !facts.says.length;
  $("prompt").maxLength = message.limits.prompt;
  $("prompt-now").textContent = message.prompt;
  $("wait").hidden = false;
  problem("");
  if (message.note) hint(message.note, "wait");
  $("again").hidden = true;
  status("live", message.resumed ? "live, resumed" : "live");
  for (const [id, ask] of asks) if (ask.block === null) say({ type: "switch", prompt: ask.prompt, id });
  if (paused) status("paused", "paused");
  if (paused || document.hidden) say({ type: "pause" });
  else if (!message.playing) say({ type: "play" });
}

function refused(sentence) {
  hint(sentence, "bad");
  const ask = asks.get(lastAsk);
  if (ask && ask.block === null) {
    ask.row.remove();
    asks.delete(lastAsk);
  }
}

function switched(message) {
  const ask = asks.get(message.id);
  if (!ask) return;
  ask.block = message.block;
  ask.row.cells[1].textContent = `${message.block}`;
  if (message.id === lastAsk) hint(`Acknowledged: it begins with block ${message.block}.`, "wait");
}

function replaced(message) {
  const ask = asks.get(message.id);
  if (!ask) return;
  asks.delete(message.id);
  ask.row.cells[1].textContent = "replaced";
  ask.row.cells[1].className = "";
}

// --------------------------------------------------------------------------------------- frames

function show(from, data) {
  const head = new DataView(data);
  const block = head.getUint32(4, true);
  const frame = head.getUint32(8, true);
  const picture = new Blob([new Uint8Array(data, HEAD)], { type: "image/jpeg" });
  drawing = drawing.then(() => createImageBitmap(picture)).then((bitmap) => {
    if (from !== socket) return;
    pen.drawImage(bitmap, 0, 0, screen.width, screen.height);
    bitmap.close();
    say({ type: "shown", frame });
    after(block, frame);
  }).catch(() => say({ type: "shown", frame }));
}

function after(block, frame) {
  const now = performance.now();
  drawn.push(now);
  since = since || now;
  while (drawn[0] < now - RECENT_MS) drawn.shift();
  $("wait").hidden = true;
  $("where-block").textContent = `block ${block}`;
  $("where-frame").textContent = `frame ${frame}`;
  for (const [id, ask] of asks) {
    if (ask.block === null || block < ask.block) continue;
    asks.delete(id);
    const took = now - ask.at;
    $("prompt-now").textContent = ask.prompt;
    $("visible").textContent = ms(took);
    ask.row.cells[2].textContent = `${ms(took)} ms`;
    ask.row.cells[2].className = "done";
    ask.row.cells[1].className = "";
    switchMark = true;
    if (id === lastAsk) hint(`Shown ${ms(took)} ms after you asked, from block ${ask.block} on.`, "done");
  }
}

// -------------------------------------------------------------------------------------- figures

function figures(now) {
  const facts = hello.facts;
  const here = performance.now();
  while (drawn.length && drawn[0] < here - RECENT_MS) drawn.shift();
  const young = here - since < RECENT_MS; // the first frame opens the first interval
  const fps = since ? (1000 * (drawn.length - young)) / (young ? Math.max(here - since, 500) : RECENT_MS) : 0;
  $("fps").textContent = fps.toFixed(1);
  $("fps-about").replaceChildren(
    `of ${facts.fps}, on this screen. `,
    ...(now.fps_engine ? ["The engine alone makes ", strong(`${now.fps_engine.toFixed(0)} FPS`), ", ",
      strong(`${now.real_time_factor.toFixed(1)} ×`),
      now.real_time_factor < 1 ? " real time: frames come in bursts." : " real time."] : ["The window is filling."]),
  );
  $("inter").textContent = now.inter_frame_s === null ? "–" : ms(now.inter_frame_s * 1000);
  $("inter-about").textContent = now.inter_frame_s === null
    ? `steady from block ${facts.window_blocks} on, when the window is full`
    : `a steady block's generation over its ${facts.latent_frames} latent frames`;
  $("visible-about").replaceChildren("from Enter to the new prompt's first frame here",
    ...(now.switch_s === null ? [] : ["; block after less before: ", strong(`${ms(now.switch_s * 1000)} ms`)]));
  $("queue").textContent = `${now.waiting}`;
  $("queue-bar").style.width = `${(100 * now.waiting) / hello.limits.queue}%`;
  $("queue-about").textContent = `of ${hello.limits.queue}; ${now.in_flight} on the way here`;
  $("late").textContent = `${now.late}`;
  $("late").classList.toggle("bad", now.late > 0);
  $("dropped-about").textContent = `skipped by switches: ${now.skipped}; stalls: ${now.stalls}`;
  if (now.block_s !== null) {
    const whole = now.block_s + now.decode_s;
    const most = Math.max(whole, facts.block_frames / facts.fps); // the bar is a block's play time
    $("part-generate").style.width = `${(100 * now.block_s) / most}%`;
    $("part-decode").style.width = `${(100 * now.decode_s) / most}%`;
    $("block-about").replaceChildren(strong(`${ms(now.block_s * 1000)} ms`), " generation + ",
      strong(`${ms(now.decode_s * 1000)} ms`), ` decoding, for ${ms((facts.block_frames / facts.fps) * 1000)} ms of video. `,
      `${now.sessions} of ${hello.limits.sessions} sessions.`);
  }
  plot(fps, facts.fps);
}

function plot(fps, target) {
  line.push({ fps, mark: switchMark });
  switchMark = false;
  line = line.slice(-KEEP);
  const top = Math.max(target * 1.25, ...line.map((point) => point.fps));
  const x = (i) => ((KEEP - line.length + i) * 120) / (KEEP - 1);
  const y = (value) => (30 - (28 * value) / top).toFixed(2);
  $("spark-line").setAttribute("points", line.map((point, i) => `${x(i).toFixed(2)},${y(point.fps)}`).join(" "));
  for (const end of ["y1", "y2"]) $("spark-target").setAttribute(end, y(target));
  $("spark-marks").replaceChildren(...line.flatMap((point, i) => {
    if (!point.mark) return [];
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "line");
    for (const [name, value] of [["x1", x(i)], ["x2", x(i)], ["y1", 0], ["y2", 32]]) mark.setAttribute(name, value);
    return [mark];
  }));
}

// ------------------------------------------------------------------------------- what a viewer does

function ask(prompt) {
  prompt = prompt.trim();
  if (!prompt || !hello) return;
  lastAsk += 1;
  const cells = row(prompt, "…", "…");
  cells.cells[1].className = cells.cells[2].className = "pending";
  asks.set(lastAsk, { prompt, at: performance.now(), block: null, row: cells });
  say({ type: "switch", prompt, id: lastAsk });
  hint("Sent.", "wait");
}

function row(prompt, block, visible) {
  const made = document.createElement("tr");
  for (const text of [prompt, block, visible]) made.insertCell().textContent = text;
  $("log").prepend(made);
  while ($("log").children.length > 12) $("log").lastElementChild.remove();
  return made;
}

function pause(now) {
  paused = now;
  $("pause").setAttribute("aria-pressed", `${now}`);
  $("pause").title = now ? "Play" : "Pause";
  $("pause").setAttribute("aria-label", $("pause").title);
  say({ type: now ? "pause" : "play" });
  if (socket && socket.readyState === WebSocket.OPEN) status(now ? "paused" : "live", now ? "paused" : "live");
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask($("prompt").value);
  $("prompt").value = "";
});
for (const idea of document.querySelectorAll(".idea")) idea.addEventListener("click", () => ask(idea.textContent));
$("pause").addEventListener("click", () => pause(!paused));
$("new").addEventListener("click", () => {
  const old = socket;
  socket = null;
  if (old) old.close(CODE.left);
  forget();
  restart();
});
$("again").addEventListener("click", () => restart());
document.addEventListener("visibilitychange", () => !paused && say({ type: document.hidden ? "pause" : "play" }));

function restart() {
  attempts = 0;
  line = [];
  problem("");
  $("again").hidden = true;
  if (paused) pause(false);
  connect();
}

// ---------------------------------------------------------------------------------------- words

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}
function problem(text) {
  $("problem-text").textContent = text;
  $("problem").hidden = !text;
}
function hint(text, state) {
  $("hint").textContent = text;
  $("hint").dataset.state = state;
}
function strong(text) {
  const made = document.createElement("em");
  made.textContent = text;
  return made;
}
function ms(value) {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(1);
}

connect();
