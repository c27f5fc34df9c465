"use strict";
// The rules of `avel_cli/timeline` once more, so that a page can draw its events again without Python.
// Scores are rows of numbers, `[segments][labels]`; an event is {start, end, label, score, heard, seen, modality}.

const ALONE = 0.5;
const ROUNDING = 1e-9;

function gridSeconds(grid, index) {
  const begin = grid.start + index * grid.stride;
  return [begin, begin + grid.window];
}

function compareEvents(one, other) {
  for (const key of ["start", "end", "label", "score", "modality"]) {
    if (one[key] < other[key]) return -1;
    if (one[key] > other[key]) return 1;
  }
  return 0;
}

/** filters.select */
function select(events, { minScore = 0, minDuration = 0, keep = [], topK = null } = {}) {
  const chosen = events.filter(
    (event) =>
      event.score >= minScore &&
      event.end - event.start + ROUNDING >= minDuration &&
      (!keep.length || keep.includes(event.label)),
  );
  chosen.sort((one, other) => other.score - one.score || compareEvents(one, other));
  return chosen.slice(0, topK === null ? chosen.length : topK).sort(compareEvents);
}

/** labels._ancestors: for each label the indices of all that are more general. */
function ancestors(labels, parents) {
  return labels.map((label) => {
    const line = [label];
    for (let general = parents[label]; general && !line.includes(general); general = parents[general]) line.push(general);
    return line.slice(1).map((name) => labels.indexOf(name)).filter((index) => index >= 0);
  });
}

/** segments.runs of whatever `valueAt` gives for 0 to count - 1: [value, first, last + 1]. */
function runs(count, valueAt) {
  const found = [];
  for (let first = 0, last = 1; first < count; first = last, last = first + 1) {
    const value = valueAt(first);
    while (last < count && valueAt(last) === value) last += 1;
    found.push([value, first, last]);
  }
  return found;
}

function meanOf(first, last, valueAt) {
  let sum = 0;
  for (let index = first; index < last; index += 1) sum += valueAt(index);
  return Math.min(1, Math.max(0, sum / (last - first)));
}

function span(grid, first, last, duration) {
  return [Math.max(gridSeconds(grid, first)[0], 0), Math.min(gridSeconds(grid, last - 1)[1], duration)];
}

/** labels.decode: every label by itself. `scores` is {both, heard, seen}; `known_by` is empty if all are known by both. */
function labelEvents(scores, rules) {
  const { labels, minScore, minAlone = ALONE, parents = {}, modalities = ["both"], known_by: knownBy = [] } = rules;
  const lines = ancestors(labels, parents);
  const half = (k) => knownBy.length > 0 && knownBy[k] !== "both";
  const both = scores.both.map((row) => row.map((score, k) => score >= minScore && score > 0 && !half(k)));
  const found = [];
  for (const modality of ["heard", "seen"]) {
    if (!knownBy.includes(modality)) continue;
    const told = scores[modality].map((row) => row.map((score, k) => score >= minAlone && score > 0 && knownBy[k] === modality));
    found.push(...eventsOf(told, modality, scores, rules));
  }
  for (const modality of modalities) {
    const told = modality === "both" ? both : aloneIn(scores, modality, both, half);
    found.push(...eventsOf(mostSpecial(told, lines), modality, scores, rules));
  }
  return select(found, filtersOf(rules));
}

/** What is only heard, or only seen. */
function aloneIn(scores, modality, both, half) {
  const other = scores[modality === "heard" ? "seen" : "heard"];
  return scores[modality].map((row, n) =>
    row.map((score, k) => score >= ALONE && other[n][k] < ALONE && !both[n][k] && !half(k)),
  );
}

/** labels._most_special */
function mostSpecial(told, lines) {
  const kept = told.map((row) => row.slice());
  lines.forEach((line, label) =>
    told.forEach((row, n) => line.forEach((general) => row[label] && (kept[n][general] = false))),
  );
  return kept;
}

