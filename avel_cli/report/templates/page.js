// The page: draws what `data` holds, and draws it again by the rules when the lowest score is moved.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const film = at("film");
const duration = Math.max(data.duration, 0.001);
const BAR = 22; // pixels from one stacked bar to the next
const CURVE = 28;
const state = { level: null, search: "", zoom: 1, time: 0, events: [], marks: [], playable: false };

function make(kind, values = {}, parent = null) {
  const node = document.createElement(kind);
  const { style = {}, ...rest } = values;
  Object.assign(node, rest);
  Object.assign(node.style, style);
  if (parent) parent.append(node);
  return node;
}

function vector(kind, values, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

function clock(seconds, digits = 1) {
  const rest = Math.round(seconds * 10 ** digits) / 10 ** digits;
  const minutes = Math.floor(rest / 60);
  const hours = Math.floor(minutes / 60);
  const tail = (rest - 60 * minutes).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

const share = (seconds) => `${(100 * seconds) / duration}%`;
const told = (event) => (event.modality === "both" ? event.label : `${event.label} (${event.modality} only)`);

function eventsNow() {
  if (state.level === null) return data.events;
  return data.scores ? redraw(data.scores, state.level) : select(data.events, { minScore: state.level });
}

/** Events of one lane in rows, so that none covers another: the row of each, and how many there are. */
function stack(events) {
  const ends = [];
  const rows = events.map((event) => {
    let row = ends.findIndex((end) => end <= event.start + ROUNDING);
    if (row < 0) row = ends.length;
    ends[row] = event.end;
    return row;
  });
  return [rows, Math.max(ends.length, 1)];
}

function seek(seconds) {
  state.time = Math.min(Math.max(seconds, 0), duration);
  if (state.playable) film.currentTime = Math.min(state.time, Number.isFinite(film.duration) ? film.duration : duration);
  mark();
}

function mark() {
  const names = getComputedStyle(document.documentElement).getPropertyValue("--names");
  at("head").style.left = `calc(${names} + (100% - ${names}) * ${state.time / duration})`;
  const now = [];
  for (const { event, nodes, on } of state.marks) {
    const is = event.start <= state.time && state.time < event.end;
    if (is) now.push(`${told(event)} ${event.score.toFixed(2)}`);
    if (is === on.value) continue;
    on.value = is;
    for (const node of nodes) node.classList.toggle("on", is);
  }
  at("now").textContent = `${clock(state.time)}  ${now.join(", ")}`;
}

function curve(label, track) {
  const points = data.scores ? scoreCurve(data.scores, label) : [];
  if (!points.length) return;
  const image = vector("svg", { class: "curve", viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" }, track);
  const steps = points.map(([start, end, score]) => {
    const y = (100 - 96 * score).toFixed(1);
    return `L${((1000 * start) / duration).toFixed(1)} ${y}L${((1000 * end) / duration).toFixed(1)} ${y}`;
  });
  const [first, last] = [points[0][0], points[points.length - 1][1]].map((x) => ((1000 * x) / duration).toFixed(1));
  vector("path", { d: `M${first} 100${steps.join("")}L${last} 100Z` }, image);
  const y = 100 - 96 * (state.level ?? data.minScore);
  vector("line", { x1: 0, x2: 1000, y1: y, y2: y }, image);
}

function lane(label, events) {
  const row = make("div", { className: "row lane" });
  row.dataset.label = label;
  make("div", { className: "name", textContent: label }, row);
  const [rows, count] = stack(events);
  const height = count * BAR + 4 + (data.scores ? CURVE : 0);
  const track = make("div", { className: "track", style: { height: `${height}px` } }, row);
  curve(label, track);
  const bars = events.map((event, n) => {
    const shown = event.score.toFixed(2) + (event.modality === "both" ? "" : ` ${event.modality} only`);
    const name = `${event.label}, ${shown}, ${clock(event.start, 2)} to ${clock(event.end, 2)}`;
    const bar = make("button", {
      type: "button",
      className: `bar ${event.modality}`,
      tabIndex: -1,
      title: name,
      ariaLabel: name,
      style: { left: share(event.start), width: share(event.end - event.start), top: `${2 + BAR * rows[n]}px` },
    }, track);
    make("span", { textContent: shown }, bar);
    return bar;
  });
  return [row, bars];
}

function tableRow(event) {
  const row = make("tr");
  const cell = make("td", {}, row);
  make("button", { type: "button", textContent: clock(event.start, 2) }, cell);
  for (const text of [clock(event.end, 2), told(event), event.score.toFixed(2)]) make("td", { textContent: text }, row);
  row.dataset.start = event.start;
  return row;
}

function draw() {
  const wanted = state.search.toLocaleLowerCase().split(",").map((part) => part.trim()).filter(Boolean);
  const fits = (label) => !wanted.length || wanted.some((part) => label.toLocaleLowerCase().includes(part));
  const shown = eventsNow().filter((event) => fits(event.label));
  const byLabel = new Map();
  for (const event of shown) {
    if (!byLabel.has(event.label)) byLabel.set(event.label, []);
    byLabel.get(event.label).push(event);
  }
  const lanes = document.createDocumentFragment();
  const bars = new Map();
  for (const label of [...byLabel.keys()].sort((one, other) => one.localeCompare(other, undefined, { numeric: true }))) {
    const [row, buttons] = lane(label, byLabel.get(label));
    lanes.append(row);
    byLabel.get(label).forEach((event, n) => bars.set(event, buttons[n]));
  }
  const table = document.createDocumentFragment();
  state.marks = shown.map((event) => {
    const row = tableRow(event);
    table.append(row);
    return { event, nodes: [row, bars.get(event)], on: { value: false } };
  });
  at("lanes").replaceChildren(lanes);
  at("rows").replaceChildren(table);
  for (const { event, nodes } of state.marks) nodes[1].dataset.start = event.start;
  at("count").textContent = `${shown.length} event${shown.length === 1 ? "" : "s"}`;
  state.events = shown;
  mark();
}

function setLevel(level) {
  state.level = level === null ? null : Math.min(1, Math.max(0.01, Math.round(level * 100) / 100));
  const value = state.level ?? data.minScore;
  at("threshold").value = value;
  at("level").textContent = value.toFixed(2);
  at("about").textContent = aboutLevel();
  draw();
}

function aboutLevel() {
  if (state.level === null) return "As found. Move the lowest score to draw the events again.";
  if (data.scores) return `Drawn again as avel detect --min-score ${state.level.toFixed(2)} would.`;
  return "The scores of each second were not kept: events below the lowest score are hidden, no new ones can appear.";
}

function setZoom(zoom) {
  state.zoom = Math.min(40, Math.max(1, zoom));
  at("zoom").value = state.zoom;
  const box = at("timeline");
  at("inner").style.width = `${100 * state.zoom}%`;
  box.scrollLeft = (box.scrollWidth * state.time) / duration - box.clientWidth / 2;
  axis();
}

function axis() {
  const track = at("axis");
  const room = Math.max(2, track.clientWidth / 70);
  const step = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((s) => duration / s <= room) ?? 14400;
  const ticks = document.createDocumentFragment();
  for (let n = 0; n * step < duration; n += 1) {
    make("span", { className: "tick", textContent: clock(n * step, step < 1 ? 1 : 0), style: { left: share(n * step) } }, ticks);
  }
  track.replaceChildren(ticks);
}

function strips() {
  const { peaks, mel, thumbnails } = data.strips;
  for (const [row, there] of [["wave-row", peaks.length], ["mel-row", mel], ["thumbnail-row", thumbnails.length]]) {
    at(row).hidden = !there;
  }
  for (const uri of thumbnails) make("img", { src: uri, alt: "" }, at("thumbnails"));
  if (mel) make("img", { src: mel, alt: "Log-mel spectrogram of the sound" }, at("mel"));
  if (!peaks.length) return;
  const image = vector("svg", { viewBox: `0 -100 ${peaks.length} 200`, preserveAspectRatio: "none", role: "img", "aria-label": "Waveform of the sound" }, at("wave"));
  const top = peaks.map(([, high], n) => `${n} ${-Math.max(high, 1)}`);
  const bottom = peaks.map(([low], n) => `${n} ${Math.max(-low, 1)}`).reverse();
  vector("path", { d: `M${[...top, ...bottom].join("L")}Z` }, image);
}

function step(direction) {
  const starts = [...new Set(state.events.map((event) => event.start))];
  const next = direction > 0
    ? starts.find((start) => start > state.time + 0.01)
    : starts.reverse().find((start) => start < state.time - 0.01);
  if (next !== undefined) seek(next);
}

function play() {
  if (!state.playable) return;
  if (film.paused) film.play();
  else film.pause();
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

const KEYS = {
  " ": play,
  k: play,
  ArrowLeft: (event) => seek(state.time - (event.shiftKey ? 5 : 1)),
  ArrowRight: (event) => seek(state.time + (event.shiftKey ? 5 : 1)),
  n: () => step(1),
  p: () => step(-1),
  "[": () => setLevel((state.level ?? data.minScore) - 0.05),
  "]": () => setLevel((state.level ?? data.minScore) + 0.05),
  "-": () => setZoom(state.zoom - 1),
  "+": () => setZoom(state.zoom + 1),
  "/": () => at("search").focus(),
  t: theme,
  "?": () => at("help").showModal(),
};

function onKey(event) {
  const typing = event.target.matches("input") || at("help").open;
  const pressing = event.key === " " && event.target.matches("button, video");
  if (typing || pressing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  event.stopPropagation();
  KEYS[event.key](event);
}

function onTimeline(event) {
  const bar = event.target.closest("[data-start]");
  if (bar) {
    seek(Number(bar.dataset.start));
    return;
  }
  const track = event.target.closest(".track");
  if (!track) return;
  const box = track.getBoundingClientRect();
  seek((duration * (event.clientX - box.left)) / box.width);
}

function follow() {
  if (film.seeking) return;
  state.time = film.currentTime;
  mark();
  if (!film.paused) requestAnimationFrame(follow);
}

function openFilm() {
  const trouble = (text) => {
    at("trouble").textContent = text;
    at("trouble").hidden = false;
    film.hidden = !state.playable;
  };
  if (!data.film) {
    trouble("The film is not linked; the timeline works without it.");
    return;
  }
  film.addEventListener("loadedmetadata", () => {
    state.playable = true;
    if (state.time) film.currentTime = state.time;
  });
  film.addEventListener("error", () => trouble("This browser cannot play the film, or it is no longer where it was; the timeline works without it."));
  film.addEventListener("play", follow);
  film.addEventListener("seeked", follow);
  film.addEventListener("pause", follow);
  film.src = data.film;
}

at("threshold").addEventListener("input", (event) => setLevel(Number(event.target.value)));
at("reset").addEventListener("click", () => setLevel(null));
at("search").addEventListener("input", (event) => {
  state.search = event.target.value;
  draw();
});
at("search").addEventListener("keydown", (event) => event.key === "Escape" && event.target.blur());
at("zoom").addEventListener("input", (event) => setZoom(Number(event.target.value)));
at("theme").addEventListener("click", theme);
at("keys").addEventListener("click", () => at("help").showModal());
at("timeline").addEventListener("click", onTimeline);
at("rows").addEventListener("click", onTimeline);
document.addEventListener("keydown", onKey, true);
window.addEventListener("resize", axis);
strips();
openFilm();
setLevel(null);
setZoom(1);