/** labels._events */
function eventsOf(told, modality, scores, { labels, grid, duration }) {
  const found = [];
  labels.forEach((label, k) => {
    for (const [there, first, last] of runs(told.length, (n) => told[n][k])) {
      const [start, end] = span(grid, first, last, duration);
      if (!there || start >= end) continue;
      const [score, heard, seen] = [modality, "heard", "seen"].map((way) => meanOf(first, last, (n) => scores[way][n][k]));
      found.push({ start, end, label, score, heard, seen, modality });
    }
  });
  return found;
}

/** segments.decode: one label a segment. `scores` is {event_scores: [segments], class_scores: [segments][labels]}. */
function segmentEvents(scores, rules) {
  const { labels, grid, duration, minScore, threshold } = rules;
  const tops = scores.class_scores.map((row) => row.reduce((top, value, k) => (value > row[top] ? k : top), 0));
  const values = tops.map((top, n) => scores.event_scores[n] * scores.class_scores[n][top]);
  const best = tops.map((top, n) => (scores.event_scores[n] > threshold && values[n] >= minScore ? top : -1));
  const found = [];
  for (const [index, first, last] of runs(best.length, (n) => best[n])) {
    const [start, end] = span(grid, first, last, duration);
    if (index < 0 || start >= end) continue;
    const score = meanOf(first, last, (n) => values[n]);
    found.push({ start, end, label: labels[index], score, heard: null, seen: null, modality: "both" });
  }
  return select(found, filtersOf(rules));
}

/** tasks.dense: what is sure enough, without what a less general label says too. `scores` is {proposals: events}. */
function proposalEvents(scores, rules) {
  const sure = select(scores.proposals, { minScore: rules.minScore });
  const { labels, parents = {} } = rules;
  const lines = new Map(ancestors(labels, parents).map((line, k) => [labels[k], line.map((index) => labels[index])]));
  const saysMore = (other, event) =>
    lines.get(other.label).includes(event.label) &&
    Math.min(event.end, other.end) - Math.max(event.start, other.start) >= (event.end - event.start) / 2;
  const special = sure.filter((event) => !sure.some((other) => saysMore(other, event)));
  return select(special, filtersOf(rules));
}

const filtersOf = (rules) => ({ minDuration: rules.min_duration, keep: rules.keep, topK: rules.top_k });
const DECODERS = { labels: labelEvents, clips: segmentEvents, dense: proposalEvents };

/** The events of kept scores at another lowest score, as `avel detect --min-score` finds them. */
function redraw(kept, level) {
  const events = DECODERS[kept.kind](kept, { ...kept, minScore: level, minAlone: level });
  return events.map((event) => ({ ...event, start: event.start + kept.begin, end: event.end + kept.begin }));
}

/** The score of one label in each segment: [start, end, score]. */
function scoreCurve(kept, label) {
  const k = kept.labels.indexOf(label);
  if (k < 0) return [];
  const way = kept.kind === "labels" && kept.known_by.length ? kept.known_by[k] : "both";
  const values = {
    labels: () => kept[way].map((row) => row[k]),
    clips: () => kept.class_scores.map((row, n) => row[k] * kept.event_scores[n]),
    dense: () => surestEachSecond(kept, label),
  }[kept.kind]();
  const grid = kept.kind === "dense" ? { start: 0, stride: 1 } : kept.grid;
  return values.map((score, n) => {
    const start = grid.start + n * grid.stride;
    return [kept.begin + Math.max(start, 0), kept.begin + Math.min(start + grid.stride, kept.duration), score];
  });
}

function surestEachSecond(kept, label) {
  const surest = new Array(Math.ceil(kept.duration)).fill(0);
  for (const event of kept.proposals) {
    if (event.label !== label) continue;
    for (let n = Math.floor(event.start); n < Math.min(event.end, surest.length); n += 1) {
      surest[n] = Math.max(surest[n], event.score);
    }
  }
  return surest;
}

if (typeof module !== "undefined") module.exports = { redraw, scoreCurve, select };
